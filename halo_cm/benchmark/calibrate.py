"""Is a row's ensemble distributed like the truth? Ranks, spread and coverage of single haloes."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from halo_cm.benchmark.measure import SampleStatistics
from halo_cm.benchmark.rows import Scoring
from halo_cm.benchmark.truth import Truth
from halo_cm.containers import FloatArray
from halo_cm.statistics import rank_histogram, ranks, spread_skill, tarp_coverage

logger = logging.getLogger(__name__)

#: Levels of credibility that coverage is reported at, and the probability of its band.
N_LEVELS, BAND = 21, 0.95
#: Fewest expected counts of a rank, for the p-value of a histogram.
_COUNTS = 5
_COVERAGE = ("coverage", "coverage_band", "coverage_ks_pvalue")
_NAMES = ("rank_histogram", "rank_pvalue", "spread_skill", *_COVERAGE)


def calibration(
    statistics: SampleStatistics, truth: Truth, scoring: Scoring, seed: int
) -> dict[str, Any]:
    """The figures of `RowSummary` that say whether an ensemble is calibrated; None without one.

    So is a figure that equal truths leave undefined, and a warning names it.

    One field of each halo counts. Ranks and coverage take one draw of its truth, since their bands
    and p-values hold for independent rows; spread and error take all draws.
    """
    if scoring != "ensemble":
        return dict.fromkeys(_NAMES)
    return {
        **_ranks(statistics, truth, seed),
        "spread_skill": _spread_skill(statistics, truth),
        **_coverage(statistics, truth, seed),
    }


def _ranks(statistics: SampleStatistics, truth: Truth, seed: int) -> dict[str, Any]:
    n_haloes, n_members = truth.n_haloes, statistics.features.shape[1]
    # more members than the haloes can fill the histogram of would make its p-value void
    n_members = min(n_members, max(1, n_haloes // _COUNTS - 1))
    counts: dict[str, Any] = {}
    p_values: dict[str, Any] = {}
    for quantity, members in statistics.log_masses.items():
        members = members[truth.one_each, :n_members]
        found = ranks(members, truth.statistics.log_masses[quantity][truth.one_each, 0], seed)
        histograms = {
            name: rank_histogram(found[:, i], n_members) for i, name in enumerate(truth.channels)
        }
        counts[quantity] = {name: h.counts.tolist() for name, h in histograms.items()}
        p_values[quantity] = {name: h.p_value for name, h in histograms.items()}
    return {"rank_histogram": counts, "rank_pvalue": p_values}


def _spread_skill(statistics: SampleStatistics, truth: Truth) -> dict[str, float | None]:
    true = truth.statistics.log_masses["mass"][truth.one_each]
    members = statistics.log_masses["mass"][truth.one_each]
    # the haloes that differ most from draw to draw decide: one draw of each says little of them
    members = np.repeat(members, truth.n_draws, axis=0)
    error = members.mean(1) - true.reshape(-1, len(truth.channels))
    ratios: dict[str, float | None] = {}
    for i, name in enumerate(truth.channels):
        if error[:, i].any():
            ratios[name] = spread_skill(members[..., i], true[..., i].ravel()).ratio
        else:
            ratios[name] = None
            logger.warning("spread_skill of %s is undefined, null: the mean has no error", name)
    return ratios


def _coverage(statistics: SampleStatistics, truth: Truth, seed: int) -> dict[str, Any]:
    if not truth.has_coverage:
        return dict.fromkeys(_COVERAGE)
    members, true = (
        _flat(found.numbers[truth.one_each]) for found in (statistics, truth.statistics)
    )
    found = tarp_coverage(
        members,
        true[:, 0],
        seed=seed,
        references=_references(truth, true[:, 0]),
        n_levels=N_LEVELS,
        level=BAND,
    )
    return {
        "coverage": found.coverage.tolist(),
        "coverage_band": [found.lower.tolist(), found.upper.tolist()],
        "coverage_ks_pvalue": found.ks_pvalue,
    }


def _references(truth: Truth, true: FloatArray) -> FloatArray:
    """What the dark-matter-only map foretells: references that know the condition of each halo.

    Around them a model that ignores its condition is seen, which random ones would let pass.
    """
    foretold = np.tile(truth.dmo_features[truth.one_each], len(truth.channels))
    return foretold - foretold.mean(0) + true.mean(0)


def _flat(features: FloatArray) -> FloatArray:
    """(N, R, C, F) -> (N, R, C * F)."""
    return features.reshape(*features.shape[:2], -1)
