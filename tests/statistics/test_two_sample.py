"""Classifier two-sample test and Fréchet distance of sets whose difference is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kstest, norm

from halo_cm.errors import DataError
from halo_cm.statistics import (
    FRECHET_FEATURES,
    QuadraticLogistic,
    TwoSampleTest,
    auc,
    classifier_two_sample_test,
    frechet_distance,
    frechet_features,
)


def run(generated: np.ndarray, truth: np.ndarray, seed: int = 0, **options) -> TwoSampleTest:
    return classifier_two_sample_test(
        generated,
        truth,
        halo_generated=np.arange(len(generated)),
        halo_truth=np.arange(len(truth)),
        seed=seed,
        **options,
    )


def test_auc_is_the_share_of_pairs_in_order() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.integers(0, 6, 40), random.integers(0, 2, 40)
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    expected = np.mean([(a > b) + (a == b) / 2 for a, b in pairs])
    assert auc(scores, labels) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(DataError, match="both labels, found 3 ones and 0"):
        auc(np.arange(3), np.ones(3, int))


def test_a_shift_gives_the_auc_of_the_best_classifier() -> None:
    """Unit Gaussians a distance d apart: AUC = Phi(d / sqrt 2)."""
    random = np.random.default_rng(1)
    truth, generated = random.normal(size=(2, 2000, 3))
    generated[:, 1] += 1.0
    found = run(generated, truth)
    assert found.auc == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert found.p_value < 0.01 and found.null_95 < 0.53
    assert 0.005 < found.error < 0.015


@pytest.mark.parametrize("kind", ["scatter", "correlation"])
def test_differences_beyond_the_mean_are_found(kind: str) -> None:
    random = np.random.default_rng(2)
    truth, generated = random.normal(size=(2, 1500, 2))
    if kind == "scatter":
        generated *= 0.6
    else:
        generated[:, 1] = 0.8 * generated[:, 0] + 0.6 * generated[:, 1]
    assert run(generated, truth).auc > 0.65
    # in whatever units
    assert run(np.exp(3 * generated), np.exp(3 * truth)).auc > 0.65


def test_no_difference_gives_one_half_and_uniform_pvalues() -> None:
    p_values, areas, errors = [], [], []
    for seed in range(100):
        truth, generated = np.random.default_rng(seed).normal(size=(2, 120, 2))
        found = run(generated, truth, seed)
        p_values.append(found.p_value)
        areas.append(found.auc)
        errors.append(found.error)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.std(areas) == pytest.approx(np.mean(errors), rel=0.35)


def test_haloes_are_never_split_between_training_and_test() -> None:
    """Rows that repeat within a halo would be recognised if they were on both sides."""
    random = np.random.default_rng(3)
    halo = np.repeat(np.arange(60), 8)
    truth, generated = (random.normal(size=(60, 4))[halo] for _ in range(2))

    class Nearest:
        """Remembers every row that it has seen."""

        def fit(self, features: np.ndarray, labels: np.ndarray) -> None:
            self.features, self.labels = features, labels

        def predict_proba(self, features: np.ndarray) -> np.ndarray:
            distance = np.linalg.norm(features[:, None] - self.features, axis=-1)
            one = self.labels[distance.argmin(1)].astype(float)
            return np.stack([1 - one, one], axis=-1)

    options = {"seed": 0, "classifier": Nearest()}
    grouped = classifier_two_sample_test(
        generated, truth, halo_generated=halo, halo_truth=halo, **options
    )
    assert abs(grouped.auc - 0.5) < 0.15
    rows = np.arange(len(truth))
    leaked = classifier_two_sample_test(
        generated, truth, halo_generated=rows, halo_truth=rows, **options
    )
    assert leaked.auc > 0.95


def test_the_condition_reveals_a_model_that_ignores_it() -> None:
    random = np.random.default_rng(4)
    condition = random.normal(size=(1000, 1))
    truth = condition + 0.5 * random.normal(size=(1000, 1))
    marginal = np.hypot(1, 0.5) * random.normal(size=(1000, 1))
    assert run(marginal, truth).auc < 0.55
    with_it = [np.concatenate([x, condition], axis=1) for x in (marginal, truth)]
    assert run(*with_it).auc > 0.65


def test_several_samples_of_each_halo() -> None:
    random = np.random.default_rng(5)
    halo = np.repeat(np.arange(200), 4)
    generated, truth = random.normal(size=(800, 2)), random.normal(size=(200, 2))
    found = classifier_two_sample_test(
        generated, truth, halo_generated=halo, halo_truth=np.arange(200), seed=0
    )
    assert abs(found.auc - 0.5) < 0.08 and found.p_value > 0.01


def test_logistic_regression_reaches_the_lowest_penalised_loss() -> None:
    from scipy.optimize import minimize

    random = np.random.default_rng(6)
    x = random.normal(size=(300, 2))
    labels = (random.random(300) < 1 / (1 + np.exp(-x[:, 0] * x[:, 1]))).astype(int)
    model = QuadraticLogistic(ridge=2.0).fit(x, labels)
    design = np.column_stack([np.ones(300), (model._raw_design(x) - model.centre) / model.scale])

    def loss(weights: np.ndarray) -> float:
        margin = design @ weights
        return (np.logaddexp(0, margin) - labels * margin).sum() + (weights[1:] ** 2).sum()

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-4})
    assert loss(model.weights) <= best.fun + 1e-5
    np.testing.assert_allclose(model.weights, best.x, atol=1e-3)


def test_separable_and_constant_features_do_not_break_it() -> None:
    random = np.random.default_rng(7)
    truth, generated = random.normal(size=(2, 100, 2))
    generated[:, 0] += 100
    assert run(generated, truth).auc > 0.99
    truth[:] = generated[:] = 3.0
    found = run(generated, truth)
    assert found.auc == 0.5 and found.p_value == 1


def test_frechet_distance_of_gaussians() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 of commuting covariances, in units of the truth's scatter."""
    random = np.random.default_rng(8)
    n = 60_000
    truth = random.normal(size=(n, 3)) * [1, 10, 0.1]
    generated = (random.normal(size=(n, 3)) * [2, 1, 1] + [0, 0.5, 0]) * [1, 10, 0.1]
    assert frechet_distance(generated, truth) == pytest.approx(1 + 0.25, rel=0.03)
    assert frechet_distance(truth, truth) == pytest.approx(0, abs=1e-9)
    # correlations alone: tr(2 - 2 (C)^(1/2)) with C of eigenvalues 1 +- r
    r = 0.8
    one = random.normal(size=(n, 2))
    other = np.stack([one[:, 0], r * one[:, 0] + np.sqrt(1 - r**2) * one[:, 1]], axis=-1)
    expected = 4 - 2 * (np.sqrt(1 + r) + np.sqrt(1 - r))
    assert frechet_distance(other, one) == pytest.approx(expected, rel=0.05)
    assert frechet_distance(1e12 * other, 1e12 * one) == pytest.approx(
        frechet_distance(other, one), rel=1e-6
    )


def test_frechet_distance_of_many_features_matches_the_matrix_root() -> None:
    from scipy.linalg import sqrtm

    random = np.random.default_rng(9)
    one, two = (random.normal(size=(200, 6)) @ random.normal(size=(6, 6)) for _ in range(2))
    scaled = [x / two.std(0, ddof=1) for x in (one, two)]
    c1, c2 = (np.cov(x, rowvar=False) for x in scaled)
    shift = ((scaled[0].mean(0) - scaled[1].mean(0)) ** 2).sum()
    expected = shift + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-6)


def test_frechet_features_of_fields() -> None:
    maps = 1e9 * np.random.default_rng(10).lognormal(size=(5, 2, 3, 32, 32))
    features = frechet_features(maps, 6.25)
    assert features.shape == (5, 2, 3 * len(FRECHET_FEATURES))
    by_channel = features.reshape(5, 2, 3, -1)
    logs = np.log10(1 + maps / np.array([1e9, 1e9, 1e6])[:, None, None])
    index = FRECHET_FEATURES.index("log_mass_mean")
    np.testing.assert_allclose(by_channel[..., index], logs.mean((-2, -1)))
    np.testing.assert_allclose(by_channel[..., index + 1], logs.std((-2, -1)))
    skewed = (logs - logs.mean((-2, -1), keepdims=True)) ** 3
    np.testing.assert_allclose(by_channel[..., index + 2] ** 3, skewed.mean((-2, -1)))
    alone = frechet_features(maps[:, :, 2:], 6.25, ("star",))
    np.testing.assert_allclose(alone, by_channel[:, :, 2])
    assert np.isfinite(frechet_features(0 * maps[0], 6.25)).all()


def test_bad_input() -> None:
    rows, halo = np.random.default_rng(0).normal(size=(10, 2)), np.arange(10)
    with pytest.raises(DataError, match="2 and 1 features"):
        run(rows, rows[:, :1])
    with pytest.raises(DataError, match="found 3 haloes"):
        run(rows[:3], rows[:3])
    with pytest.raises(DataError, match="labels of haloes"):
        classifier_two_sample_test(rows, rows, halo_generated=halo[:3], halo_truth=halo, seed=0)
    with pytest.raises(DataError, match="only generated or only true"):
        classifier_two_sample_test(
            rows, rows[:2], halo_generated=halo, halo_truth=halo[:2], seed=0, n_folds=10
        )
    with pytest.raises(DataError, match="generated: 1 of 20"):
        run(np.where(rows == rows[3, 1], np.nan, rows), rows)
    for function in (frechet_distance, run):
        with pytest.raises(DataError, match="at least 2 rows"):
            function(rows[:1], rows)
        with pytest.raises(DataError, match=r"expected \(N, F\)"):
            function(rows[:, 0], rows)
    with pytest.raises(DataError, match="1 and 2 features"):
        frechet_distance(rows[:, :1], rows)
    with pytest.raises(DataError, match=r"features \[1\] are the same in all 10 truths"):
        frechet_distance(rows, rows * [1, 0])
    with pytest.raises(DataError, match="channels out of dm, gas, star"):
        frechet_features(np.ones((2, 16, 16)), 6.25, ("dm", "metals"))
