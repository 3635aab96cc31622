"""What haloes are made of: gas and star fractions, and their scatter at fixed mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_edges, check_finite
from halo_cm.units import CHANNELS


@dataclass(frozen=True)
class Relation:
    """Mean and scatter of a quantity in bins of another.

    Attributes
    ----------
    edges
        Of the K bins, shape (K + 1,); each holds its lower edge, the last one both.
    mean, scatter, error
        Mean, standard deviation and standard error of the mean, shape (K,); NaN where a bin has too
        few rows, none for the mean and one for the others.
    n
        Rows in each bin, shape (K,).
    """

    edges: FloatArray
    mean: FloatArray
    scatter: FloatArray
    error: FloatArray
    n: IntArray


def component_fraction(
    masses: FloatArray, component: str, channels: Sequence[str] = CHANNELS
) -> FloatArray:
    """Mass of one component over the mass of all, as f_gas and f_star within R200c.

    Parameters
    ----------
    masses
        Mass of each component [Msun/h], shape (..., C), as from `masses_within`.
    component
        One of ``channels``: ``"gas"`` for f_gas, ``"star"`` for f_star.
    channels
        Names of the last axis.

    Returns
    -------
    FloatArray
        Between 0 and 1, shape (...).

    Raises
    ------
    DataError
        If a mass is NaN or negative, there is no mass at all, or the component is not there.
    """
    masses = np.asarray(masses, np.float64)
    if component not in channels:
        raise DataError(f"component {component!r} is unknown, expected one of {tuple(channels)}")
    if masses.ndim < 1 or masses.shape[-1] != len(channels):
        raise DataError(
            f"masses have shape {masses.shape}, expected (..., {len(channels)}) for the channels "
            f"{', '.join(channels)}"
        )
    check_finite(masses, "masses")
    if (masses < 0).any():
        raise DataError(f"masses must not be negative, the smallest is {masses.min():.3g} Msun/h")
    total = masses.sum(-1)
    if not total.all():
        raise DataError(
            f"{int((total == 0).sum())} of {total.size} apertures hold no mass in any channel, so "
            "that they have no fractions; leave them out"
        )
    return np.asarray(masses[..., list(channels).index(component)] / total)


def binned_relation(x: FloatArray, y: FloatArray, edges: ArrayLike) -> Relation:
    """Mean and scatter of ``y`` in bins of ``x``, such as f_gas in bins of M200c.

    Parameters
    ----------
    x, y
        Shape (N,), any units.
    edges
        Of the bins of ``x``, rising, shape (K + 1,).

    Raises
    ------
    DataError
        If shapes differ, a value is NaN, edges do not rise, or no row lies in any bin.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(f"x and y have shapes {x.shape} and {y.shape}, expected (N,) both")
    check_finite(x, "x")
    check_finite(y, "y")
    edges = check_edges(edges, "edges")
    n_bins = len(edges) - 1
    index = np.searchsorted(edges, x, side="right") - 1
    index[x == edges[-1]] = n_bins - 1
    used = (index >= 0) & (index < n_bins)
    if not used.any():
        raise DataError(
            f"none of {len(x)} values lies between the edges {edges[0]:.4g} and {edges[-1]:.4g}"
        )
    rows = [y[index == i] for i in range(n_bins)]
    n = np.array([len(row) for row in rows])
    mean = np.array([row.mean() if len(row) else np.nan for row in rows])
    scatter = np.array([row.std(ddof=1) if len(row) > 1 else np.nan for row in rows])
    return Relation(edges, mean, scatter, scatter / np.sqrt(np.maximum(n, 1)), n)
