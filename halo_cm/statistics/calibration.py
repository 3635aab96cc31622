"""Is an ensemble of samples distributed like the truth? Proper scores and ranks."""

from __future__ import annotations

import numpy as np
from scoringrules import crps_ensemble

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator


def crps_fair(ensemble: FloatArray, truth: FloatArray) -> FloatArray:
    """Fair continuous ranked probability score, E|X - y| - E|X - X'| / 2; lower is better.

    Its expectation does not depend on the number of members R, and only the true distribution
    reaches the lowest one (Ferro 2014; Zamo & Naveau 2018).

    Parameters
    ----------
    ensemble
        R members for each of N haloes, shape (N, R, ...).
    truth
        Shape (N, ...).

    Returns
    -------
    FloatArray
        Scores in the units of the input, shape (N, ...).

    Raises
    ------
    DataError
        If there are fewer than two members, or shapes do not match.
    """
    _check_ensemble(ensemble, truth)
    if ensemble.shape[1] < 2:
        raise DataError(
            "a fair CRPS needs at least two members, found one: draw more samples, or take the "
            "absolute error if the prediction has no randomness"
        )
    # 'pwm' is the fair estimator computed from sorted members, R log R instead of R^2 operations
    return np.asarray(
        crps_ensemble(
            np.asarray(truth, np.float64),
            np.moveaxis(np.asarray(ensemble, np.float64), 1, -1),
            estimator="pwm",
            backend="numpy",
        )
    )


def ranks(ensemble: FloatArray, truth: FloatArray, seed: int) -> IntArray:
    """Rank of the truth among R members, 0 to R; uniform if the ensemble is calibrated.

    Ties are broken at random (Hamill 2001), which matters for fields with many zeros.

    Parameters
    ----------
    ensemble, truth
        Shapes (N, R, ...) and (N, ...).
    seed
        Decides the ties.
    """
    _check_ensemble(ensemble, truth)
    below = (ensemble < truth[:, None]).sum(axis=1)
    equal = (ensemble == truth[:, None]).sum(axis=1)
    return np.asarray(below + generator(seed, "ranks").integers(0, equal + 1))


def _check_ensemble(ensemble: FloatArray, truth: FloatArray) -> None:
    if ensemble.ndim < 2 or (ensemble.shape[0], *ensemble.shape[2:]) != truth.shape:
        raise DataError(
            f"an ensemble of shape {ensemble.shape} does not match a truth of shape {truth.shape}: "
            "expected (N, R, ...) and (N, ...)"
        )
