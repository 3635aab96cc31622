"""Several finished models on the same haloes, by the command and by the function."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.compare import CompareOptions, compare, exact_draws, training_core_seconds
from halo_cm.data.cutouts import read_cutouts, write_cutouts
from halo_cm.errors import ConfigError, DataError
from halo_cm.manager import load_emulator, save_emulator
from halo_cm.universe.oracle import OracleOptions, simulate_oracle, universe_of
from halo_cm.versions import file_sha256

FEW = CompareOptions(steps=(1, 2), n_cutouts=6, n_members=2, n_resamples=20)


@pytest.fixture
def model(trained_run):
    return trained_run.folder / "runs" / "consistency" / "model.safetensors"


@pytest.fixture(scope="module")
def oracle(trained_run, tmp_path_factory):
    """Four exact draws of six test cutouts of the universe that the run was trained on."""
    path = tmp_path_factory.mktemp("oracle") / "oracle.h5"
    options = OracleOptions(n_haloes=4, n_draws=4, n_parameters=1)
    return simulate_oracle(universe_of(trained_run.data), path, options, workers=1)


def test_models_are_compared_with_exact_draws(model, trained_run, oracle, tmp_path):
    models = {"one": model, "same": model}
    found = compare(models, trained_run.data, tmp_path, oracle=oracle, options=FEW)
    assert [row.label for row in found.rows] == [
        *("one, 1 step", "one, 2 steps"),
        *("same, 1 step", "same, 2 steps"),
    ]
    assert found.rows[0].crps_log_mass == found.rows[2].crps_log_mass
    assert set(found.floors) == {"truth_vs_truth", "copied input"}
    assert found.settings["truths"] == found.settings["truths_for_pixels"] == 2
    assert found.provenance["oracle"]["sha256"] == file_sha256(oracle)
    assert json.loads((tmp_path / "benchmark.json").read_text())["n_fields"] == 4


def test_exact_draws_of_training_haloes_are_taken_and_said(trained_run, tmp_path, caplog):
    options = OracleOptions(n_haloes=2, n_draws=4, n_parameters=1, split="train", n_boxes=1)
    config = universe_of(trained_run.data)
    path = simulate_oracle(config, tmp_path / "train.h5", options, workers=1)
    with caplog.at_level(logging.WARNING):
        found = exact_draws(path, trained_run.data)
    assert found.fields.shape[:2] == (2, 4)
    assert "cutouts of the split 'train' decide: models have seen them" in caplog.text


def test_validation_cutouts_choose_between_models(model, trained_run, tmp_path, caplog):
    options = replace(FEW, steps=(1,), split="validation")
    with caplog.at_level(logging.WARNING):
        found = compare({"a": model, "b": model}, trained_run.data, tmp_path, options=options)
    assert found.settings["splits"] == ["validation"] and "split 'validation' decide" in caplog.text
    # the same model twice: no figure differs
    for figure in found.contrasts["b, 1 step"].values():
        assert set(figure["difference"].values()) <= {0.0, None}
    with pytest.raises(DataError, match="split 'val' is unknown, expected one of train"):
        compare({"a": model}, trained_run.data, tmp_path, options=replace(FEW, split="val"))


def test_exact_draws_of_another_universe_are_refused(model, trained_run, oracle, tmp_path):
    other = read_cutouts(oracle, None)
    provenance = {**other.geometry.provenance, "universe_fingerprint": "0"}
    geometry = replace(other.geometry, provenance=provenance)
    write_cutouts(tmp_path / "other.h5", replace(other, geometry=geometry))
    with pytest.raises(DataError, match=r"another universe than .* is 0 there"):
        compare({"a": model}, trained_run.data, tmp_path, oracle=tmp_path / "other.h5", options=FEW)


def test_a_model_of_other_pixels_is_refused(model, trained_run, tmp_path):
    test = read_cutouts(trained_run.data, None)
    geometry = replace(test.geometry, scales=tuple(2 * s for s in test.geometry.scales))
    write_cutouts(tmp_path / "wide.h5", replace(test, geometry=geometry))
    with pytest.raises(DataError, match=r"a: scales are .* trained with"):
        compare({"a": model}, tmp_path / "wide.h5", tmp_path / "report", options=FEW)
    assert not (tmp_path / "report").exists()


def test_steps_without_levels_are_left_out_and_said(model, trained_run, tmp_path, caplog):
    options = replace(FEW, steps=(1, 16))
    with caplog.at_level(logging.WARNING, logger="halo_cm"):
        found = compare({"a": model}, trained_run.data, tmp_path, options=options)
    assert [row.n_sampling_steps for row in found.rows] == [1]
    assert "a has no noise levels for 16 steps: left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--models a", "--models needs --data FILE"),
        ("--models a --data x --model consistency", "leave out --model, --config and --set"),
        ("--models a --data x --steps 1,1", "expected different whole numbers"),
        ("--models a --data x --steps 0", "expected different whole numbers"),
        ("--models nobody --data x", "no trained model 'nobody'"),
        ("--model consistency --steps 1 --oracle f", "--steps, --oracle: only with --models"),
        ("--model consistency --runs r", "--runs: only with --models"),
        ("--models a --data x --report r", "--report r is now --out"),
        ("--model consistency --report r", "--report r is now --out"),
        ("--models a --data x --oracle f --split train", "draws are of a split of their own"),
        ("--model consistency --split train", "--split: only with --models"),
        ("--models copy --data x", "--models copy names no model"),
        ("--models a --data x --seed -3", "--seed -3: expected a number"),
    ],
)
def test_mistakes_get_one_clear_message(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["benchmark", *options.split()])
    assert result.exit_code != 0 and message in result.output


def test_a_folder_of_runs_is_no_folder_for_a_report(tmp_path):
    runs = tmp_path / "runs"
    (runs / "mine").mkdir(parents=True)
    (runs / "mine" / "run.json").write_text("{}")
    command = ["benchmark", "--models", "a", "--data", "x", "--out", str(runs)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "holds folders of runs, such as mine" in " ".join(result.output.split())
    assert [path.name for path in runs.iterdir()] == ["mine"]


def test_rows_have_names(model, trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "a=b.safetensors"
    shutil.copy(model, odd)
    arguments = ["--data", str(trained_run.data), "--steps", "1", "--n-samples", "2"]
    twice = CliRunner().invoke(app, ["benchmark", "--models", f"{model},{model}", *arguments])
    assert "twice: give a row LABEL=FILE" in twice.output
    runs = str(model.parent.parent)
    arguments += ["--runs", runs, "--out", "here"]
    good = "consistency,copy,a=b.safetensors"
    result = CliRunner().invoke(app, ["benchmark", "--models", good, *arguments])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "here" / "benchmark.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["consistency", "a=b"]
    assert "copied input" in found["floors"]


def test_a_regression_is_a_floor(model, trained_run, tmp_path):
    """It has one prediction: no ensemble, and the same whatever the seed."""
    mean = tmp_path / "regression.safetensors"
    save_emulator(load_emulator(model), mean, {"phase": "regression", "core_seconds": 7.5})
    with pytest.raises(ConfigError, match=r"none of the models .a. draws samples"):
        compare({"a": mean}, trained_run.data, tmp_path / "report", options=FEW)
    found = compare({"a": mean, "b": model}, trained_run.data, tmp_path / "report", options=FEW)
    floor = found.floors["a"]
    assert (floor.members, floor.scoring, floor.nfe) == (1, "deterministic", 4)
    assert floor.training_core_seconds == 7.5
    assert {row.name for row in found.rows} == {"b"}


def test_a_cost_that_is_not_wholly_known_is_left_out(model, trained_run, tmp_path):
    part = tmp_path / "part.safetensors"
    for cost, expected in (({}, None), ({"core_seconds": 3.0, "cost_complete": False}, None)):
        save_emulator(load_emulator(model), part, {"phase": "ect", **cost})
        assert training_core_seconds(part) is expected
    save_emulator(load_emulator(model), part, {"core_seconds": 3.0, "cost_complete": True})
    assert training_core_seconds(part) == 3.0


def test_bad_data_are_refused_before_anything_is_written(model, trained_run, tmp_path):
    test = read_cutouts(trained_run.data, None)
    empty = test.target.copy()
    empty[:, 1] = 0
    write_cutouts(tmp_path / "empty.h5", replace(test, target=empty))
    with pytest.raises(DataError, match="channel 'gas' of the truth holds no mass"):
        compare({"a": model}, tmp_path / "empty.h5", tmp_path / "report", options=FEW)
    single = replace(FEW, n_members=1)
    with pytest.raises(DataError, match="row 'a, 1 step' needs at least two members"):
        compare({"a": model}, trained_run.data, tmp_path / "report", options=single)
    assert not (tmp_path / "report").exists()
