"""Fréchet distance between two sets of fields, in a fixed space of features.

The counterpart of the FID of images (Heusel et al. 2017, arXiv:1706.08500, eq. 6), with physical
features in the place of those of a network: for each channel the eight logarithms of
`field_features` (masses within 1/16, 1/8 and 1/4 of the width and in the whole map, and apodised
powers up to 0.1, 0.25, 0.5 and 1 of Nyquist) and the first three moments of log10(1 + m / m0) over
the pixels (mean, standard deviation, and the cube root of the third central moment).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_maps, check_table
from halo_cm.statistics.features import FEATURES, field_features
from halo_cm.statistics.one_point import PIXEL_MASS, log_mass
from halo_cm.units import CHANNELS

#: Names of the features of one channel, in the order of `frechet_features`.
FRECHET_FEATURES = (*FEATURES, "log_mass_mean", "log_mass_std", "log_mass_third")


def frechet_features(
    maps: FloatArray, boxsize: float, channels: Sequence[str] = CHANNELS
) -> FloatArray:
    """Features of the fields of each halo, those of `FRECHET_FEATURES` channel by channel.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (..., C, n, n).
    boxsize
        Width of a map [Mpc/h].
    channels
        Names of the C channels, keys of `PIXEL_MASS`.

    Returns
    -------
    FloatArray
        [dex], shape (..., C * 11).

    Raises
    ------
    DataError
        If maps are not square, hold NaN or negative masses, or channels do not go with them.
    """
    maps = np.asarray(maps)
    check_maps(maps, "maps")
    unknown = [name for name in channels if name not in PIXEL_MASS]
    if unknown or maps.ndim < 3 or maps.shape[-3] != len(channels):
        raise DataError(
            f"maps have shape {maps.shape} for the channels {', '.join(channels)}: expected "
            f"(..., C, n, n) and channels out of {', '.join(PIXEL_MASS)}"
        )
    features = field_features(maps, boxsize)
    moments = [
        _moments(log_mass(maps[..., i, :, :], PIXEL_MASS[c])) for i, c in enumerate(channels)
    ]
    together = np.concatenate([features, np.stack(moments, axis=-2)], axis=-1)
    return together.reshape(*maps.shape[:-3], -1)


def frechet_distance(generated: FloatArray, truth: FloatArray) -> float:
    """Squared Fréchet distance of the Gaussians with the moments of two sets of features.

    With means m and covariances C, |m_1 - m_2|^2 + Tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)) (Dowson &
    Landau 1982). Every feature is divided by its standard deviation in ``truth`` first, so that the
    distance has no units: a shift of one feature by its own scatter adds 1. It grows with fewer
    rows; compare it with that of an independent set of truths of as many rows, not with 0.

    Parameters
    ----------
    generated, truth
        Features, one row for each field, shapes (N, F) and (M, F).

    Raises
    ------
    DataError
        If there are fewer than two rows, numbers of features differ, a value is NaN, or a feature
        is the same in all truths.
    """
    generated, truth = check_table(generated, "generated"), check_table(truth, "truth")
    if generated.shape[1] != truth.shape[1]:
        raise DataError(
            f"generated and truth have {generated.shape[1]} and {truth.shape[1]} features"
        )
    scale = truth.std(0, ddof=1)
    if not scale.all():
        raise DataError(
            f"features {np.flatnonzero(scale == 0).tolist()} are the same in all {len(truth)} "
            "truths, so that they have no scale; is a channel empty?"
        )
    generated, truth = generated / scale, truth / scale
    first, second = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (generated, truth))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # C_1 C_2 has the eigenvalues of the symmetric C_1^(1/2) C_2 C_1^(1/2)
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    shift = ((generated.mean(0) - truth.mean(0)) ** 2).sum()
    return float(max(shift + np.trace(first) + np.trace(second) - 2 * shared, 0.0))


def _moments(logs: FloatArray) -> FloatArray:
    """Mean, standard deviation and root of the third moment: (..., n, n) -> (..., 3)."""
    pixels = logs.reshape(*logs.shape[:-2], -1).astype(np.float64)
    mean = pixels.mean(-1)
    residual = pixels - mean[..., None]
    return np.stack(
        [mean, residual.std(-1), np.cbrt((residual * residual * residual).mean(-1))], axis=-1
    )
