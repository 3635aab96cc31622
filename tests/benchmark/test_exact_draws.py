"""Many exact draws as the truth: the oracle's part of the benchmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halo_cm.benchmark import (
    TRUTH_VS_TRUTH,
    ExactDraws,
    Row,
    Settings,
    evaluate,
    read_exact_draws,
)
from halo_cm.benchmark.measure import _score
from halo_cm.benchmark.truth import Truth
from halo_cm.containers import Cutouts
from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import DataError
from halo_cm.statistics import crps_fair

N_EXACT = 16
SETTINGS = Settings(n_resamples=100, fields_at_once=10, timing_fields=4, timing_repeats=1)


@pytest.fixture(scope="module")
def draws(cutouts, exact) -> ExactDraws:
    return ExactDraws(cutouts, exact(cutouts, N_EXACT, 1000))


@pytest.fixture(scope="module")
def oracle_file(draws, tmp_path_factory):
    """The draws of each cutout as neighbouring rows, as `simulate_oracle` writes them."""
    path = tmp_path_factory.mktemp("exact") / "oracle.h5"
    rows = np.repeat(np.arange(len(draws.cutouts)), N_EXACT)
    repeated = draws.cutouts.select(rows)
    fields = draws.fields.reshape(-1, *draws.fields.shape[2:])
    realization = np.tile(np.arange(N_EXACT), len(draws.cutouts))
    write_cutouts(path, replace(repeated, target=fields, realization=realization))
    return path


def test_an_exact_emulator_scores_as_the_floor_does(draws, exact):
    row = Row("exact", 1, 1, exact)
    summary = evaluate(
        [row], draws.cutouts, draws, members=N_EXACT // 2, seed=3, settings=SETTINGS
    ).summary
    floor, found = summary.floors[TRUTH_VS_TRUTH], summary.rows[0]
    assert floor.members == N_EXACT // 2 and floor.seconds_per_halo is None
    for kind in ("log_mass", "features"):
        for channel in ("dm", "gas", "star"):
            assert floor.crps_over_oracle[kind][channel] == 1
            assert found.crps_over_oracle[kind][channel] == pytest.approx(1, abs=0.04)
    assert found.mass_bias["gas"] == pytest.approx(0, abs=0.01)
    assert found.power_ratio_error["gas"]["nyquist"] < 0.1


def test_the_noise_of_the_truth_falls_with_the_number_of_draws(cutouts, exact):
    def power(n: int, seed: int) -> np.ndarray:
        return Truth.of(cutouts, 10, 0, exact(cutouts, n, seed)).statistics.power[:, 0]

    reference = power(128, 9000)
    few, many = (np.abs(power(n, 5000) / reference - 1).mean() for n in (4, 64))
    assert few == pytest.approx(4 * many, rel=0.4)  # 1 / sqrt(n), and a little of the reference


def test_a_biased_emulator_is_seen(draws, exact):
    def generate(part: Cutouts, members: int, seed: int) -> np.ndarray:
        return exact(part, members, seed) * np.float32(1.1)

    row = Row("heavy", 1, 1, generate)
    found = evaluate([row], draws.cutouts, draws, members=4, seed=3, settings=SETTINGS).summary
    assert found.rows[0].mass_bias["dm"] == pytest.approx(0.1, abs=0.01)
    assert found.rows[0].crps_over_oracle["features"]["dm"] > 1.5


def test_files_of_exact_draws(oracle_file, draws):
    found = read_exact_draws(oracle_file)
    np.testing.assert_array_equal(found.fields, draws.fields)
    np.testing.assert_array_equal(found.cutouts.condition, draws.cutouts.condition)
    np.testing.assert_array_equal(found.cutouts.target, draws.fields[:, 0])


def test_too_few_draws_and_other_cutouts_are_refused(oracle_file, draws, cutouts, tmp_path):
    write_cutouts(tmp_path / "single.h5", cutouts)
    with pytest.raises(DataError, match="holds 1 to 1 draws of a cutout, expected as many"):
        read_exact_draws(tmp_path / "single.h5")
    with pytest.raises(DataError, match="found 3 exact draws"):
        ExactDraws(cutouts, draws.fields[:, :3])
    elsewhere = replace(cutouts, box=cutouts.box + 1)
    with pytest.raises(DataError, match="no exact draws of the cutout"):
        draws.first_half(elsewhere)


def test_scores_are_means_over_the_truths(draws):
    """Of the fair CRPS against each truth, which the spread taken once must not change."""
    rng = np.random.default_rng(0)
    ensemble, truth = rng.normal(size=(5, 6, 3)), rng.normal(size=(5, 4, 3))
    expected = np.mean([crps_fair(ensemble, truth[:, i]) for i in range(4)], axis=0)
    np.testing.assert_allclose(_score(ensemble, truth, "ensemble"), expected, atol=1e-12)


def test_a_classifier_tells_a_model_that_ignores_its_condition(draws, exact):
    """Fields of another halo look real, but not beside their condition."""

    def shuffled(part: Cutouts, members: int, seed: int) -> np.ndarray:
        return np.roll(exact(part, members, seed), len(part) // 2, axis=0)

    rows = [Row("exact", 1, 1, exact), Row("shuffled", 1, 1, shuffled)]
    found = evaluate(rows, draws.cutouts, draws, members=8, seed=3, settings=SETTINGS).summary
    honest, blind = found.rows
    assert abs(honest.two_sample_auc - 0.5) < 4 * honest.two_sample_auc_uncertainty
    assert blind.two_sample_auc > 0.5 + 5 * blind.two_sample_auc_uncertainty
    assert abs(found.floors[TRUTH_VS_TRUTH].two_sample_auc - 0.5) < 0.1


def test_cross_correlation_pairs_members_with_truths(draws):
    """Members that are the truths themselves are correlated with them perfectly."""

    def copy(part: Cutouts, members: int, seed: int) -> np.ndarray:
        return draws.first_half(part)[:, :members]

    found = evaluate(
        [Row("copy", 1, 1, copy)], draws.cutouts, draws, members=8, seed=3, settings=SETTINGS
    ).summary.rows[0]
    np.testing.assert_allclose(found.cross_correlation["gas"], 1, atol=1e-6)
