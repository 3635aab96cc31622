"""Statistics of each halo's samples beside its truth: the numbers that rows are averaged from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from halo_cm.benchmark.fields import WINDOW, Axes, FieldStatistics, field_statistics
from halo_cm.benchmark.rows import Scoring
from halo_cm.containers import FloatArray
from halo_cm.statistics import (
    PIXEL_MASS,
    cross_power_spectrum_2d,
    crps_fair,
    log_mass,
)

#: Draws of the truth that pixels are scored against, whose scores average over many pixels; and
#: most samples of a cutout that are told from the truth.
FEW_TRUTHS = 8


@dataclass(frozen=True)
class SampleStatistics(FieldStatistics):
    """Statistics of the samples of N haloes, alone and beside the truth.

    Attributes
    ----------
    cross_power
        Cross power with the truth [(Mpc/h)^2], averaged over the samples, shape (N, C, K).
    crps_log_mass, crps_features
        Scores [dex], shapes (N, C) and (N, C, F).
    """

    cross_power: FloatArray
    crps_log_mass: FloatArray
    crps_features: FloatArray


def measure(
    samples: FloatArray,
    truth: FloatArray,
    true_features: FloatArray,
    axes: Axes,
    scoring: Scoring,
) -> SampleStatistics:
    """Statistics of samples beside their truth.

    Parameters
    ----------
    samples, truth
        Mass per pixel [Msun/h], shapes (N, R, C, H, W) and (N, D, C, H, W).
    true_features
        `field_features` of the truth, shape (N, D, C, F).
    axes, scoring
        What curves stand over, and how the members are scored.
    """
    alone = field_statistics(samples, axes)
    few = truth[:, :FEW_TRUTHS]
    # members beside the truths that they are paired with, over and over
    pairs = np.resize(np.arange(few.shape[1]), samples.shape[1])
    width = axes.geometry.field_of_view
    cross = cross_power_spectrum_2d(samples, few[:, pairs], width, window=WINDOW, empty="zero")
    # one channel at a time: the logarithms of all pixels are the largest arrays of a benchmark
    pixel_scores = [
        _score(
            log_mass(samples[:, :, i], PIXEL_MASS[name]),
            log_mass(few[:, :, i], PIXEL_MASS[name]),
            scoring,
        ).mean((-2, -1))
        for i, name in enumerate(axes.geometry.channels)
    ]
    return SampleStatistics(
        **vars(alone),
        cross_power=cross.power.mean(1),
        crps_log_mass=np.stack(pixel_scores, axis=-1),
        crps_features=_score(alone.numbers, true_features, scoring),
    )


def _score(ensemble: FloatArray, truth: FloatArray, scoring: Scoring) -> FloatArray:
    """Score of (N, R, ...) against D truths (N, D, ...), averaged over these: (N, ...)."""
    if scoring == "ensemble":
        # the spread of the members is the same for every truth: it is taken once
        distance = [np.abs(ensemble - truth[:, i, None]).mean(1) for i in range(truth.shape[1])]
        score: FloatArray = crps_fair(ensemble, truth[:, 0]) - distance[0] + np.mean(distance, 0)
        return score
    error: FloatArray = np.abs(ensemble[:, :1] - truth).mean(1)
    return error if scoring == "deterministic" else error / 2
