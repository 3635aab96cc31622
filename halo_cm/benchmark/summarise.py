"""From the statistics of single haloes to the figures of merit of a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from halo_cm.benchmark.calibrate import calibration
from halo_cm.benchmark.contrasts import correlation, over_oracle
from halo_cm.benchmark.cost import Cost
from halo_cm.benchmark.measure import SampleStatistics
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.structure import plain, structure
from halo_cm.benchmark.summary import ByChannel, Curves, RowSummary
from halo_cm.benchmark.truth import Truth
from halo_cm.containers import FloatArray, IntArray
from halo_cm.statistics import (
    FEATURES,
    TwoSampleTest,
    classifier_two_sample_test,
    power_ratio,
    power_ratio_error,
    ratio_of_means,
)

#: Ranges of the power ratio error, as fractions of the Nyquist wavenumber.
_RANGES = {"one_half_nyquist": 0.5, "nyquist": 1.0}
#: Folds of the classifier, by halo.
_FOLDS = 5


def summarise(
    row: Row,
    statistics: SampleStatistics,
    truth: Truth,
    oracle: SampleStatistics | None,
    cost: Cost,
    n_each: int,
    seed: int = 0,
) -> RowSummary:
    """Average the statistics of a row over haloes, with bootstrap errors.

    Parameters
    ----------
    row, statistics
        The row and what was measured of its samples.
    truth
        The truth at the same haloes.
    oracle
        Statistics of exact draws, to scale the scores; None if there are none.
    cost
        What the samples took.
    n_each
        Samples of a cutout that classifier and distances see, as many for all rows: both depend
        on the number. A row of a single prediction shows that.
    seed
        Of the classifier's folds, ties of ranks and coverage.
    """
    test = _two_sample_test(statistics, truth, n_each, seed)
    return RowSummary(
        name=row.name,
        n_sampling_steps=row.n_sampling_steps,
        nfe=row.nfe,
        members=statistics.features.shape[1],
        scoring=row.scoring,
        seconds_per_halo=cost.seconds_per_halo,
        peak_memory_gib=cost.peak_memory_gib,
        training_core_seconds=row.training_core_seconds,
        cross_correlation=_curves(truth.channels, correlation(statistics, truth).value),
        occupied_fraction=float(statistics.occupied.mean()),
        isolated_pixels=float(statistics.isolated.mean()),
        two_sample_auc=None if test is None else test.auc,
        two_sample_auc_uncertainty=None if test is None else test.error,
        empty_maps={
            name: int(n) for name, n in zip(truth.channels, statistics.empty.sum(0), strict=True)
        },
        **_power_and_mass(statistics, truth),
        **_scores(statistics, truth, oracle),
        **structure(statistics, truth, n_each),
        **calibration(statistics, truth, row.scoring, seed),
    )


def _power_and_mass(statistics: SampleStatistics, truth: Truth) -> dict[str, Any]:
    channels = truth.channels
    # statistics are already averaged over members: one "sample" is left
    ratio = power_ratio(statistics.power[:, None], truth.statistics.power, truth.weights)
    errors = {
        name: power_ratio_error(ratio, truth.bins_up_to(fraction))
        for name, fraction in _RANGES.items()
    }
    mass = ratio_of_means(statistics.mass, truth.statistics.mass, truth.weights)
    return {
        "power_ratio": _curves(channels, ratio.value),
        "power_ratio_uncertainty": _curves(channels, ratio.error),
        "power_ratio_error": _ranges(channels, {n: e.value for n, e in errors.items()}),
        "power_ratio_error_uncertainty": _ranges(channels, {n: e.error for n, e in errors.items()}),
        "mass_bias": _by_channel(channels, mass.value - 1),
        "mass_bias_uncertainty": _by_channel(channels, mass.error),
    }


def _scores(
    statistics: SampleStatistics, truth: Truth, oracle: SampleStatistics | None
) -> dict[str, Any]:
    channels, features = truth.channels, statistics.crps_features.mean(0)
    scores = {} if oracle is None else over_oracle(statistics, oracle, truth.weights) or {}
    return {
        "crps_log_mass": _by_channel(channels, statistics.crps_log_mass.mean(0)),
        "crps_features": {
            name: dict(zip(FEATURES, values.tolist(), strict=True))
            for name, values in zip(channels, features, strict=True)
        },
        "crps_over_oracle": _by_score(channels, {n: s.value for n, s in scores.items()}),
        "crps_over_oracle_uncertainty": _by_score(
            channels, {n: s.error for n, s in scores.items()}
        ),
    }


def _two_sample_test(
    statistics: SampleStatistics, truth: Truth, n_each: int, seed: int
) -> TwoSampleTest | None:
    """Classifier of samples and truth on features and condition; None for too few haloes."""
    if truth.n_haloes < 2 * _FOLDS:  # the error of the AUC needs two haloes in each fold
        return None

    def table(features: FloatArray) -> tuple[FloatArray, IntArray]:
        n_fields, n_each = features.shape[:2]
        rows = features.reshape(n_fields * n_each, -1)
        context = np.repeat(truth.context, n_each, axis=0)
        return np.concatenate([rows, context], axis=1), np.repeat(truth.halo, n_each)

    # as many of one kind as of the other
    n_each = min(n_each, statistics.features.shape[1])
    generated, halo_generated = table(statistics.numbers[:, :n_each])
    true, halo_truth = table(truth.statistics.numbers[:, :n_each])
    return classifier_two_sample_test(
        generated,
        true,
        halo_generated=halo_generated,
        halo_truth=halo_truth,
        seed=seed,
        n_folds=_FOLDS,
    )


def _by_score(channels: tuple[str, ...], values: dict[str, FloatArray]) -> dict[str, Any] | None:
    """{score: (C,)} -> {score: {channel: value}}; None without scores."""
    return {n: dict(zip(channels, plain(v), strict=True)) for n, v in values.items()} or None


def _by_channel(channels: tuple[str, ...], values: FloatArray) -> ByChannel:
    return dict(zip(channels, np.asarray(values).tolist(), strict=True))


def _curves(channels: tuple[str, ...], values: FloatArray) -> Curves:
    return dict(zip(channels, values.tolist(), strict=True))


def _ranges(channels: tuple[str, ...], values: dict[str, FloatArray]) -> dict[str, ByChannel]:
    """{range: (C,)} -> {channel: {range: value}}."""
    return {
        channel: {name: float(by_channel[i]) for name, by_channel in values.items()}
        for i, channel in enumerate(channels)
    }
