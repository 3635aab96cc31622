"""Figures show what the summary holds, legibly, and leave the session alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from scipy.stats import binom

from halo_cm.benchmark import Gallery, read_summary
from halo_cm.errors import DataError, OutputError
from halo_cm.report import (
    PhaseCurve,
    bispectrum_figure,
    correlation_figure,
    coverage_figure,
    deviation_figure,
    fields_figure,
    gallery_figure,
    pareto_figure,
    pdf_figure,
    peaks_figure,
    power_figure,
    profiles_figure,
    ranks_figure,
    save_figure,
    scattering_figure,
    training_figure,
    write_report,
)
from halo_cm.report.illustrations import omitted_rows
from halo_cm.report.pareto import front
from halo_cm.report.style import curve_rows, looks


def texts_overlap(figure) -> list[tuple[str, str]]:
    """Pairs of visible texts, tick labels included, that cover each other."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # labels of ticks beyond the limits exist, but are not drawn
    beyond = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not min(limits) <= tick.get_loc() <= max(limits):
                    beyond |= {tick.label1, tick.label2}
    found = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()).padded(-1))
        for text in figure.findobj(mpl.text.Text)
        if text.get_visible() and text.get_text().strip() and text not in beyond
    ]
    return [
        (a, b)
        for i, (a, box_a) in enumerate(found)
        for b, box_b in found[i + 1 :]
        if box_a.overlaps(box_b)
    ]


def phases(n: int = 60) -> tuple[PhaseCurve, ...]:
    step = np.arange(n, dtype=float)
    loss = 3 / (1 + step)
    return (
        PhaseCurve("denoising", step, loss, step[9::10], loss[9::10], step[:0]),
        PhaseCurve("energy_score", step + n, loss, step[9::10] + n, loss[9::10], n + step[9:40:10]),
    )


def test_power_figure_shows_every_curve(summary) -> None:
    figure = power_figure(summary)
    above, below = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title("left") for axes in above] == ["dark matter", "gas", "stars"]
    power = {line.get_label(): line.get_ydata() for line in above[1].get_lines()}
    np.testing.assert_allclose(power["truth"], summary.truth["power"]["gas"])
    np.testing.assert_allclose(power["consistency, 1 step"], 1.04 * power["truth"])
    for i, axes in enumerate(below):
        lines = {line.get_label(): line for line in axes.get_lines()}
        np.testing.assert_allclose(lines["consistency, 2 steps"].get_ydata(), 1 + 0.04 * (i + 1))
        np.testing.assert_allclose(lines["consistency, 1 step"].get_xdata(), summary.k)
        assert {"copied input", "truth vs truth"} <= lines.keys()
        # models and their bands are inside the panel, the poor floor need not be
        low, high = axes.get_ylim()
        assert low < 1 < 1 + 0.04 * (i + 1) + 0.02 < high < 2
    assert len(figure.legends) == 1
    assert texts_overlap(figure) == []


def test_power_figure_without_second_draws(summary_without_oracle) -> None:
    labels = [line.get_label() for line in power_figure(summary_without_oracle).axes[0].get_lines()]
    assert "truth vs truth" not in labels


def curves(axes) -> dict[str, np.ndarray]:
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.get_lines()}


def test_correlation_figure(summary) -> None:
    figure = correlation_figure(summary)
    gas, total = curves(figure.axes[1]), curves(figure.axes[3])
    np.testing.assert_allclose(gas["consistency, 2 steps"], 1.08)
    np.testing.assert_allclose(total["truth"], 0.9)
    np.testing.assert_allclose(total["consistency, 2 steps"], 0.904)
    # the floor, at 1.1, may leave the panel
    low, high = figure.axes[3].get_ylim()
    assert low < 0.9 < 0.914 < high < 1
    assert texts_overlap(figure) == []


def test_bispectrum_figure(summary) -> None:
    figure = bispectrum_figure(summary)
    assert len(figure.axes) == 6
    assert "squeezed" in figure.axes[3].get_ylabel()
    np.testing.assert_allclose(curves(figure.axes[5])["consistency, 1 step"], 1.06)
    np.testing.assert_allclose(figure.axes[5].get_lines()[1].get_xdata(), [1.5, 3, 6])
    assert texts_overlap(figure) == []


def test_scattering_figure(summary) -> None:
    figure = scattering_figure(summary)
    assert len(figure.axes) == 3
    line = curves(figure.axes[1])["consistency, 1 step"]
    np.testing.assert_allclose(line[[0, 1, 2, 4, 5, 6]], 1.04)
    assert np.isnan(line[3]), "first and second order are not joined"
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1", "2", "4", "1, 2", "1, 4", "2, 4"]
    assert texts_overlap(figure) == []


def test_an_undefined_ratio_is_a_gap(summary) -> None:
    row = summary.rows[0]
    gap = {
        name: {channel: [None, 1.0, None] for channel in summary.channels}
        for name in row.bispectrum_ratio
    }
    rows = (replace(row, bispectrum_ratio=gap, bispectrum_ratio_uncertainty=gap),)
    axes = bispectrum_figure(replace(summary, rows=rows)).axes[0]
    np.testing.assert_array_equal(np.isnan(curves(axes)[row.label]), [True, False, True])
    assert np.isfinite(axes.get_ylim()).all()


@pytest.mark.parametrize(
    ("make", "name", "unit"),
    [(pdf_figure, "pdf", "M_"), (peaks_figure, "peaks", "per pixel")],
)
def test_pixels_above_and_over_the_truth_below(summary, make, name, unit) -> None:
    figure = make(summary)
    truth = np.array(summary.truth[name]["star"])
    above, below = curves(figure.axes[2]), curves(figure.axes[5])
    np.testing.assert_allclose(above["truth"], truth)
    np.testing.assert_allclose(above["consistency, 2 steps"][:3], 1.12 * truth[:3])
    # nothing is divided by the empty last bin
    np.testing.assert_allclose(below["consistency, 2 steps"], [1.12, 1.12, 1.12, np.nan])
    assert unit in figure.axes[5].get_xlabel()
    assert texts_overlap(figure) == []


def test_profiles_and_scatter(summary) -> None:
    figure = profiles_figure(summary)
    np.testing.assert_allclose(curves(figure.axes[4])["consistency, 1 step"], 1.04)
    truth = np.array(summary.truth["profile"]["gas"])
    np.testing.assert_allclose(curves(figure.axes[1])["consistency, 1 step"], 1.04 * truth)
    assert texts_overlap(figure) == []
    figure = deviation_figure(summary)
    found = curves(figure.axes[2])
    np.testing.assert_allclose(found["exact draws"], 0.3)
    np.testing.assert_allclose(found["consistency, 1 step"], 0.36)
    assert "copied input" not in found  # a single field has no scatter
    assert figure.axes[0].get_ylim()[0] == 0 and "[dex]" in figure.axes[0].get_ylabel()
    assert texts_overlap(figure) == []


def test_rank_histograms_have_the_band_of_a_calibrated_ensemble(summary) -> None:
    figure = ranks_figure(summary)
    assert len(figure.axes) == 3 * 3  # two step counts and truth against truth
    axes = figure.axes[1]
    band, *steps = axes.patches
    counts = np.array([5, 2, 2, 2, 5])
    assert [patch.get_label() for patch in steps] == ["mass of the field", "central mass"]
    np.testing.assert_allclose(steps[0].get_data().values, counts / counts.mean())
    expected = binom.ppf([0.025, 0.975], counts.sum(), 0.2) / counts.mean()
    extent = band.get_xy()[1], band.get_xy()[1] + band.get_height()
    np.testing.assert_allclose(extent, expected)
    assert "p = 0.04 (mass of the field)" in axes.texts[0].get_text()
    assert texts_overlap(figure) == []


def test_coverage_and_its_difference_to_the_credibility(summary) -> None:
    figure = coverage_figure(summary)
    level, row = np.array(summary.axes["credibility"]), summary.rows[1]
    whole, difference = figure.axes
    np.testing.assert_allclose(curves(whole)[row.label], row.coverage)
    np.testing.assert_allclose(curves(difference)[row.label], np.array(row.coverage) - level)
    band = difference.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.2) and band[:, 1].min() == pytest.approx(-0.2)
    assert texts_overlap(figure) == []


def test_pareto_figure(summary, summary_without_oracle) -> None:
    figure = pareto_figure(summary)
    assert len(figure.axes) == 9
    first = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(first[0].get_xdata(), [1, 2])
    np.testing.assert_allclose(first[0].get_ydata(), [4, 8])
    assert figure.axes[7].get_xlabel() == "seconds per halo"
    in_dex = pareto_figure(summary_without_oracle).axes[3]
    assert "[mdex]" in in_dex.get_ylabel()
    first = [line for line in in_dex.get_lines() if line.get_marker() == "o"]
    assert first[0].get_ydata()[0] == pytest.approx(2080)
    assert texts_overlap(figure) == []
    unknown = tuple(replace(row, training_core_seconds=None) for row in summary.rows)
    assert len(pareto_figure(replace(summary, rows=unknown)).axes) == 6


def test_the_front_is_what_no_other_point_beats() -> None:
    cost = np.array([1.0, 2.0, 2.0, 4.0, 8.0])
    error = np.array([5.0, 6.0, 3.0, 3.0, 1.0])
    np.testing.assert_array_equal(front(cost, error), [0, 2, 4])


def test_the_gallery_has_one_scale_for_all_rows(gallery) -> None:
    labels = ["consistency, 1 step", "copied_input", "unknown"]
    figure = gallery_figure(gallery, labels)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 3 * 2 * 3  # truth and two rows, two haloes, three channels
    np.testing.assert_allclose(images[1].get_array(), gallery.cutouts.target[2, 0])
    scales = {(image.cmap.name, image.norm.vmin, image.norm.vmax) for image in images}
    assert len(scales) == 3
    assert texts_overlap(figure) == []


def test_a_model_keeps_its_colour_and_many_models_are_told_apart(summary) -> None:
    rows = [
        replace(summary.rows[0], name=f"model {i}", n_sampling_steps=n)
        for i in range(9)
        for n in (1, 2)
    ]
    many = replace(summary, rows=tuple(rows))
    look = looks(many)
    assert look["model 3, 1 step"].colour == look["model 3, 2 steps"].colour
    drawn = [row for row in curve_rows(many) if row.label.startswith("model")]
    assert [row.n_sampling_steps for row in drawn] == [1] * 9
    assert len({(look[row.label].colour, str(look[row.label].style)) for row in drawn}) == 9
    assert omitted_rows(many) == [f"model {i}, 2 steps" for i in range(9)]


def test_fields_share_a_logarithmic_scale_within_a_channel(gallery) -> None:
    figure = fields_figure(gallery, "consistency, 1 step")
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 3 * (1 + 3 * 3)  # three haloes; input, and truth and two samples each
    assert all(isinstance(image.norm, LogNorm) for image in images)
    limits = {image.cmap.name: set() for image in images}
    for image in images:
        limits[image.cmap.name].add((image.norm.vmin, image.norm.vmax))
    assert len(limits) == 3
    assert all(len(found) == 1 for found in limits.values())
    target = gallery.cutouts.target
    assert max(limits["inferno"])[1] == pytest.approx(target[:, 1].max())
    np.testing.assert_allclose(images[0].get_array(), gallery.cutouts.condition[0, 0])
    assert max(limits["viridis"])[1] == max(
        target[:, 0].max(), gallery.cutouts.condition[:, 0].max()
    )
    assert texts_overlap(figure) == []


def test_fields_without_stars_can_be_drawn(gallery, tmp_path) -> None:
    target = gallery.cutouts.target.copy()
    target[:, 2] = 0
    starless = Gallery(replace(gallery.cutouts, target=target), gallery.samples)
    figure = fields_figure(starless, "consistency, 1 step")
    stars = next(axes.images[0] for axes in figure.axes if axes.get_title() == "stars\ntruth")
    colours = stars.cmap
    np.testing.assert_allclose(
        colours(stars.norm(target[0, 2])), np.full((16, 16, 4), colours(0.0))
    )
    save_figure(figure, tmp_path / "fields.png")


def test_fields_of_an_unknown_row(gallery) -> None:
    with pytest.raises(DataError, match="only of consistency, 1 step"):
        fields_figure(gallery, "vdm")


def test_training_figure() -> None:
    figure = training_figure(phases())
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["denoising", "energy score", ""]
    assert figure.axes[0].get_yscale() == "log"
    scores = [line.get_ydata() for line in figure.axes[2].get_lines()]
    np.testing.assert_allclose(scores[1], phases()[1].score)
    star = scores[2]
    assert star == phases()[1].score[3]  # the last that was kept of six
    assert figure.axes[2].get_legend().get_texts()[0].get_text() == "model of the run"
    assert figure.axes[2].get_xlim() == (0, 119)
    assert texts_overlap(figure) == []


def test_training_figure_of_a_run_that_has_just_begun() -> None:
    empty = np.empty(0)
    one = np.array([5.0])
    figure = training_figure([PhaseCurve("denoising", one, one, empty, empty, empty)])
    assert "no validation yet" in [text.get_text() for text in figure.axes[1].texts]


def test_figures_leave_the_session_alone(summary, gallery, tmp_path) -> None:
    before = dict(mpl.rcParams)
    save_figure(power_figure(summary), tmp_path / "power.png")
    fields_figure(gallery, "consistency, 1 step")
    assert dict(mpl.rcParams) == before


def test_pyplot_is_not_imported() -> None:
    code = "import sys, halo_cm.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_write_report(benchmark_result, tmp_path) -> None:
    (tmp_path / "training.png").write_text("of an earlier training")
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("summary.json", "summary.md"):
        (tmp_path / name).write_text("of an earlier version")
    written = write_report(tmp_path, benchmark_result)
    names = [path.name for path in written]
    assert names[-3:] == ["benchmark.md", "report.html", "benchmark.json"]
    assert {"power.png", "fields.png"} < set(names)
    assert len(names) == len(set(names)) == 16
    # figures of an earlier report do not stay, other files do
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", *names}
    for path in written[:-3]:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert read_summary(written[-1]) == benchmark_result.summary


def test_a_benchmark_of_floors_alone_is_refused(benchmark_result, tmp_path) -> None:
    floors = replace(benchmark_result, summary=replace(benchmark_result.summary, rows=()))
    assert power_figure(floors.summary).axes
    with pytest.raises(DataError, match="no model"):
        write_report(tmp_path, floors)


def test_an_unwritable_folder_is_explained(benchmark_result, tmp_path) -> None:
    (tmp_path / "report").write_text("a file, not a folder")
    with pytest.raises(OutputError, match="is a file, not a directory"):
        write_report(tmp_path / "report", benchmark_result)
