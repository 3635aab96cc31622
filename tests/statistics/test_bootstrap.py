"""Bootstrap errors and power ratios."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import (
    bootstrap_weights,
    power_ratio,
    power_ratio_error,
    power_spectrum_2d,
    ratio_of_means,
)


def test_weights_count_rows_and_keep_groups_together() -> None:
    groups = np.array([7, 7, 3, 5, 3, 3])
    weights = bootstrap_weights(groups, 500, seed=1)
    assert weights.shape == (500, 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 2], weights[:, 5])
    np.testing.assert_array_equal(weights[:, [0, 2, 3]].sum(1), 3)
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.1)


def test_weights_depend_on_the_seed_alone() -> None:
    groups = np.arange(9)
    one, again, other = (bootstrap_weights(groups, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_error_of_a_mean_is_sigma_over_root_n() -> None:
    random = np.random.default_rng(0)
    n, sigma = 400, 0.3
    values = 1 + sigma * random.normal(size=(n, 5))
    estimate = ratio_of_means(values, np.ones((n, 5)), bootstrap_weights(np.arange(n), 2000, 0))
    np.testing.assert_allclose(estimate.value, values.mean(0))
    np.testing.assert_allclose(estimate.error, sigma / np.sqrt(n), rtol=0.12)


def test_repeated_rows_do_not_shrink_the_error() -> None:
    values = np.random.default_rng(0).lognormal(size=(100, 1))
    once = ratio_of_means(values, np.ones_like(values), bootstrap_weights(np.arange(100), 2000, 0))
    fourfold, groups = np.tile(values, (4, 1)), np.tile(np.arange(100), 4)
    weights = bootstrap_weights(groups, 2000, 0)
    repeated = ratio_of_means(fourfold, np.ones_like(fourfold), weights)
    np.testing.assert_allclose(repeated.error, once.error, rtol=1e-6)


def test_haloes_of_one_box_are_not_independent() -> None:
    """Exact expectation of both stages: the scatter of box means over B, and that within."""
    random = np.random.default_rng(0)
    n_boxes, n = 8, 10
    boxes = np.repeat(np.arange(n_boxes), n)
    for shared in (0.0, 1.0):
        values = random.normal(size=(n_boxes * n, 400))
        values += shared * np.repeat(random.normal(size=(n_boxes, 400)), n, axis=0)
        weights = bootstrap_weights(np.arange(n_boxes * n), 400, 0, boxes=boxes)
        np.testing.assert_array_equal(weights.sum(1), n_boxes * n)
        variance = ratio_of_means(5 + values, np.full_like(values, 1.0), weights).error ** 2
        within = (n - 1) / n / (n * n_boxes)
        expected = (shared**2 + 1 / n) * (n_boxes - 1) / n_boxes**2 + within
        assert variance.mean() == pytest.approx(expected, rel=0.1)


def test_a_halo_lies_in_one_box_and_one_box_is_not_resampled() -> None:
    with pytest.raises(DataError, match="rows of one halo lie in different boxes"):
        bootstrap_weights(np.array([0, 0, 1]), 10, 0, boxes=np.array([0, 1, 1]))
    with pytest.raises(DataError, match="at least two of them, found 1"):
        bootstrap_weights(np.arange(3), 10, 0, boxes=np.zeros(3))


def test_undefined_ratios_are_nan_where_asked_for() -> None:
    below = np.array([[1.0, 1.0, -2.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    weights = bootstrap_weights(np.arange(3), 200, 0)
    found = ratio_of_means(2 * below, below, weights, undefined="nan")
    # the second has resamples without mass, the third a negative mean
    np.testing.assert_array_equal(found.value, [2, np.nan, np.nan])
    np.testing.assert_array_equal(np.isnan(found.error), [False, True, True])


def test_what_numerator_and_denominator_share_cancels() -> None:
    values = np.random.default_rng(0).lognormal(size=(50, 3))
    estimate = ratio_of_means(1.5 * values, values, bootstrap_weights(np.arange(50), 200, 0))
    np.testing.assert_allclose(estimate.value, 1.5)
    np.testing.assert_allclose(estimate.error, 0, atol=1e-12)


def test_power_ratio_averages_the_power_of_samples() -> None:
    maps = np.random.default_rng(0).lognormal(size=(30, 4, 2, 16, 16))
    truth = np.random.default_rng(1).lognormal(size=(30, 2, 16, 16))
    generated_power = power_spectrum_2d(maps, 1.0).power
    truth_power = power_spectrum_2d(truth, 1.0).power
    weights = bootstrap_weights(np.arange(30), 400, 0)
    ratio = power_ratio(generated_power, truth_power, weights)
    assert ratio.value.shape == ratio.error.shape == (2, 7)
    np.testing.assert_allclose(
        ratio.value, generated_power.mean((0, 1)) / truth_power.mean(0), rtol=1e-12
    )
    # the same distribution: the ratio is 1 within its error
    assert (np.abs(ratio.value - 1) < 4 * ratio.error).all()
    halved = power_ratio(generated_power, 2 * truth_power, weights)
    error = power_ratio_error(halved, 3)
    assert error.value.shape == (2,)
    np.testing.assert_allclose(error.value, np.abs(halved.value - 1)[:, :3].mean(1))
    # all ratios lie below 1, where the mean of |ratio - 1| is linear in them
    np.testing.assert_allclose(error.error, halved.resamples[..., :3].mean(-1).std(0, ddof=1))


def test_bad_input() -> None:
    with pytest.raises(DataError, match="at least two haloes, found 1"):
        bootstrap_weights(np.zeros(5), 10, 0)
    weights = bootstrap_weights(np.arange(4), 10, 0)
    with pytest.raises(DataError, match="true mean is zero in 2 of 2"):
        ratio_of_means(np.ones((4, 2)), np.zeros((4, 2)), weights)
    with pytest.raises(DataError, match="shapes"):
        ratio_of_means(np.ones((4, 2)), np.ones((4, 3)), weights)
    lonely = np.array([[1.0], [0], [0], [0]])
    with pytest.raises(DataError, match="resample of the truth is empty"):
        ratio_of_means(lonely, lonely, bootstrap_weights(np.arange(4), 100, 0))
    ones = np.ones((4, 2))
    with pytest.raises(DataError, match="no wavenumber bin"):
        power_ratio_error(ratio_of_means(ones, ones, weights), 0)
