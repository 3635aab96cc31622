"""Counts of local maxima of maps and boxes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, maximum_filter

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_boxsize, check_maps


def peak_counts(
    fields: FloatArray,
    boxsize: float,
    thresholds: ArrayLike,
    *,
    smoothing: float = 0.0,
    periodic: bool = True,
    n_axes: Literal[2, 3] = 2,
) -> IntArray:
    """Number of peaks at or above each threshold.

    A peak is a cell above all its neighbours, 8 in a map and 26 in a box (as for weak-lensing
    peaks, Jain & Van Waerbeke 2000, ApJ 530, L1). Cells of a plateau are none, so that an empty or
    constant map has no peaks.

    Parameters
    ----------
    fields
        Mass per cell [Msun/h], shape (..., n, n), or (..., n, n, n) if ``n_axes`` is 3.
    boxsize
        Width of the field [Mpc/h].
    thresholds
        T masses per cell [Msun/h], after smoothing.
    smoothing
        Standard deviation of the Gaussian that fields are smoothed with [Mpc/h].
    periodic
        Whether opposite edges meet. If not, edges are mirrored for smoothing, and cells on the
        edge, whose neighbours are not all known, are no peaks.
    n_axes
        2 for maps, 3 for boxes.

    Returns
    -------
    IntArray
        Shape (..., T). Over the area of a map it is a density of peaks.

    Raises
    ------
    DataError
        If fields are not square, hold NaN or negative values, or smoothing or thresholds have no
        meaning.
    """
    fields = np.asarray(fields)
    check_maps(fields, "fields", least=3, n_axes=n_axes)
    check_boxsize(boxsize)
    levels = np.atleast_1d(np.asarray(thresholds, np.float64))
    if levels.ndim != 1 or not np.isfinite(levels).all():
        raise DataError(f"thresholds must be finite masses per cell [Msun/h], found {levels}")
    if not 0 <= smoothing < boxsize / 2:
        raise DataError(
            f"smoothing must lie between 0 and half the width of {boxsize} Mpc/h, found {smoothing}"
        )
    side = fields.shape[-n_axes:]
    # mirrored at its side, a cell of the edge is its own neighbour, and not above itself
    width, mode = smoothing * side[0] / boxsize, "wrap" if periodic else "reflect"
    neighbours = np.ones((3,) * n_axes, bool)
    neighbours[(1,) * n_axes] = False
    counts = []
    for field in fields.reshape(-1, *side):
        smooth = gaussian_filter(field.astype(np.float64), width, mode=mode) if width else field
        is_peak = smooth > maximum_filter(smooth, footprint=neighbours, mode=mode)
        heights = np.sort(smooth[is_peak])
        counts.append(len(heights) - np.searchsorted(heights, levels))
    return np.asarray(counts, dtype=int).reshape(*fields.shape[:-n_axes], len(levels))
