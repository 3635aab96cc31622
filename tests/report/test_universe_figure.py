"""The figure of the physics gates: a panel a topic, legible, with the numbers of the check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from halo_cm.config.universe import UniverseConfig
from halo_cm.errors import OutputError
from halo_cm.report.universe import universe_figure, write_universe_report
from halo_cm.universe.check import judge
from halo_cm.universe.gates import UniverseCheck
from halo_cm.universe.hydro_gates import CAMELS_STARS
from halo_cm.universe.measurements import (
    BoxMeasurement,
    CutoutMeasurement,
    GravityMeasurement,
)


def make_box(seed: int) -> BoxMeasurement:
    rng = np.random.default_rng(seed)
    mass = 10 ** rng.uniform(13, 14.3, 40)
    k = np.geomspace(0.1, 30, 24)
    fine = 1 - np.array([[0.05], [0.12], [0.2]]) * np.minimum(1, k / 5)
    counts = np.array([rng.poisson((23, 13, 4, 2)), (23, 13, 4, 2), (23, 13, 3.5, 1.4)], float)
    gravity = GravityMeasurement(
        counts=counts,
        power=np.full((4, 7), 0.8) + 0.02 * rng.standard_normal((4, 7)),
        fine_power=np.array([[0.8], [0.8], [0.4], [0.8]]) + 0.02 * rng.standard_normal((4, 24)),
        longest=np.array([0.16, 1.0, 1.0]),
        profiles=np.array([0.07, 0.19, 0.31, 0.55, 0.76, 1, 1.27, 1.64])
        * rng.lognormal(0, 0.1, (40, 8)),
    )
    return BoxMeasurement(
        gravity=gravity,
        baryon_fraction=0.16,
        suppression=fine[:, ::4][:, [0, 1, 2, 3, 4, 5, 5]],
        fine_suppression=fine,
        haloes=np.stack([mass, rng.normal(0.6, 0.1, 40), 0.015 * rng.lognormal(0, 0.4, 40)]),
        conservation=np.full((2, 3), 1e-8),
    )


@pytest.fixture(scope="module")
def check() -> UniverseCheck:
    config = UniverseConfig.from_preset("default")
    waves = np.arange(1.0, 17.0)
    ratio = np.random.default_rng(0).normal(1, 0.004, 500)
    cutouts = CutoutMeasurement(500, ratio, np.array(CAMELS_STARS) + 0.02)
    topics = judge(
        config,
        [make_box(seed) for seed in range(8)],
        np.stack([waves, 1 - 1e-3 * waves**2]),
        cutouts,
        [make_box(seed).gravity for seed in range(8, 13)],
    )
    return UniverseCheck("default.h5", "default", 0, "abc", 8, 520, 500, 600.0, topics, 5)


def visible_texts_overlap(figure: Figure) -> list[tuple[str, str]]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
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


def test_a_panel_for_each_topic(check: UniverseCheck) -> None:
    figure = universe_figure(check)
    panels = figure.axes
    assert [axes.get_title("left") for axes in panels] == [t.title for t in check.topics]
    for axes, topic in zip(panels, check.topics, strict=True):
        judged = [gate.passed for gate in topic.gates if gate.passed is not None]
        expected = f"{sum(judged)}/{len(judged)} passed"
        if not all(judged):
            expected = f"{judged.count(False)}/{len(judged)} failed"
        if len(judged) < len(topic.gates):
            expected += f", {len(topic.gates) - len(judged)} not judged"
        assert axes.get_title("right") == expected
        assert axes.get_xlabel() and axes.get_ylabel()
        assert axes.get_legend() is not None
    assert visible_texts_overlap(figure) == []


def test_measurements_are_drawn(check: UniverseCheck) -> None:
    panels = dict(zip((t.name for t in check.topics), universe_figure(check).axes, strict=True))
    measured = check.topic("power").curves[0]
    lines = [np.asarray(line.get_ydata()) for line in panels["power"].get_lines()]
    assert any(len(y) == len(measured.y) and np.allclose(y, measured.y) for y in lines)
    linear = next(line for line in check.topic("power").curves if line.label == "linear")
    assert any(len(y) == len(linear.y) and np.allclose(y, linear.y) for y in lines)
    assert "linear" in [t.get_text() for t in panels["power"].get_legend().get_texts()]
    # one line a feedback strength, and unity
    assert "12.6" in " ".join(t.get_text() for t in panels["suppression"].get_legend().get_texts())
    growth = check.topic("growth")
    assert growth.passed is True
    low, high = panels["growth"].get_ylim()
    assert low < 0.995 < 1.005 < high


def test_what_is_not_judged_says_so(check: UniverseCheck) -> None:
    """Nor does a figure fail where nothing was measured."""
    unjudged = tuple(
        replace(
            topic,
            gates=tuple(replace(gate, passed=None, measured=None) for gate in topic.gates),
            curves=tuple(
                replace(line, x=(), y=(), error=None if line.error is None else ())
                if line.kind in ("measured", "points")
                else line
                for line in topic.curves
            ),
        )
        for topic in check.topics
    )
    figure = universe_figure(replace(check, topics=unjudged))
    assert {axes.get_title("right") for axes in figure.axes} == {"not judged"}
    FigureCanvasAgg(figure).draw()


def test_the_report_is_two_files(check: UniverseCheck, tmp_path: Path) -> None:
    picture, numbers = write_universe_report(tmp_path / "new", check)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in picture.parent.iterdir()) == [
        "universe.json",
        "universe.png",
    ]
    assert json.loads(numbers.read_text()) == json.loads(json.dumps(check.as_dict()))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_universe_report(tmp_path / "file", check)
