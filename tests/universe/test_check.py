"""The check of a universe: what it measures in a file, and that it tells wrong files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from halo_cm.config.universe import UniverseConfig
from halo_cm.data.cutouts import read_cutouts, write_cutouts
from halo_cm.errors import DataError
from halo_cm.universe import check as check_module
from halo_cm.universe.check import check_universe
from halo_cm.universe.gates import UniverseCheck
from halo_cm.universe.measurements import measure_cutouts
from halo_cm.universe.simulate import simulate

Make = Callable[..., UniverseConfig]
TOPICS = (
    *("mass_function", "power", "growth", "profiles"),
    *("suppression", "gas", "star", "conservation", "stars"),
)


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config(n_validation_boxes=0, n_test_boxes=0)


@pytest.fixture(scope="module")
def path(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(config, tmp_path_factory.mktemp("check") / "tiny.h5", workers=1)


@pytest.fixture(scope="module")
def tiny(path: Path) -> UniverseCheck:
    return check_universe(path, workers=1)


def test_structure(tiny: UniverseCheck, config: UniverseConfig) -> None:
    assert tuple(topic.name for topic in tiny.topics) == TOPICS
    assert (tiny.n_boxes, tiny.preset, tiny.seed) == (1, "ci", 0)
    assert tiny.fingerprint == config.fingerprint()
    assert tiny.n_haloes > 0 and tiny.n_cutouts > 0 and tiny.seconds > 0
    for topic in tiny.topics:
        assert topic.gates and topic.curves and topic.title
        for line in topic.curves:
            assert len(line.x) == len(line.y)
            assert line.error is None or len(line.error) == len(line.x)
    with pytest.raises(StopIteration):
        tiny.topic("unknown")


def test_what_the_resolution_does_not_allow_is_not_judged(tiny: UniverseCheck) -> None:
    for topic in tiny.topics:
        if topic.name == "conservation":
            continue
        assert topic.passed is None
        assert all("apart" in gate.reason for gate in topic.gates if gate.measured is not None)
    # mass is conserved at any resolution
    assert [g.passed for g in tiny.topic("conservation").gates] == [True, True, True, None]
    assert tiny.topic("mass_function").gates[0].measured is not None
    text = tiny.as_text().splitlines()
    assert "gates: particles lie 1.6 Mpc/h apart" in text[3]
    # three of 55 gates are no verdict on a universe
    assert text[-1] == (
        f"not judged: 1 box, {tiny.n_haloes} haloes: passed 3 of 3 judged, 54 not judged"
    )
    assert tiny.passed is None and tiny.verdict == "not judged"


def test_json_holds_everything(tiny: UniverseCheck) -> None:
    content = tiny.as_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content
    assert [topic["name"] for topic in content["topics"]] == list(TOPICS)
    assert content["topics"][0]["gates"][0].keys() == {
        *("name", "measured", "expected", "tolerance", "passed", "reason", "details")
    }
    assert (content["n_judged"], content["n_passed"]) == (3, 3)
    assert (content["passed"], content["verdict"]) == (None, "not judged")


def test_the_result_does_not_depend_on_the_workers(
    tiny: UniverseCheck, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(tasks, jobs, **_):  # type: ignore[no-untyped-def]
        for job in reversed(jobs):
            yield job, tasks[0](job, lambda: None)

    monkeypatch.setattr(check_module, "run_jobs", in_this_process)
    assert check_universe(path, workers=3).topics == tiny.topics


def test_further_boxes_are_simulated_without_draws(tiny: UniverseCheck, path: Path) -> None:
    found = check_universe(path, workers=1, n_boxes=2)
    assert (found.n_boxes, found.n_further_boxes) == (1, 1)
    assert found.n_haloes > tiny.n_haloes
    assert "1 box and 1 without draws" in found.as_text().splitlines()[-1]
    for name in ("suppression", "gas", "star", "conservation"):
        assert found.topic(name) == tiny.topic(name)
    counted = [check.topic("mass_function").gates[0].details for check in (tiny, found)]
    assert counted[0]["expected count"] < counted[1]["expected count"]


def test_wrong_files_are_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        check_universe(tmp_path / "missing.h5")
    with pytest.raises(ValueError, match="workers"):
        check_universe(path, workers=0)
    with pytest.raises(ValueError, match="n_boxes must be at least 1"):
        check_universe(path, n_boxes=0)
    cutouts = read_cutouts(path)
    geometry = cutouts.geometry
    other = tmp_path / "other.h5"
    write_cutouts(other, replace(cutouts, geometry=replace(geometry, provenance={})))
    with pytest.raises(DataError, match=r"other.h5.*'universe'"):
        check_universe(other)
    older = {**geometry.provenance, "universe_fingerprint": "0123"}
    write_cutouts(other, replace(cutouts, geometry=replace(geometry, provenance=older)))
    with pytest.raises(DataError, match=r"other.h5.*fingerprint.*0123.*--overwrite"):
        check_universe(other)
    write_cutouts(other, replace(cutouts, target=None))
    with pytest.raises(DataError, match=r"other.h5.*'target'"):
        check_universe(other)


def test_cutouts_are_measured_in_parts_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutouts = read_cutouts(path, realization=None)
    assert cutouts.target is not None
    whole = measure_cutouts(path)
    assert whole.n_rows == len(cutouts)
    ratio = cutouts.target.sum((1, 2, 3)) / cutouts.condition[:, 0].sum((1, 2))
    np.testing.assert_allclose(whole.mass_ratio, ratio, rtol=1e-5)
    # 8 pixels of 0.78 Mpc/h cannot be compared
    assert np.isnan(whole.stars).all()
    assert whole.stars_unjudged == ("pixels of 781 kpc/h do not sum to this width",) * 2
    monkeypatch.setattr("halo_cm.universe.measurements._BLOCK_ROWS", 2)
    part = measure_cutouts(path)
    assert part.n_rows <= 64 and set(part.mass_ratio) <= set(whole.mass_ratio)
