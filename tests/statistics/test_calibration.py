"""Scores of ensembles against formulas and known expectations."""

from __future__ import annotations

import numpy as np
import pytest
from scoringrules import crps_ensemble

from halo_cm.errors import DataError
from halo_cm.statistics import crps_fair, ranks


def brute_force(members: np.ndarray, truth: float) -> float:
    m = len(members)
    spread = sum(abs(a - b) for a in members for b in members) / (m * (m - 1))
    return float(np.abs(members - truth).mean() - spread / 2)


@pytest.mark.parametrize("n_members", [2, 3, 16])
def test_agrees_with_the_definition_and_with_scoringrules(n_members: int) -> None:
    random = np.random.default_rng(0)
    ensemble = random.normal(size=(4, n_members, 2, 3)).astype(np.float32)
    truth = random.normal(size=(4, 2, 3)).astype(np.float32)
    score = crps_fair(ensemble, truth)
    assert score.shape == truth.shape
    for index in np.ndindex(*truth.shape):
        members = ensemble[index[0], :, index[1], index[2]].astype(np.float64)
        assert score[index] == pytest.approx(brute_force(members, float(truth[index])), abs=1e-9)
    library = crps_ensemble(truth, np.moveaxis(ensemble, 1, -1), estimator="fair", backend="numpy")
    np.testing.assert_allclose(score, library, atol=1e-5)


@pytest.mark.parametrize("n_members", [2, 8])
def test_expectation_for_a_gaussian_does_not_depend_on_the_members(n_members: int) -> None:
    """A calibrated N(0, 1) ensemble scores 1 / sqrt(pi) on average, for any number of members."""
    random = np.random.default_rng(1)
    n = 40_000
    score = crps_fair(random.normal(size=(n, n_members)), random.normal(size=n))
    assert score.mean() == pytest.approx(1 / np.sqrt(np.pi), abs=4 * score.std() / np.sqrt(n))


def test_wrong_spread_and_wrong_mean_score_worse() -> None:
    random = np.random.default_rng(2)
    members, truth = random.normal(size=(20_000, 4)), random.normal(size=20_000)
    best = crps_fair(members, truth).mean()
    for wrong in (0.3 * members, 2 * members, members + 0.5):
        assert crps_fair(wrong, truth).mean() > best + 0.02


def test_one_member_is_not_an_ensemble() -> None:
    with pytest.raises(DataError, match="at least two members"):
        crps_fair(np.ones((5, 1, 2)), np.ones((5, 2)))
    with pytest.raises(DataError, match="does not match"):
        crps_fair(np.ones((5, 3, 2)), np.ones((5, 3)))


def test_ranks_of_a_calibrated_ensemble_with_many_ties_are_uniform() -> None:
    random = np.random.default_rng(3)
    n = 30_000
    draw = np.maximum(random.normal(size=(n, 5)), 0.5)
    found = ranks(draw[:, :4], draw[:, 4], seed=0)
    counts = np.bincount(found, minlength=5)
    np.testing.assert_allclose(counts / n, 0.2, atol=0.015)
    assert ranks(np.array([[1.0, 2, 3]]), np.array([2.5]), seed=0) == [2]
