"""Energy score, rank histograms, spread and coverage of ensembles whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gamma
from scipy.stats import kstest, norm

from halo_cm.errors import DataError
from halo_cm.statistics import (
    crps_fair,
    energy_score_fair,
    rank_histogram,
    ranks,
    spread_skill,
    tarp_coverage,
)


def world(
    n: int, n_members: int, n_features: int, seed: int, spread: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Members and truths around one mean for each row; calibrated if ``spread`` is 1."""
    random = np.random.default_rng(seed)
    mean = 3 * random.normal(size=(n, 1, n_features))
    ensemble = mean + shift + spread * random.normal(size=(n, n_members, n_features))
    return ensemble, mean[:, 0] + random.normal(size=(n, n_features))


def test_energy_score_of_one_feature_is_the_crps() -> None:
    ensemble, truth = world(20, 7, 1, 0)
    found = energy_score_fair(ensemble, truth)
    np.testing.assert_allclose(found, crps_fair(ensemble, truth)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("n_members", [2, 6])
def test_energy_score_of_a_gaussian(n_members: int) -> None:
    """E|X - Y| / 2 of d unit Gaussians is Gamma((d + 1) / 2) / Gamma(d / 2), whatever R."""
    d, n = 5, 6000
    score = energy_score_fair(*world(n, n_members, d, 1))
    expected = gamma((d + 1) / 2) / gamma(d / 2)
    assert score.mean() == pytest.approx(expected, abs=4 * score.std() / np.sqrt(n))
    for wrong in ({"spread": 0.5}, {"spread": 1.6}, {"shift": 0.5}):
        assert energy_score_fair(*world(n, n_members, d, 1, **wrong)).mean() > expected + 0.05


def test_energy_score_sees_correlations_that_the_crps_does_not() -> None:
    random = np.random.default_rng(2)
    n = 4000
    shared = random.normal(size=(n, 1))
    truth = np.concatenate([shared, shared], axis=1)
    right = np.repeat(random.normal(size=(n, 8, 1)), 2, axis=2)
    wrong = random.normal(size=(n, 8, 2))
    difference = energy_score_fair(wrong, truth) - energy_score_fair(right, truth)
    assert difference.mean() > 5 * difference.std() / np.sqrt(n)
    crps = (crps_fair(wrong, truth) - crps_fair(right, truth)).mean(1)
    assert abs(crps.mean()) < 4 * crps.std() / np.sqrt(n)


def test_rank_histogram_of_calibrated_and_other_ensembles() -> None:
    n, members = 3000, 9
    ensemble, truth = world(n, members, 1, 3)
    found = rank_histogram(ranks(ensemble, truth, 0)[:, 0], members, level=0.999)
    assert found.counts.sum() == n and len(found.counts) == members + 1
    assert found.expected == 300
    assert (found.counts >= found.lower).all() and (found.counts <= found.upper).all()
    assert found.p_value > 0.01
    narrow, truth = world(n, members, 1, 3, spread=0.7)
    found = rank_histogram(ranks(narrow, truth, 0)[:, 0], members)
    # a U: the truth is outside too often
    assert found.counts[0] > found.upper and found.counts[-1] > found.upper
    assert found.p_value < 1e-6


def test_band_of_the_rank_histogram_holds_its_share_of_counts() -> None:
    random, n, members = np.random.default_rng(4), 200, 9
    inside, p_values = [], []
    for _ in range(400):
        found = rank_histogram(random.integers(0, members + 1, n), members, level=0.9)
        inside.append((found.counts >= found.lower) & (found.counts <= found.upper))
        p_values.append(found.p_value)
    # counts are integers, so that the band holds a little more
    assert 0.9 < np.mean(inside) < 0.95
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("n_members", [2, 10])
def test_spread_equals_skill_if_calibrated(n_members: int) -> None:
    random = np.random.default_rng(5)
    scale = np.exp(random.normal(0, 0.7, 8000))
    ensemble, truth = world(8000, n_members, 1, 5)
    ensemble, truth = ensemble[..., 0] * scale[:, None], truth[:, 0] * scale
    found = spread_skill(ensemble, truth)
    assert found.ratio == pytest.approx(1, abs=4 * found.error)
    assert found.error < 0.05
    np.testing.assert_allclose(found.spread / found.skill, found.ratio)
    if n_members == 10:
        binned = spread_skill(ensemble, truth, n_bins=4)
        assert (np.diff(binned.spread) > 0).all() and (np.diff(binned.skill) > 0).all()
        assert binned.ratio == found.ratio


def test_spread_of_a_narrow_ensemble_is_below_its_skill() -> None:
    ensemble, truth = world(4000, 8, 1, 6, spread=0.5)
    found = spread_skill(ensemble[..., 0], truth[:, 0])
    # spread^2 = 9/8 / 4, skill^2 = 1 + 1 / 32
    assert found.ratio == pytest.approx(np.sqrt(9 / 32 / (33 / 32)), rel=0.04)


def test_error_of_the_spread_skill_ratio_is_its_scatter() -> None:
    found = [spread_skill(*(x[..., 0] for x in world(200, 5, 1, seed))) for seed in range(300)]
    ratios, errors = np.array([[f.ratio, f.error] for f in found]).T
    assert ratios.std() == pytest.approx(errors.mean(), rel=0.15)


@pytest.mark.parametrize("n_members", [2, 20])
def test_coverage_of_a_calibrated_ensemble_is_the_diagonal(n_members: int) -> None:
    found = tarp_coverage(*world(4000, n_members, 4, 7), seed=0)
    np.testing.assert_allclose(found.coverage, found.alpha, atol=0.03)
    assert found.ks_pvalue > 0.01
    within = (found.coverage >= found.lower) & (found.coverage <= found.upper)
    assert within.mean() > 0.8
    assert found.coverage[0] == 0 and found.coverage[-1] == 1


def test_coverage_pvalues_of_calibrated_ensembles_are_uniform() -> None:
    """Also with few members and many ties, as of features that are often zero."""
    p_values = []
    for seed in range(300):
        ensemble, truth = (np.maximum(x, 0.0) for x in world(60, 3, 2, seed))
        p_values.append(tarp_coverage(ensemble, truth, seed=seed).ks_pvalue)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_band_of_the_coverage_holds_its_share() -> None:
    inside = []
    for seed in range(200):
        found = tarp_coverage(*world(100, 10, 2, seed), seed=seed, level=0.9, n_levels=11)
        inside.append((found.coverage >= found.lower) & (found.coverage <= found.upper))
    assert 0.88 < np.mean(inside, axis=0)[1:-1].mean() < 0.96


def test_coverage_of_wrong_ensembles_leaves_the_diagonal() -> None:
    narrow = tarp_coverage(*world(2000, 20, 4, 8, spread=0.6), seed=0)
    wide = tarp_coverage(*world(2000, 20, 4, 8, spread=1.6), seed=0)
    biased = tarp_coverage(*world(2000, 20, 4, 8, shift=0.8), seed=0)
    for found in (narrow, wide, biased):
        assert found.ks_pvalue < 1e-6
    low, high = 5, 45
    assert narrow.coverage[low] > narrow.upper[low] and narrow.coverage[high] < narrow.lower[high]
    assert wide.coverage[low] < wide.lower[low] and wide.coverage[high] > wide.upper[high]


def test_coverage_of_one_known_case() -> None:
    """One reference far to the left of Gaussian truths: f is the share of members below them."""
    ensemble, truth = world(500, 3000, 1, 9)
    found = tarp_coverage(ensemble, truth, seed=0, references=np.full((500, 1), -1e3))
    mean = ensemble.mean(1)
    np.testing.assert_allclose(found.credibility, norm.cdf(truth - mean)[:, 0], atol=0.06)


def test_references_at_the_condition_find_a_model_that_ignores_it() -> None:
    """A model that draws the marginal distribution passes with references that do not know."""
    random, n = np.random.default_rng(10), 3000
    condition = 2 * random.normal(size=(n, 1))
    truth = condition + 0.3 * random.normal(size=(n, 1))
    marginal = np.hypot(2, 0.3) * random.normal(size=(n, 20, 1))
    assert tarp_coverage(marginal, truth, seed=0).ks_pvalue > 0.001
    assert tarp_coverage(marginal, truth, seed=0, references=condition).ks_pvalue < 1e-10


def test_bad_input() -> None:
    ensemble, truth = world(10, 4, 2, 0)
    for function in (energy_score_fair, lambda e, t: tarp_coverage(e, t, seed=0)):
        with pytest.raises(DataError, match="at least two members, found 1"):
            function(ensemble[:, :1], truth)
        with pytest.raises(DataError, match=r"expected \(N, R, F\)"):
            function(ensemble[..., 0], truth[:, 0])
        with pytest.raises(DataError, match="does not match"):
            function(ensemble, truth[:5])
        broken = ensemble.copy()
        broken[3, 2, 1] = np.nan
        with pytest.raises(DataError, match=r"ensemble: 1 of 80 .* \(3, 2, 1\)"):
            function(broken, truth)
        with pytest.raises(DataError, match="truth: 20 of 20"):
            function(ensemble, np.full_like(truth, np.inf))
    with pytest.raises(DataError, match=r"features \[1\] are the same in all 10"):
        tarp_coverage(ensemble, truth * [1, 0], seed=0)
    with pytest.raises(DataError, match="references have shape"):
        tarp_coverage(ensemble, truth, seed=0, references=truth[:3])
    with pytest.raises(DataError, match="0 to 3 for 3 members"):
        rank_histogram(np.array([0, 4]), 3)
    with pytest.raises(DataError, match="expected integers"):
        rank_histogram(np.array([0.5]), 3)
    with pytest.raises(DataError, match="level"):
        rank_histogram(np.array([0, 1]), 3, level=1.5)
    with pytest.raises(DataError, match="bins"):
        spread_skill(ensemble[..., 0], truth[:, 0], n_bins=11)
    with pytest.raises(DataError, match="in every row"):
        spread_skill(np.ones((4, 3)), np.ones(4))
    with pytest.raises(DataError, match="at least two members, found 1"):
        spread_skill(ensemble[:, :1, 0], truth[:, 0])
    with pytest.raises(DataError, match="NaN"):
        ranks(np.full((2, 3), np.nan), np.ones(2), 0)
