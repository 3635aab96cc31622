"""Figures show what the summary holds, legibly, and leave the session alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm

from halo_cm.benchmark import Gallery, read_summary
from halo_cm.errors import DataError, OutputError
from halo_cm.report import (
    PhaseCurve,
    fields_figure,
    power_figure,
    save_figure,
    training_figure,
    write_report,
)


def texts_overlap(figure) -> list[tuple[str, str]]:
    """Pairs of visible texts, tick labels included, that cover each other."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # labels of ticks beyond the limits exist, but are not drawn
    beyond = set()
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True):
                if not min(limits) <= place <= max(limits):
                    beyond.add(label)
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
        PhaseCurve("denoising", step, loss, step[9::10], loss[9::10]),
        PhaseCurve("energy_score", step + n, loss, step[9::10] + n, loss[9::10]),
    )


def test_power_figure_shows_every_curve(summary) -> None:
    figure = power_figure(summary)
    panels = figure.axes
    assert [axes.get_title("left") for axes in panels] == ["dark matter", "gas", "stars"]
    for i, axes in enumerate(panels):
        lines = {line.get_label(): line for line in axes.get_lines()}
        np.testing.assert_allclose(lines["consistency, 2 steps"].get_ydata(), 1 + 0.04 * (i + 1))
        np.testing.assert_allclose(lines["consistency, 1 step"].get_xdata(), summary.k)
        assert {"copied_input", "truth against truth"} <= lines.keys()
        # models and their bands are inside the panel, the poor floor need not be
        low, high = axes.get_ylim()
        assert low < 1 < 1 + 0.04 * (i + 1) + 0.02 < high < 2
    assert len(figure.legends) == 1
    assert texts_overlap(figure) == []


def test_power_figure_without_second_draws(summary_without_oracle) -> None:
    labels = [line.get_label() for line in power_figure(summary_without_oracle).axes[0].get_lines()]
    assert "truth against truth" not in labels


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
    assert figure.axes[2].get_xlim() == (0, 119)
    assert texts_overlap(figure) == []


def test_training_figure_of_a_run_that_has_just_begun() -> None:
    empty = np.empty(0)
    one = np.array([5.0])
    figure = training_figure([PhaseCurve("denoising", one, one, empty, empty)])
    assert "no validation yet" in [text.get_text() for text in figure.axes[1].texts]


def test_figures_leave_the_session_alone(summary, gallery, tmp_path) -> None:
    before = dict(mpl.rcParams)
    save_figure(power_figure(summary), tmp_path / "power.png")
    fields_figure(gallery, "consistency, 1 step")
    assert dict(mpl.rcParams) == before


def test_pyplot_is_not_imported() -> None:
    code = "import sys, halo_cm.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_write_report(benchmark_result, tmp_path, log_lines) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in log_lines))
    written = write_report(tmp_path / "report", benchmark_result, training_log=log)
    assert [path.name for path in written] == [
        "power.png",
        "fields.png",
        "training.png",
        "summary.md",
        "summary.json",
    ]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(
        path.name for path in written
    )
    for path in written[:3]:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert read_summary(written[-1]) == benchmark_result.summary


def test_a_report_without_a_training(benchmark_result, tmp_path) -> None:
    written = write_report(tmp_path, benchmark_result)
    assert [path.name for path in written] == [
        "power.png",
        "fields.png",
        "summary.md",
        "summary.json",
    ]


def test_a_benchmark_of_floors_alone_is_refused(benchmark_result, tmp_path) -> None:
    floors = replace(benchmark_result, summary=replace(benchmark_result.summary, rows=()))
    assert power_figure(floors.summary).axes
    with pytest.raises(DataError, match="no model"):
        write_report(tmp_path, floors)


def test_an_unwritable_folder_is_explained(benchmark_result, tmp_path) -> None:
    (tmp_path / "report").write_text("a file, not a folder")
    with pytest.raises(OutputError, match=r"power\.png"):
        write_report(tmp_path / "report", benchmark_result)
