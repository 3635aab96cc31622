"""Wavelet scattering coefficients of maps, by kymatio (the extra ``scattering``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_maps

#: Maps that are transformed at once: bounds the memory.
_MAPS_AT_ONCE = 64


def scattering_available() -> bool:
    """Whether kymatio can be imported."""
    return _import_problem() is None


@dataclass(frozen=True)
class Scattering:
    """Coefficients averaged over positions and over orientations, so that rotations change little.

    Attributes
    ----------
    first
        Mean modulus of the wavelet transform at scale 2^j pixels, shape (..., J).
    second
        Mean modulus of the transform at scale 2^j2 of the modulus at scale 2^j1, for each pair of
        `pairs`, shape (..., J (J - 1) / 2).
    pairs
        Scales (j1, j2) with j1 < j2.
    """

    first: FloatArray
    second: FloatArray
    pairs: tuple[tuple[int, int], ...]

    @property
    def coefficients(self) -> FloatArray:
        """First, then second order, shape (..., J (J + 1) / 2)."""
        return np.concatenate([self.first, self.second], axis=-1)

    @property
    def scales(self) -> list[list[int]]:
        """Scales [pixels] that each coefficient belongs to."""
        paths = [(j,) for j in range(self.first.shape[-1])] + list(self.pairs)
        return [[2**j for j in path] for path in paths]


def wavelet_scattering(
    fields: FloatArray, *, n_scales: int = 3, n_angles: int = 4, periodic: bool = False
) -> Scattering:
    """Scattering coefficients of first and second order (Mallat 2012; Bruna & Mallat 2013).

    Morlet wavelets at scales of 1, 2, 4, ... pixels; for cosmology see Cheng et al. 2020 (MNRAS
    499, 5902). Coefficients are linear in the amplitude of the field: pass `log_mass` of maps,
    whose masses span decades, or overdensities.

    Parameters
    ----------
    fields
        Any finite numbers, shape (..., n, n).
    n_scales, n_angles
        J and the number of orientations; 2^J is at most n / 2.
    periodic
        Whether opposite edges meet; if not, the field is mirrored at its edges.

    Raises
    ------
    DataError
        If kymatio cannot be imported, or fields are not square, hold NaN, or are too small.
    """
    fields = np.asarray(fields)
    # negative numbers are allowed here, as in overdensities
    check_maps(np.abs(fields), "fields", least=4)
    n = fields.shape[-1]
    if n_scales < 1 or n_angles < 1 or 2 ** (n_scales + 1) > n:
        raise DataError(
            f"{n_scales} scales and {n_angles} angles do not go with {n} pixels: expected at least "
            f"one of each, and at most {int(np.log2(n)) - 1} scales"
        )
    transform = _transform(n, n_scales, n_angles, periodic)
    rows: FloatArray = fields.reshape(-1, n, n).astype(np.float64)
    if periodic:
        rows = _wrapped(rows, n_scales)
    parts = [rows[i : i + _MAPS_AT_ONCE] for i in range(0, len(rows), _MAPS_AT_ONCE)]
    paths: dict[tuple[int, ...], list[FloatArray]] = {}
    for path in zip(*(transform(np.ascontiguousarray(part)) for part in parts), strict=True):
        values = np.concatenate([one["coef"].mean((-2, -1)) for one in path])
        paths.setdefault(tuple(path[0]["j"]), []).append(values)
    pairs = tuple(sorted(scales for scales in paths if len(scales) == 2))
    leading = fields.shape[:-2]
    first, second = (
        np.stack([np.mean(paths[key], axis=0) for key in keys], axis=-1).reshape(*leading, -1)
        if keys
        else np.empty((*leading, 0))
        for keys in ([(j,) for j in range(n_scales)], pairs)
    )
    return Scattering(first, second, pairs)


def _import_problem() -> str | None:
    try:
        # not `kymatio.numpy`, which imports names that SciPy 1.17 no longer has
        from kymatio import Scattering2D  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


@lru_cache(maxsize=4)
def _transform(n: int, n_scales: int, n_angles: int, padded: bool) -> Any:
    if problem := _import_problem():
        raise DataError(
            f"wavelet scattering needs kymatio, which cannot be imported ({problem}): "
            "run `pip install 'halo_cm[scattering]'`"
        )
    from kymatio import Scattering2D

    return Scattering2D(
        J=n_scales, shape=(n, n), L=n_angles, pre_pad=padded, out_type="list", frontend="numpy"
    )


def _wrapped(rows: FloatArray, n_scales: int) -> FloatArray:
    """Rows with the margin that kymatio asks for, filled from the opposite edge."""
    n, scale = rows.shape[-1], 2**n_scales
    margin = ((n + scale) // scale + 1) * scale - n
    sides = (margin // 2, (margin + 1) // 2)
    return np.pad(rows, ((0, 0), sides, sides), mode="wrap")
