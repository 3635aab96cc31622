"""Structure, calibration and cost of rows whose answers are known."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from halo_cm.benchmark import (
    TRUTH_VS_TRUTH,
    ExactDraws,
    Row,
    Settings,
    copied_input,
    evaluate,
    stellar_fraction,
)
from halo_cm.benchmark.fields import Axes
from halo_cm.statistics import (
    bispectrum_2d,
    conditional_deviation_by_radius,
    log_mass,
    one_point_pdf,
    peak_counts,
    power_spectrum_2d,
    wavelet_scattering,
)

SETTINGS = Settings(n_resamples=50, fields_at_once=20, timing_fields=2, timing_repeats=1)
CHANNELS = ("dm", "gas", "star")


@pytest.fixture(scope="module")
def independent(cutouts):
    """The cutouts as 36 haloes of their own."""
    n = len(cutouts)
    return replace(cutouts, halo=np.arange(n), draw=np.zeros(n, int))


@pytest.fixture(scope="module")
def draws(independent, exact) -> ExactDraws:
    return ExactDraws(independent, exact(independent, 16, 1000))


@pytest.fixture(scope="module")
def found(draws, exact):
    """An exact emulator, one too sure of itself, and one that ignores its condition."""

    def sure(*args):
        samples = exact(*args)
        mean = samples.mean(1, keepdims=True)
        return mean + np.float32(0.3) * (samples - mean)

    def blind(*args):
        return np.roll(exact(*args), 7, axis=0)

    rows = [Row("exact", 1, 1, exact), Row("sure", 1, 1, sure), Row("blind", 1, 1, blind)]
    settings = replace(SETTINGS, fields_at_once=100)
    return evaluate(rows, draws.cutouts, draws, members=8, seed=3, settings=settings).summary


@pytest.fixture(scope="module")
def multiples(cutouts):
    """The truth itself, and twice the truth."""
    place = {key: i for i, key in enumerate(zip(cutouts.halo, cutouts.draw, strict=True))}

    def times(factor):
        def generate(part, members, seed):
            rows = [place[key] for key in zip(part.halo, part.draw, strict=True)]
            return np.float32(factor) * cutouts.target[rows][:, None]

        return generate

    rows = [Row(f"times {n}", None, None, times(n), scoring="deterministic") for n in (1, 2)]
    rows.append(copied_input(stellar_fraction(cutouts)))
    return evaluate(rows, cutouts, None, seed=0, settings=SETTINGS).summary


def test_the_truth_agrees_with_itself(multiples) -> None:
    row, truth = multiples.rows[0], multiples.truth
    for channel in CHANNELS:
        for ratios in (*row.bispectrum_ratio.values(), row.profile_ratio, row.scattering_ratio):
            np.testing.assert_allclose(ratios[channel], 1)
        assert row.pdf_distance[channel] == 0
        assert row.frechet_distance[channel] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(row.suppression, truth["suppression"])
    assert (row.pdf, row.peaks) == (truth["pdf"], truth["peaks"])


def test_twice_the_mass_has_the_structure_and_twice_the_profile(multiples) -> None:
    row, truth = multiples.rows[1], multiples.truth
    for channel in CHANNELS:
        for ratios in row.bispectrum_ratio.values():
            np.testing.assert_allclose(ratios[channel], 1, rtol=1e-5)
        np.testing.assert_allclose(row.profile_ratio[channel], 2, rtol=1e-5)
        assert row.pdf_distance[channel] > 0.05
        assert row.frechet_distance[channel] > 0.1
        assert sum(row.peaks[channel]) > sum(truth["peaks"][channel])
    np.testing.assert_allclose(row.suppression, truth["suppression"], rtol=1e-5)


def test_the_copied_input_suppresses_nothing(multiples) -> None:
    """Its channels add up to the dark-matter-only map."""
    copy = multiples.floors["copied input"]
    np.testing.assert_allclose(copy.suppression, 1, rtol=1e-5)
    np.testing.assert_allclose(copy.suppression_uncertainty, 0, atol=1e-6)
    assert max(abs(np.array(multiples.truth["suppression"]) - 1)) > 0.01


def test_curves_are_means_over_all_fields(cutouts, multiples) -> None:
    """Of the functions of `halo_cm.statistics`, called once for all fields."""
    truth, width = multiples.truth, cutouts.geometry.field_of_view
    gas = cutouts.target[:, 1]
    power = power_spectrum_2d(gas, width, window="hann")
    np.testing.assert_allclose(truth["power"]["gas"], power.power.mean(0))
    np.testing.assert_allclose(multiples.k, power.k)
    pdf = one_point_pdf(gas, 1e9)
    np.testing.assert_allclose(truth["pdf"]["gas"], pdf.density.mean(0))
    np.testing.assert_allclose(multiples.axes["pdf"]["gas"][:2], [0.05, 0.15])
    thresholds = multiples.axes["peaks"]["gas"]
    counts = peak_counts(gas, width, thresholds, periodic=False)
    np.testing.assert_allclose(truth["peaks"]["gas"], counts.mean(0))
    squeezed = bispectrum_2d(gas, width, triangles="squeezed", window="hann")
    np.testing.assert_allclose(multiples.axes["bispectrum"]["squeezed"], squeezed.k)
    assert len(multiples.axes["radius"]) == len(truth["profile"]["gas"])


def test_deviations_of_an_exact_emulator_are_those_of_the_draws(found, draws, exact) -> None:
    truth, (honest, sure, _) = found.truth["deviation"], found.rows
    for channel in CHANNELS:
        np.testing.assert_allclose(honest.deviation[channel], truth[channel], rtol=0.2)
        assert max(np.array(sure.deviation[channel]) / truth[channel]) < 0.75
    edges = Axes.of(draws.cutouts.geometry, draws.fields).ring_edges
    direct = conditional_deviation_by_radius(draws.fields[:, :8, 1], 6.25, edges, 1e9)
    np.testing.assert_allclose(truth["gas"], direct)


def test_calibration_tells_exact_from_too_sure(found) -> None:
    honest, sure, _ = found.rows
    for quantity in ("mass", "central_mass"):
        for channel in CHANNELS:
            counts = honest.rank_histogram[quantity][channel]
            # 36 haloes fill seven ranks with five each
            assert (len(counts), sum(counts)) == (7, 36)
            assert honest.rank_pvalue[quantity][channel] > 1e-3
            assert sure.rank_pvalue[quantity][channel] < 1e-2
    for channel in CHANNELS:
        # with one draw of the truth of each of 36 haloes the ratio would scatter by 0.13
        assert honest.spread_skill[channel] == pytest.approx(1, abs=0.5)
        # its members are those of the honest one, drawn together to 0.3 of their distance
        expected = 0.3 * honest.spread_skill[channel]
        assert sure.spread_skill[channel] == pytest.approx(expected, rel=0.1)
    assert honest.coverage_ks_pvalue > 1e-3 > sure.coverage_ks_pvalue
    low, high = honest.coverage_band
    inside = (np.array(low) <= honest.coverage) & (honest.coverage <= np.array(high))
    assert inside.mean() > 0.7
    assert len(found.axes["credibility"]) == len(low) == len(high) == len(honest.coverage)


def test_coverage_sees_a_model_that_ignores_its_condition(found) -> None:
    assert found.rows[2].coverage_ks_pvalue < 1e-3


def test_exact_draws_are_calibrated_in_their_own_eyes(found) -> None:
    floor = found.floors[TRUTH_VS_TRUTH]
    assert floor.coverage_ks_pvalue > 1e-3
    for channel in CHANNELS:
        # eleven features, each of which a shift by its scatter would add 1 to
        assert floor.frechet_distance[channel] < 0.5


def test_without_an_ensemble_nothing_is_said_of_calibration(multiples) -> None:
    row = multiples.rows[0]
    names = ("rank_histogram", "rank_pvalue", "spread_skill", "deviation")
    names += ("coverage", "coverage_band", "coverage_ks_pvalue")
    assert [getattr(row, name) for name in names] == [None] * len(names)
    assert multiples.truth["deviation"] is None


def test_one_field_of_each_halo_is_ranked(cutouts, redraw, exact) -> None:
    row = evaluate(
        [Row("exact", 1, 1, exact)], cutouts, redraw, members=4, settings=SETTINGS
    ).summary.rows[0]
    assert sum(row.rank_histogram["mass"]["gas"]) == 12


def test_boxes_are_resampled_if_there_are_several(independent, exact) -> None:
    rows = [Row("exact", 1, 1, exact)]
    said = []
    for n_boxes in (4, 6):
        boxed = replace(independent, box=np.arange(36) % n_boxes)
        said.append(evaluate(rows, boxed, None, settings=SETTINGS).summary.settings["bootstrap"])
    assert said == ["haloes", "boxes, then haloes"]


def test_an_undefined_ratio_is_null_in_json(cutouts, exact) -> None:
    """No stars in the outskirts: no profile to compare with there, and the rest stays."""
    target = cutouts.target.copy()
    target[:, 2] *= np.hypot(*(np.mgrid[:16, :16] - 7.5)) < 5
    summary = evaluate(
        [Row("exact", 1, 1, exact)], replace(cutouts, target=target), None, settings=SETTINGS
    ).summary
    ratio = summary.rows[0].profile_ratio["star"]
    assert ratio[-1] is None and ratio[0] > 0
    assert summary.rows[0].profile_ratio["gas"][-1] > 0
    assert json.dumps(summary.as_dict(), allow_nan=False)


def test_rows_of_different_numbers_of_samples_are_compared_by_as_many(draws, exact) -> None:
    """The same samples, of which one row has eight and the other two: the same distance and AUC."""
    rows = [Row("fast", 1, 1, exact), Row("slow", 1, 1, exact, members=2)]
    summary = evaluate(rows, draws.cutouts, draws, seed=3, settings=SETTINGS).summary
    fast, slow = summary.rows
    assert summary.settings["samples_told_apart"] == 2
    assert (fast.members, slow.members) == (8, 2)
    assert fast.frechet_distance == slow.frechet_distance
    assert fast.two_sample_auc == slow.two_sample_auc
    alone = evaluate(rows[:1], draws.cutouts, draws, seed=3, settings=SETTINGS).summary
    assert alone.settings["samples_told_apart"] == 8
    # two draws of the truth of each halo are more like the others than eight are
    floors = [found.floors[TRUTH_VS_TRUTH].frechet_distance["gas"] for found in (alone, summary)]
    assert floors[0] < floors[1]


def test_figures_that_equal_truths_leave_undefined_are_null(draws, exact, caplog) -> None:
    """No stars in the first draws, and none at all in the middle: the benchmark goes on."""
    fields = draws.fields.copy()
    fields[:, 0, 2] = 0
    fields[:, :, 2, 7:9, 7:9] = 0
    starless = ExactDraws(draws.cutouts, fields)
    with caplog.at_level(logging.WARNING, logger="halo_cm"):
        summary = evaluate(
            [Row("exact", 1, 1, exact)], draws.cutouts, starless, settings=SETTINGS
        ).summary
    row = summary.rows[0]
    assert row.frechet_distance["star"] is None and row.frechet_distance["gas"] < 0.5
    assert (row.coverage, row.coverage_band, row.coverage_ks_pvalue) == (None, None, None)
    assert row.crps_over_oracle is None and "crps_over_oracle is undefined" in caplog.text
    assert row.spread_skill["gas"] > 0
    for figure in ("coverage", "frechet_distance"):
        said = [r.getMessage() for r in caplog.records if r.getMessage().startswith(figure)]
        assert len(said) == 1 and "of the channel 'star' are equal in all" in said[0]
    assert json.dumps(summary.as_dict(), allow_nan=False)


def test_an_ensemble_without_error_has_no_skill(cutouts) -> None:
    truth = dict(zip(cutouts.halo * 9 + cutouts.draw, cutouts.target, strict=True))

    def certain(part, members, seed):
        fields = np.stack([truth[key] for key in part.halo * 9 + part.draw])
        return np.repeat(fields[:, None], members, axis=1)

    summary = evaluate(
        [Row("certain", 1, 1, certain)], cutouts, None, members=2, settings=SETTINGS
    ).summary
    assert summary.rows[0].spread_skill == dict.fromkeys(CHANNELS)


def test_scattering_is_the_ratio_of_mean_coefficients_of_log_masses(cutouts, multiples) -> None:
    logs = log_mass(np.stack([cutouts.target[:, 1], 2 * cutouts.target[:, 1]]), 1e9)
    true, twice = wavelet_scattering(logs).coefficients.mean(1)
    np.testing.assert_allclose(multiples.rows[1].scattering_ratio["gas"], twice / true, rtol=1e-5)
    assert multiples.axes["scattering"] == [[1], [2], [4], [1, 2], [1, 4], [2, 4]]


def test_scattering_is_averaged_over_the_first_fields_of_each_halo(cutouts, exact) -> None:
    place = {key: i for i, key in enumerate(zip(cutouts.halo, cutouts.draw, strict=True))}
    samples = exact(cutouts, 6, 0)

    def generate(part, members, seed):
        return samples[[place[key] for key in zip(part.halo, part.draw, strict=True)]]

    row = Row("exact", 1, 1, generate)
    found = evaluate([row], cutouts, None, members=6, settings=SETTINGS).summary
    few = found.settings["most_fields_for_scattering"]
    logs = log_mass(samples[:, :few, 2], 1e6), log_mass(cutouts.target[:, 2], 1e6)
    mean, true = (wavelet_scattering(x).coefficients for x in logs)
    ratio, error = found.rows[0].scattering_ratio, found.rows[0].scattering_ratio_uncertainty
    np.testing.assert_allclose(ratio["star"], mean.mean((0, 1)) / true.mean(0), rtol=1e-5)
    # an exact emulator: within the errors, which are those of 12 haloes
    deviation = abs(np.array(ratio["gas"]) - 1) / np.array(error["gas"])
    assert few == 2 and deviation.max() < 4 and max(error["gas"]) < 0.1


def test_without_kymatio_there_is_no_scattering(cutouts, exact, monkeypatch, caplog) -> None:
    monkeypatch.setattr("halo_cm.benchmark.suite.scattering_available", lambda: False)
    monkeypatch.setattr("halo_cm.benchmark.fields.scattering_available", lambda: False)
    rows = [Row("exact", 1, 1, exact)]
    summary = evaluate(rows, cutouts, None, members=2, settings=SETTINGS).summary
    assert summary.axes["scattering"] is None and summary.rows[0].scattering_ratio is None
    assert summary.rows[0].scattering_ratio_uncertainty is None
    assert "scattering_ratio is null" in caplog.text and "halo_cm[scattering]" in caplog.text


def test_costs_are_those_of_the_row(cutouts, exact) -> None:
    def hungry(*args):
        block = np.ones(60_000_000)  # 0.45 GiB
        assert block[-1]
        return exact(*args)

    rows = [
        Row("modest", 1, 1, exact, training_core_seconds=12.5),
        Row("hungry", 1, 1, hungry),
    ]
    summary = evaluate(rows, cutouts, None, members=2, settings=SETTINGS).summary
    modest, greedy = summary.rows
    assert (modest.training_core_seconds, greedy.training_core_seconds) == (12.5, None)
    assert greedy.peak_memory_gib - modest.peak_memory_gib == pytest.approx(0.45, abs=0.1)
    assert summary.settings["timing_fields"] == 2
