"""What every statistic asks of its input; each refusal names what was found and expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halo_cm.containers import FloatArray, check_mass
from halo_cm.errors import DataError


def check_boxsize(boxsize: float) -> None:
    """Raise a `DataError` unless ``boxsize`` [Mpc/h] is positive and finite."""
    if not 0 < boxsize < np.inf:
        raise DataError(f"boxsize must be the width of a map or box [Mpc/h], found {boxsize}")


def check_maps(maps: FloatArray, name: str, *, least: int = 1, n_axes: int = 2) -> None:
    """Raise a `DataError` unless ``maps`` hold finite masses on (..., n, n) pixels, n >= ``least``.

    ``n_axes`` is 3 for boxes (..., n, n, n).
    """
    side = maps.shape[-n_axes:]
    if maps.ndim < n_axes or len(set(side)) != 1 or side[0] < least:
        expected = f"(..., {', '.join('n' * n_axes)})"
        raise DataError(
            f"{name} has shape {maps.shape}, expected {expected}, at least {least} pixels a side"
        )
    if maps.size == 0:
        raise DataError(f"{name} has shape {maps.shape}, so that there is no map in it")
    check_mass(maps, name)


def check_edges(edges: ArrayLike, name: str) -> FloatArray:
    """``edges`` of bins as an array; a `DataError` unless two or more finite rising numbers."""
    found = np.asarray(edges, np.float64)
    rising = found.ndim == 1 and len(found) > 1 and np.isfinite(found).all()
    if not rising or not (np.diff(found) > 0).all():
        raise DataError(f"{name} must be two or more rising numbers, found {found}")
    return found


def check_finite(values: NDArray[Any], name: str) -> None:
    """Raise a `DataError` that counts NaN and infinite entries."""
    broken = ~np.isfinite(values)
    if broken.any():
        where = tuple(int(i) for i in np.argwhere(broken)[0])
        raise DataError(
            f"{name}: {int(broken.sum())} of {values.size} entries are NaN or infinite, the first "
            f"at index {where}"
        )


def check_table(values: FloatArray, name: str, *, least: int = 2) -> FloatArray:
    """``values`` in double precision; a `DataError` unless finite, of shape (N >= least, F)."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) < least or values.shape[1] < 1:
        raise DataError(
            f"{name} has shape {values.shape}, expected (N, F): at least {least} rows of features"
        )
    check_finite(values, name)
    return values


def check_ensemble(ensemble: FloatArray, truth: FloatArray, *, least: int = 1) -> None:
    """Raise a `DataError` unless an ensemble (N, R >= least, ...) goes with a truth (N, ...)."""
    if ensemble.ndim < 2 or (ensemble.shape[0], *ensemble.shape[2:]) != truth.shape:
        raise DataError(
            f"an ensemble of shape {ensemble.shape} does not match a truth of shape {truth.shape}: "
            "expected (N, R, ...) and (N, ...)"
        )
    if truth.size == 0:
        raise DataError(f"the truth has shape {truth.shape}, so that there is nothing to score")
    check_members(ensemble, least)
    check_finite(ensemble, "ensemble")
    check_finite(truth, "truth")


def check_members(ensemble: FloatArray, least: int) -> None:
    """Raise a `DataError` if an ``ensemble`` (N, R, ...) has fewer than ``least`` members."""
    if ensemble.ndim < 2:
        raise DataError(f"an ensemble has shape {ensemble.shape}, expected (N, R, ...)")
    if ensemble.shape[1] < least:
        raise DataError(
            f"an ensemble needs at least {_in_words(least)}, found {ensemble.shape[1]}: draw more "
            "samples, or take the absolute error if the prediction has no randomness"
        )


def _in_words(n: int) -> str:
    return {1: "one member", 2: "two members"}.get(n, f"{n} members")
