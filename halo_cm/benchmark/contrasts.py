"""Is one model better than another? Paired differences of figures of merit on the same haloes.

Both models are resampled with the same haloes, so that what these share cancels in the difference
(Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 8): a difference may be clear where
the separate errors overlap. Means of |error| grow with the noise of few samples, so that rows are
compared on as many samples each, but for scores, which are fair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halo_cm.benchmark.fields import TRIANGLES, FieldStatistics
from halo_cm.benchmark.floors import TRUTH_VS_TRUTH
from halo_cm.benchmark.measure import SampleStatistics
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.summary import Contrast
from halo_cm.benchmark.truth import Truth
from halo_cm.containers import FloatArray
from halo_cm.statistics import (
    PDF_EDGES,
    Estimate,
    cross_correlation,
    power_ratio,
    power_ratio_error,
    ratio_of_means,
)

#: Figures that do not depend on the number of samples: fair scores.
SCORES = ("pixels", "features")


@dataclass(frozen=True)
class Merits:
    """Figures of merit of a row in all resamples of the haloes; of each, less is better.

    Attributes
    ----------
    figures
        By name, of shape (C,), NaN where a figure does not exist.
    members
        Samples of a cutout that they are means over; None for a single prediction, which has no
        noise that more of them would lower.
    """

    figures: dict[str, Estimate]
    members: int | None


def merits(
    row: Row,
    statistics: SampleStatistics,
    few: SampleStatistics,
    truth: Truth,
    oracle: SampleStatistics | None,
) -> Merits:
    """Measure the figures of merit of a row.

    Parameters
    ----------
    row, statistics
        The row and what was measured of its samples, which scores are taken from.
    few
        The same of as many samples as are left of all rows, for all other figures.
    truth
        At the same haloes.
    oracle
        Of exact draws, which scale the scores and say which r(k) is right; None if there are none:
        scores are then in dex, and ``correlation`` does not exist, as it does not for these draws
        themselves.

    Raises
    ------
    DataError
        If the truth, or a resample of it, has no power or no mass in a channel.
    """
    weights, true = truth.weights, truth.statistics
    half_nyquist = truth.bins_up_to(0.5)
    power = power_ratio(few.power[:, None], true.power, weights)
    mass = ratio_of_means(few.mass[..., None], true.mass[..., None], weights)
    bispectra = [_ratio(few, true, name, weights) for name in TRIANGLES]
    scores = None if oracle is None else over_oracle(statistics, oracle, weights)
    if scores is None:
        scores = {
            "log_mass": _mean(statistics.crps_log_mass, weights),
            "features": _mean(statistics.crps_features.mean(-1), weights),
        }
    figures = {
        "power": power_ratio_error(power, half_nyquist),
        "mass": _deviation(mass),
        "occupied": _occupied(few, truth),
        "pixels": scores["log_mass"],
        "features": scores["features"],
        "bispectrum": _deviation(_joined(bispectra)),
        "scattering": _deviation(_ratio(few, true, "scattering", weights)),
        "pdf": pdf_distance(few, truth),
        "correlation": _correlation_error(
            few, None if row.name == TRUTH_VS_TRUTH else oracle, truth, half_nyquist
        ),
        "scatter": _scatter(few, truth),
    }
    single = row.scoring == "deterministic"
    return Merits(figures, None if single else few.features.shape[1])


def contrasts_with_first(
    channels: tuple[str, ...], rows: Mapping[str, Merits]
) -> dict[str, Contrast]:
    """The first row against each of the others, by their labels (`contrast`)."""
    labels = list(rows)
    return {label: contrast(channels, rows[labels[0]], rows[label]) for label in labels[1:]}


def contrast(channels: tuple[str, ...], first: Merits, second: Merits) -> Contrast:
    """Differences of two rows.

    Parameters
    ----------
    channels
        Names of the C channels.
    first, second
        Measured with the same resamples.

    Returns
    -------
    Contrast
        ``first - second`` with its standard error, by figure and channel: below zero the first is
        better. None where one of the two lacks the figure, be it in one resample, or, but for
        scores, where their numbers of samples differ.
    """
    comparable = None in (first.members, second.members) or first.members == second.members

    def plain(values: FloatArray, exist: FloatArray) -> dict[str, float | None]:
        return {
            name: float(value) if good else None
            for name, value, good in zip(channels, values, exist, strict=True)
        }

    found: Contrast = {}
    for name, one in first.figures.items():
        other = second.figures[name]
        both = Estimate.of(one.value - other.value, one.resamples - other.resamples)
        exist = np.isfinite(both.value) & np.isfinite(both.error)
        exist &= comparable or name in SCORES
        found[name] = {
            "difference": plain(both.value, exist),
            "error": plain(both.error, exist),
        }
    return found


def over_oracle(
    statistics: SampleStatistics, oracle: SampleStatistics, weights: FloatArray
) -> dict[str, Estimate] | None:
    """Scores over those of exact draws.

    Parameters
    ----------
    statistics, oracle
        Of a row and of exact draws.
    weights
        Resamples of the haloes, shape (B, N).

    Returns
    -------
    dict[str, Estimate] | None
        ``log_mass`` and ``features`` (mean of the ratios), of shape (C,); errors are NaN where a
        score of exact draws is zero in a resample. None where one is zero.
    """
    found = {}
    for name, score, best in (
        ("log_mass", statistics.crps_log_mass[..., None], oracle.crps_log_mass[..., None]),
        ("features", statistics.crps_features, oracle.crps_features),
    ):
        if not (best.mean(0) > 0).all():
            return None
        resamples = ratio_of_means(score, best, weights, undefined="nan").resamples
        ratio = score.mean(0) / best.mean(0)
        found[name] = Estimate.of(ratio.mean(-1), resamples.mean(-1))
    return found


def correlation(statistics: SampleStatistics, truth: Truth) -> Estimate:
    """r(k) of mean powers with the truth, (C, K); samples without any power are unrelated: 0."""
    cross, own, true = (
        _mean(values, truth.weights)
        for values in (statistics.cross_power, statistics.power, truth.statistics.power)
    )
    some = [np.where(power > 0, power, 1.0) for power in (own.value, own.resamples)]
    return Estimate.of(
        cross_correlation(cross.value, some[0], true.value),
        cross_correlation(cross.resamples, some[1], true.resamples),
    )


def pdf_distance(statistics: SampleStatistics, truth: Truth) -> Estimate:
    """Total variation between the one-point distributions of samples and truth, (C,)."""
    difference = _mean(statistics.pdf - truth.statistics.pdf, truth.weights)
    width = np.diff(PDF_EDGES) / 2
    return Estimate.of(np.abs(difference.value) @ width, np.abs(difference.resamples) @ width)


def _mean(values: FloatArray, weights: FloatArray) -> Estimate:
    """Mean over rows, (N, ...) -> (...), and in all resamples."""
    total = weights.sum(1).reshape(-1, *(1,) * (values.ndim - 1))
    return Estimate.of(values.mean(0), np.tensordot(weights, values, axes=1) / total)


def _ratio(
    statistics: FieldStatistics, true: FieldStatistics, name: str, weights: FloatArray
) -> Estimate:
    return ratio_of_means(getattr(statistics, name), getattr(true, name), weights, undefined="nan")


def _joined(estimates: list[Estimate]) -> Estimate:
    return Estimate.of(
        np.concatenate([e.value for e in estimates], -1),
        np.concatenate([e.resamples for e in estimates], -1),
    )


def _deviation(ratio: Estimate) -> Estimate:
    """Mean of |ratio - 1| over the last axis, (C, K) -> (C,), of the entries that are defined."""
    defined = np.isfinite(ratio.value)
    count = defined.sum(-1).astype(float)
    count[count == 0] = np.nan

    def deviation(values: FloatArray) -> FloatArray:
        return np.asarray(np.where(defined, np.abs(values - 1), 0).sum(-1) / count)

    return Estimate.of(deviation(ratio.value), deviation(ratio.resamples))


def _occupied(statistics: SampleStatistics, truth: Truth) -> Estimate:
    """|occupied share of star pixels / true one - 1|, of the stars alone."""
    share = _ratio(statistics, truth.statistics, "occupied", truth.weights)
    stars = np.array([name == "star" for name in truth.channels])

    def error(values: FloatArray) -> FloatArray:
        return np.where(stars, np.abs(np.asarray(values)[..., None] - 1), np.nan)

    return Estimate.of(error(share.value), error(share.resamples))


def _correlation_error(
    statistics: SampleStatistics, oracle: SampleStatistics | None, truth: Truth, n_bins: int
) -> Estimate:
    """Mean of |r - r of exact draws| over the first bins, (C,): too high is wrong too."""
    if oracle is None:
        return _absent(truth)
    here, exact = correlation(statistics, truth), correlation(oracle, truth)

    def error(one: FloatArray, other: FloatArray) -> FloatArray:
        return np.asarray(np.abs(one - other)[..., :n_bins].mean(-1))

    return Estimate.of(error(here.value, exact.value), error(here.resamples, exact.resamples))


def _scatter(statistics: SampleStatistics, truth: Truth) -> Estimate:
    """Mean over rings of |deviation between samples of a halo / that of true draws - 1|, (C,)."""
    variance = _ratio(statistics, truth.statistics, "variance", truth.weights)
    return _deviation(Estimate.of(np.sqrt(variance.value), np.sqrt(variance.resamples)))


def _absent(truth: Truth) -> Estimate:
    nothing = np.full(len(truth.channels), np.nan)
    return Estimate.of(nothing, np.tile(nothing, (len(truth.weights), 1)))
