"""Paired differences of two rows: exact answers, and what pairing gains."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest

from halo_cm.benchmark import TRUTH_VS_TRUTH, ExactDraws, Row, Settings, evaluate
from halo_cm.benchmark.contrasts import over_oracle
from halo_cm.benchmark.measure import SampleStatistics
from halo_cm.containers import Cutouts
from halo_cm.report.contrasts import FIGURES

CHANNELS = ("dm", "gas", "star")
SETTINGS = Settings(n_resamples=200, fields_at_once=10, timing_fields=4, timing_repeats=1)
N_EXACT = 16


@pytest.fixture(scope="module")
def draws(cutouts, exact) -> ExactDraws:
    return ExactDraws(cutouts, exact(cutouts, N_EXACT, 1000))


def scaled(exact, factor: float):
    def generate(part: Cutouts, members: int, seed: int) -> np.ndarray:
        return exact(part, members, seed) * np.float32(factor)

    return generate


@pytest.fixture(scope="module")
def summary(draws, exact):
    """An exact emulator, itself again, and fields that are 10% too heavy or two pixels off."""
    rows = [
        Row("exact", 1, 1, exact),
        Row("again", 1, 1, exact),
        Row("heavy", 1, 1, scaled(exact, 1.1)),
        Row("shifted", 1, 1, lambda *given: np.roll(exact(*given), 2, axis=-1)),
    ]
    return evaluate(rows, draws.cutouts, draws, members=8, seed=3, settings=SETTINGS).summary


def test_a_row_against_itself_differs_by_nothing(summary) -> None:
    for name, found in summary.contrasts["again, 1 step"].items():
        channels = ("star",) if name == "occupied" else CHANNELS
        for channel in channels:
            assert found["difference"][channel] == found["error"][channel] == 0, name


def n_bins_of_half_nyquist(summary) -> int:
    """As many as the error of the power is the mean over."""
    row = summary.rows[0]
    errors = np.abs(np.array(row.power_ratio["gas"]) - 1)
    means = errors.cumsum() / np.arange(1, len(errors) + 1)
    return int(np.abs(means - row.power_ratio_error["gas"]["one_half_nyquist"]).argmin()) + 1


@pytest.mark.parametrize("other", [2, 3], ids=["heavy", "shifted"])
def test_the_difference_is_that_of_the_rows(summary, other) -> None:
    rows = (summary.rows[0], summary.rows[other])
    found = summary.contrasts[rows[1].label]
    floor = summary.floors[TRUTH_VS_TRUTH]
    half = n_bins_of_half_nyquist(summary)

    def correlation(row, channel: str) -> float:
        r, exact = (np.array(x.cross_correlation[channel][:half]) for x in (row, floor))
        return np.abs(r - exact).mean()

    def scatter(row, channel: str) -> float:
        true = summary.truth["deviation"][channel]
        return np.abs(np.divide(row.deviation[channel], true) - 1).mean()

    figures = {
        "power": lambda row, c: row.power_ratio_error[c]["one_half_nyquist"],
        "mass": lambda row, c: abs(row.mass_bias[c]),
        "pixels": lambda row, c: row.crps_over_oracle["log_mass"][c],
        "features": lambda row, c: row.crps_over_oracle["features"][c],
        "pdf": lambda row, c: row.pdf_distance[c],
        "correlation": correlation,
        "scatter": scatter,
    }
    for name, figure in figures.items():
        for c in CHANNELS:
            expected = figure(rows[0], c) - figure(rows[1], c)
            assert found[name]["difference"][c] == pytest.approx(expected, abs=1e-8), name
    truth = summary.truth["occupied_fraction"]
    errors = [abs(row.occupied_fraction / truth - 1) for row in rows]
    assert found["occupied"]["difference"]["star"] == pytest.approx(errors[0] - errors[1])
    assert found["occupied"]["difference"]["gas"] is None


def deviation_from_one(row, figure: str, channel: str) -> float:
    value = getattr(row, figure)
    curves = [value[channel]] if channel in value else [v[channel] for v in value.values()]
    ratios = np.array([x for curve in curves for x in curve], float)  # null becomes NaN
    return float(np.nanmean(np.abs(ratios - 1)))


@pytest.mark.parametrize("other", [2, 3], ids=["heavy", "shifted"])
@pytest.mark.parametrize("figure", ["bispectrum", "scattering"])
def test_ratios_are_averaged_where_they_are_defined(summary, other, figure) -> None:
    if summary.rows[0].scattering_ratio is None and figure == "scattering":
        pytest.skip("kymatio is not installed")
    rows = (summary.rows[0], summary.rows[other])
    found = summary.contrasts[rows[1].label][figure]["difference"]
    for c in CHANNELS:
        first, second = (deviation_from_one(row, f"{figure}_ratio", c) for row in rows)
        assert found[c] == pytest.approx(first - second, abs=1e-8)


def test_shifted_fields_have_clearly_the_wrong_correlation(summary) -> None:
    found = summary.contrasts["shifted, 1 step"]
    assert found["correlation"]["difference"]["dm"] < -5 * found["correlation"]["error"]["dm"]


def test_a_factor_of_all_fields_moves_the_mass_alone_and_surely(summary) -> None:
    """P(k) of overdensities does not know it; the mass is 10% too high, whatever the haloes."""
    found = summary.contrasts["heavy, 1 step"]
    for channel in CHANNELS:
        assert found["power"]["difference"][channel] == pytest.approx(0, abs=1e-5)
        bias = summary.rows[0].mass_bias[channel]
        expected = abs(bias) - abs(1.1 * (1 + bias) - 1)
        assert found["mass"]["difference"][channel] == pytest.approx(expected, abs=1e-5)
    # the first is clearly better in features, beyond its error
    better = found["features"]
    assert better["difference"]["dm"] < -5 * better["error"]["dm"] < 0


def test_pairing_cancels_what_the_haloes_share(draws, exact) -> None:
    """Masses 10 and 20% too high: each ratio scatters with the draws, their difference hardly."""
    rows = [Row("a", 1, 1, scaled(exact, 1.1)), Row("b", 1, 1, scaled(exact, 1.2))]
    found = evaluate(rows, draws.cutouts, draws, members=2, seed=3, settings=SETTINGS).summary
    mass = found.contrasts["b, 1 step"]["mass"]
    apart = found.rows[0].mass_bias_uncertainty["star"]
    assert mass["difference"]["star"] == pytest.approx(-0.1, abs=0.01)
    assert 0 < mass["error"]["star"] < 0.2 * apart


def numbers(rng: np.random.Generator, n: int) -> SampleStatistics:
    """Scores of n cutouts, made up; nothing else is looked at."""
    empty = dict.fromkeys(field.name for field in fields(SampleStatistics))
    scores = {"crps_log_mass": (n, 3), "crps_features": (n, 3, 4)}
    return SampleStatistics(**{**empty, **{k: rng.gamma(4, size=v) for k, v in scores.items()}})


def test_scores_over_exact_draws_in_all_resamples() -> None:
    rng = np.random.default_rng(0)
    row, exact = numbers(rng, 30), numbers(rng, 30)
    weights = rng.multinomial(25, np.full(30, 1 / 30), 50).astype(float)
    found = over_oracle(row, exact, weights)
    expected = row.crps_features.mean(0) / exact.crps_features.mean(0)
    np.testing.assert_allclose(found["features"].value, expected.mean(-1))
    for w, resample in zip(weights.astype(int), found["features"].resamples, strict=True):
        drawn = np.repeat(np.arange(30), w)
        ratio = row.crps_features[drawn].mean(0) / exact.crps_features[drawn].mean(0)
        np.testing.assert_allclose(resample, ratio.mean(-1))
    resampled = found["log_mass"].resamples
    np.testing.assert_allclose(found["log_mass"].error, resampled.std(0, ddof=1))


def test_a_score_that_is_zero_in_a_resample_has_a_value_and_no_error() -> None:
    rng = np.random.default_rng(0)
    row, exact = numbers(rng, 6), numbers(rng, 6)
    exact.crps_features[:5, 1] = 0  # one halo alone has gas that varies
    weights = np.array([[6.0, 0, 0, 0, 0, 0], [1.0] * 6])
    found = over_oracle(row, exact, weights)["features"]
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.error).tolist() == [True, False, True]
    exact.crps_features[5, 1] = 0
    assert over_oracle(row, exact, weights) is None


def test_rows_of_fewer_samples_are_compared_on_as_many(draws, exact) -> None:
    """The same emulator with 8 and with 2 samples, the first two of which are the same."""
    few = Row("few", 1, 1, lambda part, members, seed: exact(part, 8, seed)[:, :2], members=2)
    rows = [Row("exact", 1, 1, exact), few]
    found = evaluate(rows, draws.cutouts, draws, members=8, seed=3, settings=SETTINGS).summary
    for name, figure in found.contrasts["few, 1 step"].items():
        for c in CHANNELS:
            if name not in ("pixels", "features") and figure["error"][c] is not None:
                assert figure["difference"][c] == figure["error"][c] == 0, name
    # scores are those of the rows
    expected = [row.crps_over_oracle["features"]["gas"] for row in found.rows]
    scores = found.contrasts["few, 1 step"]["features"]
    assert scores["difference"]["gas"] == pytest.approx(expected[0] - expected[1])
    assert found.contrasts[TRUTH_VS_TRUTH]["scatter"]["error"]["gas"] > 0


def test_a_floor_of_one_draw_or_one_prediction(cutouts, exact) -> None:
    """One draw is noisier than the mean of 4 samples; a prediction has no noise to average."""
    redraw = replace(cutouts, target=exact(cutouts, 1, 77)[:, 0])
    copied = Row("copy", None, None, lambda part, members, seed: exact(part, 1, 5), "floor",
                 "deterministic")  # fmt: skip
    rows = [Row("exact", 1, 1, exact), copied]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = evaluate(rows, cutouts, redraw, members=4, seed=3, settings=SETTINGS).summary
    assert list(found.contrasts) == ["copy", TRUTH_VS_TRUTH]
    floor = found.contrasts[TRUTH_VS_TRUTH]
    assert floor["power"]["difference"]["gas"] is None
    assert floor["pixels"]["difference"]["gas"] is not None
    assert found.contrasts["copy"]["power"]["difference"]["gas"] is not None
    assert found.contrasts["copy"]["scatter"]["difference"]["gas"] is None
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_floors_alone_are_compared_with_nothing(cutouts, exact) -> None:
    floor = Row("copy", None, None, lambda *given: exact(*given)[:, :1], "floor", "deterministic")
    found = evaluate([floor], cutouts, None, members=2, seed=3, settings=SETTINGS).summary
    assert found.contrasts == {}


def test_without_exact_draws_scores_are_in_dex_and_two_figures_do_not_exist(cutouts, exact) -> None:
    rows = [Row("exact", 1, 1, exact), Row("heavy", 1, 1, scaled(exact, 1.1))]
    found = evaluate(rows, cutouts, None, members=4, seed=3, settings=SETTINGS).summary
    differences = found.contrasts["heavy, 1 step"]
    a, b = found.rows
    expected = a.crps_log_mass["gas"] - b.crps_log_mass["gas"]
    assert differences["pixels"]["difference"]["gas"] == pytest.approx(expected, abs=1e-12)
    for name in ("correlation", "scatter"):
        assert set(differences[name]["difference"].values()) == {None}
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_the_schema_reads_back(summary) -> None:
    assert type(summary).from_dict(json.loads(json.dumps(summary.as_dict()))) == summary


def test_the_report_knows_all_figures(summary) -> None:
    assert set(FIGURES) == set(summary.contrasts["heavy, 1 step"])
