"""What a training has cost, in the description of its models."""

from __future__ import annotations

import json

import pytest
from builders import make_config, make_cutouts, make_emulator, merge
from training_runs import train_until_ctrl_c
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.data.cutouts import write_cutouts
from halo_cm.manager import ModelManager
from halo_cm.training import state as training_state
from halo_cm.training.checkpoint import read_facts
from halo_cm.training.cost import Cost, Meter
from halo_cm.training.run import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    return train(make_config(data, tmp_path_factory.mktemp("runs")))


def training_of(path):
    return read_facts(path, "emulator")["training"]


def test_a_meter_adds_all_processes_and_what_was_before():
    meter = Meter(Cost(10.0, 20.0, 5), lambda mine: 3 * mine)
    meter.steps += 2
    total = sum(i * i for i in range(300_000))  # some CPU time
    cost = meter.read()
    spent = (cost.core_seconds - 10) / 3
    assert total and 0.003 < spent <= (cost.wall_seconds - 20) * 1.1 + 0.02
    assert cost.steps == 7 and cost.cost_complete


def test_models_record_what_they_cost(finished):
    """The model of a run that of all phases, the model of a phase what was spent until its end."""
    names = ("01-denoising", "02-ect", "03-energy_score")
    parts = [training_of(finished.path / "phases" / f"{name}.safetensors") for name in names]
    assert [part["steps"] for part in parts] == [12, 20, 26]
    whole = training_of(finished.model)
    assert (whole["steps"], whole["processes"], whole["cost_complete"]) == (26, 1, True)
    spent = [facts["core_seconds"] for facts in [*parts, whole]]
    assert 0 < spent[0] < spent[1] < spent[2] <= spent[3]
    assert whole["wall_seconds"] >= parts[2]["wall_seconds"] > 0
    beside = json.loads(finished.model.with_suffix(".json").read_text())["training"]
    assert beside == whole


def test_info_shows_it(finished):
    said = CliRunner().invoke(app, ["info", str(finished.path)]).output
    assert f"core_seconds = {training_of(finished.model)['core_seconds']}" in said


def test_the_weights_that_a_run_starts_from_count(finished, data, tmp_path):
    phases = [{"objective": {"name": "ect"}, "steps": 2}]
    start = finished.phase_model(0, "denoising")
    folder = train(make_config(data, tmp_path, training={"phases": phases, "start": start}))
    before, after = training_of(start), training_of(folder.model)
    assert after["steps"] == 12 + 2 and after["cost_complete"]
    assert after["core_seconds"] > before["core_seconds"]
    assert after["wall_seconds"] > before["wall_seconds"]


def test_weights_without_a_record_are_said_to_lack_it(data, tmp_path, caplog):
    start = tmp_path / "old.safetensors"
    denoiser = make_emulator()
    denoiser.use_sampler("heun")
    ModelManager.save(denoiser, start)
    phases = [{"objective": {"name": "ect"}, "steps": 2}]
    config = make_config(data, tmp_path, training={"phases": phases, "start": start})
    with caplog.at_level("WARNING", logger="halo_cm"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("halo_cm.training.loop.load_start", lambda path, emulator, **_: emulator)
        found = training_of(train(config).model)
    assert "training.start = " in caplog.text and "no record of its cost" in caplog.text
    assert found["steps"] == 2 and not found["cost_complete"]


def test_a_run_that_is_continued_counts_both_parts(data, tmp_path, monkeypatch):
    config = make_config(data, tmp_path)
    train_until_ctrl_c(config, monkeypatch, (1, 3))
    path = tmp_path / "tiny" / "state.safetensors"
    saved = training_state.load(path).position
    assert saved.cost["steps"] == saved.global_step == 16
    monkeypatch.setattr(
        training_state, "load", lambda path, load=training_state.load: _dearer(load(path))
    )
    whole = training_of(train(config, resume=True).model)
    assert whole["steps"] == 26 and whole["cost_complete"]
    assert 1000 < whole["core_seconds"] < 1100 and 2000 < whole["wall_seconds"] < 2100


def _dearer(state):
    state.position.cost.update(core_seconds=1000.0, wall_seconds=2000.0)
    return state


def test_states_of_versions_that_did_not_measure_are_continued(data, tmp_path, monkeypatch, caplog):
    config = make_config(data, tmp_path)
    train_until_ctrl_c(config, monkeypatch, (1, 3))
    load = training_state.read_tensors

    def as_before(path, kind):
        facts, tensors = load(path, kind)
        facts.pop("cost")
        return facts, tensors

    with monkeypatch.context() as patch, caplog.at_level("WARNING", logger="halo_cm"):
        patch.setattr(training_state, "read_tensors", as_before)
        whole = training_of(train(config, resume=True).model)
    assert whole["steps"] == 10 and not whole["cost_complete"]
    assert "state.safetensors holds no record of its cost" in caplog.text


def test_all_processes_count(data, tmp_path):
    folder = train(make_config(data, tmp_path, training={"processes": 2}))
    facts = training_of(folder.model)
    assert (facts["processes"], facts["steps"]) == (2, 26) and facts["core_seconds"] > 0
