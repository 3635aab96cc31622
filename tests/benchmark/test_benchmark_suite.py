"""The benchmark on synthetic haloes whose exact distribution is known."""

from __future__ import annotations

import json
import logging
from dataclasses import fields, replace

import numpy as np
import pytest

from halo_cm.atomic import write_json
from halo_cm.benchmark import (
    TRUTH_VS_TRUTH,
    Benchmark,
    Row,
    RowSummary,
    Settings,
    Summary,
    copied_input,
    describe_run,
    evaluate,
    read_summary,
    stellar_fraction,
)
from halo_cm.benchmark.fields import Axes
from halo_cm.benchmark.measure import measure
from halo_cm.benchmark.summary import SCHEMA_VERSION
from halo_cm.errors import DataError
from halo_cm.statistics import field_features, power_spectrum_2d

SETTINGS = Settings(n_resamples=200, fields_at_once=10, timing_fields=4, timing_repeats=2)
CHANNELS = ("dm", "gas", "star")


def run(rows, cutouts, redraw, **options) -> Benchmark:
    return evaluate(rows, cutouts, redraw, members=4, seed=1, settings=SETTINGS, **options)


@pytest.fixture(scope="module")
def result(cutouts, redraw, exact, posterior_mean) -> Benchmark:
    rows = [
        Row("exact", 1, 1, exact),
        Row("exact", 2, 2, lambda part, members, seed: exact(part, members, seed + 10**6)),
        Row("biased", None, 35, lambda *args: 1.2 * exact(*args), members=2),
        Row("posterior mean", None, 1, posterior_mean, kind="floor", scoring="deterministic"),
        copied_input(stellar_fraction(cutouts)),
    ]
    provenance = describe_run("haloes.h5", cutouts.geometry, command="halo-cm benchmark")
    return run(rows, cutouts, redraw, provenance=provenance)


def test_an_exact_emulator_scores_like_the_truth(result) -> None:
    for row in result.summary.rows[:2]:
        for channel in CHANNELS:
            for curve, error in zip(
                row.power_ratio[channel], row.power_ratio_uncertainty[channel], strict=True
            ):
                assert abs(curve - 1) < 5 * error
            assert abs(row.mass_bias[channel]) < 5 * row.mass_bias_uncertainty[channel]
            assert row.crps_over_oracle["log_mass"][channel] == pytest.approx(1, abs=0.05)
            assert row.crps_over_oracle["features"][channel] == pytest.approx(1, abs=0.25)
        assert row.occupied_fraction == pytest.approx(
            result.summary.truth["occupied_fraction"], abs=0.01
        )


def test_the_floors(result) -> None:
    floors, exact = result.summary.floors, result.summary.rows[0]
    assert set(floors) == {TRUTH_VS_TRUTH, "posterior mean", "copied input"}
    oracle = floors[TRUTH_VS_TRUTH]
    assert oracle.seconds_per_halo is None
    for scores in oracle.crps_over_oracle.values():
        assert scores == pytest.approx(dict.fromkeys(CHANNELS, 1.0))
    for name in ("posterior mean", "copied input"):
        assert floors[name].members == 1
        for channel in CHANNELS:
            assert floors[name].crps_log_mass[channel] > 1.2 * exact.crps_log_mass[channel]
    star = floors["posterior mean"].power_ratio_error["star"]["nyquist"]
    assert star > 3 * exact.power_ratio_error["star"]["nyquist"]
    assert floors["posterior mean"].power_ratio["star"][-1] < 0.5


def test_a_mass_bias_is_found(result) -> None:
    biased = result.summary.rows[2]
    assert biased.mass_bias["dm"] == pytest.approx(0.2, abs=0.01)
    assert biased.members == 2
    # the overdensity does not see it
    assert biased.power_ratio_error["dm"]["nyquist"] < 0.02


def test_figures_agree_with_a_direct_computation(cutouts, redraw, exact) -> None:
    """No parts: one call, and every number from its definition."""
    settings = replace(SETTINGS, fields_at_once=1000)
    row = Row("fixed", 1, 1, lambda part, members, seed: exact(part, members, 12))
    found = evaluate([row], cutouts, redraw, members=3, settings=settings).summary.rows[0]
    samples = exact(cutouts, 3, 12)
    power = power_spectrum_2d(samples, 6.25, window="hann").power.mean((0, 1))
    truth = power_spectrum_2d(cutouts.target, 6.25, window="hann").power.mean(0)
    ratio = power / truth
    for i, channel in enumerate(CHANNELS):
        np.testing.assert_allclose(found.power_ratio[channel], ratio[i])
        error = found.power_ratio_error[channel]
        assert error["nyquist"] == pytest.approx(np.abs(ratio[i] - 1).mean())
        assert error["one_half_nyquist"] == pytest.approx(np.abs(ratio[i, :4] - 1).mean())
    bias = samples.sum((0, 1, 3, 4)) / 3 / cutouts.target.sum((0, 2, 3)) - 1
    np.testing.assert_allclose(list(found.mass_bias.values()), bias, rtol=1e-3)
    assert found.occupied_fraction == pytest.approx((samples[:, :, 2] > 1e6).mean())


def test_speckles_are_counted(cutouts, redraw, exact) -> None:
    """In an empty corner, since nearly all star pixels of these fields are occupied."""

    def speckled(part, members, seed):
        fields = exact(part, members, seed)
        fields[:, :, 2, :6, :6] = 0
        fields[:, 0, 2, 2, 2:4] = 5e9  # two in one of three members
        return fields

    target = cutouts.target.copy()
    target[:, 2, :6, :6] = 0
    target[::2, 2, 3, 3] = 5e9
    truth = replace(cutouts, target=target)
    row = Row("speckled", 1, 1, speckled)
    found = evaluate([row], truth, redraw, members=3, settings=SETTINGS).summary
    assert found.rows[0].isolated_pixels == pytest.approx(2 / 3)
    assert found.truth["isolated_pixels"] == pytest.approx(1 / 2)


def test_same_seed_same_figures(cutouts, redraw, exact) -> None:
    rows = [Row("exact", 1, 1, exact)]
    one, two = (run(rows, cutouts, redraw).summary.rows[0] for _ in range(2))
    costs = {"seconds_per_halo": 0.0, "peak_memory_gib": 0.0}
    assert replace(one, **costs) == replace(two, **costs)


def test_parts_cover_all_cutouts_with_different_seeds(cutouts, redraw, exact) -> None:
    calls = []

    def generate(part, members, seed):
        calls.append((len(part), members, seed))
        return exact(part, members, seed)

    run([Row("exact", 1, 1, generate)], cutouts, redraw)
    generated = [call for call in calls if call[1] == 4]
    assert [n for n, _, _ in generated] == [10, 10, 10, 6]
    assert len({seed for _, _, seed in generated}) == 4
    timed = [call for call in calls if call[1] == 1]
    assert timed == [(4, 1, 1)] * 3  # a warm-up and two repeats


def test_the_gallery_shows_different_haloes_of_falling_mass(result, cutouts) -> None:
    gallery = result.gallery
    assert len(gallery.cutouts) == 4
    assert len(set(gallery.cutouts.halo.tolist())) == 4
    assert (np.diff(gallery.cutouts.halo_mass) < 0).all()
    assert gallery.cutouts.halo_mass[0] == cutouts.halo_mass.max()
    assert gallery.samples["exact, 1 step"].shape == (4, 2, 3, 16, 16)
    assert gallery.samples["posterior mean"].shape == (4, 1, 3, 16, 16)
    # samples belong to their haloes: masses agree within the scatter of a draw
    samples, truth = gallery.samples["exact, 2 steps"], gallery.cutouts.target
    np.testing.assert_allclose(samples[:, 0, 0].sum((-2, -1)), truth[:, 0].sum((-2, -1)), rtol=0.3)


def test_summary_survives_json(result, tmp_path) -> None:
    write_json(tmp_path / "benchmark.json", result.summary.as_dict())
    assert read_summary(tmp_path / "benchmark.json") == result.summary
    content = json.loads((tmp_path / "benchmark.json").read_text())
    keys = {"name", "n_sampling_steps", "nfe", "seconds_per_halo", "power_ratio_error"}
    assert keys <= content["rows"][0].keys()
    assert content["rows"][0]["power_ratio_error"]["gas"].keys() == {"one_half_nyquist", "nyquist"}
    assert content["schema_version"] == 6
    assert content["provenance"]["command"] == "halo-cm benchmark"
    assert content["provenance"]["hardware"]["cores"] >= 1
    assert content["provenance"]["versions"]["numpy"] == np.__version__


def test_every_key_of_the_schema_is_documented() -> None:
    for schema in (RowSummary, Summary):
        documented = schema.__doc__.split("Attributes")[1]
        for entry in fields(schema):
            assert entry.name.removesuffix("_uncertainty") in documented


def test_without_a_second_draw(cutouts, exact) -> None:
    summary = run([Row("exact", 1, 1, exact)], cutouts, None).summary
    assert summary.floors == {}
    assert summary.rows[0].crps_over_oracle is None


def test_samples_without_stars_are_counted(cutouts, redraw, exact, caplog) -> None:
    def generate(part, members, seed):
        samples = exact(part, members, seed)
        samples[:, :, 2] = 0
        return samples

    with caplog.at_level(logging.WARNING):
        row = run([Row("starless", 1, 1, generate)], cutouts, redraw).summary.rows[0]
    assert row.empty_maps == {"dm": 0, "gas": 0, "star": 4 * len(cutouts)}
    assert row.power_ratio["star"] == [0.0] * 7
    assert row.cross_correlation["star"] == [0.0] * 7
    assert "144 sampled maps hold no mass" in caplog.text


def test_exact_draws_score_half_their_distance(cutouts, redraw) -> None:
    samples = redraw.target[:, None]
    truth, geometry = cutouts.target[:, None], cutouts.geometry
    features = field_features(truth, geometry.field_of_view)
    arguments = (samples, truth, features, Axes.of(geometry, truth))
    exact_draw, deterministic = (
        measure(*arguments, scoring) for scoring in ("exact_draw", "deterministic")
    )
    distance = np.abs(
        np.log10(1 + samples[:, 0, 0] / 1e9) - np.log10(1 + cutouts.target[:, 0] / 1e9)
    )
    np.testing.assert_allclose(deterministic.crps_log_mass[:, 0], distance.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(exact_draw.crps_log_mass, deterministic.crps_log_mass / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[:, :2], r"shape \(10, 2, 3, 16, 16\), expected \(10, 4, 3, 16, 16\)"),
        (lambda f: f - 1e12, "row 'bad, 1 step': the smallest mass"),
        (lambda f: f * np.nan, "row 'bad, 1 step': .* NaN"),
    ],
)
def test_bad_rows(cutouts, redraw, exact, change, message) -> None:
    rows = [Row("bad", 1, 1, lambda *args: change(exact(*args)))]
    with pytest.raises(DataError, match=message):
        run(rows, cutouts, redraw)


def test_bad_data(cutouts, redraw, exact, without_stars) -> None:
    rows = [Row("exact", 1, 1, exact)]
    with pytest.raises(DataError, match="equal the first"):
        run(rows, cutouts, cutouts)
    with pytest.raises(DataError, match="26 of 36 test cutouts have no second draw"):
        run(rows, cutouts, redraw.select(slice(0, 10)))
    with pytest.raises(DataError, match="other parameters"):
        run(rows, cutouts, replace(redraw, parameters=redraw.parameters + 1))
    with pytest.raises(DataError, match="need a target"):
        run(rows, replace(cutouts, target=None), redraw)
    with pytest.raises(DataError, match="needs cutouts with a target"):
        run(rows, replace(cutouts, target=None), None)
    with pytest.raises(DataError, match="different names"):
        run(rows * 2, cutouts, redraw)
    with pytest.raises(DataError, match="channel 'star' of the truth holds no mass in any of 36"):
        run(rows, without_stars, None)
    with pytest.raises(DataError, match="at least two haloes"):
        run(rows, cutouts.select(cutouts.halo == 0), None)
    with pytest.raises(DataError, match="row 'exact, 1 step' needs at least two members"):
        evaluate(rows, cutouts, redraw, members=1, settings=SETTINGS)


def test_the_order_of_second_draws_does_not_matter(cutouts, redraw, exact) -> None:
    rows = [Row("exact", 1, 1, exact)]
    backwards = redraw.select(np.arange(len(redraw))[::-1])
    one, two = (run(rows, cutouts, r).summary.floors for r in (redraw, backwards))
    assert one == two


def test_unreadable_summaries(tmp_path) -> None:
    path = tmp_path / "benchmark.json"
    with pytest.raises(DataError, match="does not exist"):
        read_summary(path)
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "expected a JSON object"),
        ('{"schema_version": 0}', "schema_version is 0"),
        (f'{{"schema_version": {SCHEMA_VERSION}}}', "not a complete"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_summary(path)
