"""Ratios of power spectra that compare two fields, bin by bin."""

from __future__ import annotations

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError


def cross_correlation(cross: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """r(k) = P_ab / sqrt(P_aa P_bb): 1 where the phases of two fields agree, 0 where unrelated.

    Parameters
    ----------
    cross, first, second
        Cross power and the powers of the two fields, any equal shapes (..., n_bins). Average each
        over haloes first: the ratio of means is less noisy than the mean of ratios.

    Raises
    ------
    DataError
        If a field has no power in some bin.
    """
    return np.asarray(cross / np.sqrt(_positive(first, "first") * _positive(second, "second")))


def transfer_function(generated: FloatArray, truth: FloatArray) -> FloatArray:
    """T(k) = sqrt(P_generated / P_true), from powers of equal shapes (..., n_bins)."""
    return np.asarray(np.sqrt(generated / _positive(truth, "truth")))


def _positive(power: FloatArray, name: str) -> FloatArray:
    if not (power > 0).all():
        raise DataError(
            f"power of {name!r}: {int((power <= 0).sum())} bins are not positive, as in a constant "
            "or empty map; such a field cannot be compared by ratios of power"
        )
    return power
