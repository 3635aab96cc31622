"""`halo-cm simulate` beyond cutouts: exact draws, snapshots, the check of the physics."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.data.cutouts import read_cutouts
from halo_cm.errors import OutputError

TINY = ["n_train_boxes=1", "n_draws=1", "n_particles=32", "n_mesh=48", "n_steps=5", "n_pixels=8"]
TINY += ["sigma_8=[0.85, 0.95]"]
UNIVERSE = ["simulate", "--preset", "ci", "--workers", "1"]
UNIVERSE += [word for change in TINY for word in ("--set", change)]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_oracle_is_written_beside_the_universe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run(*UNIVERSE, "--oracle", "--n-haloes", "2", "--n-exact-draws", "3")
    assert "data/ci_oracle.h5: 2 cutouts x 3 exact draws" in said
    assert read_cutouts("data/ci_oracle.h5", "test").realization.tolist() == [0, 1, 2] * 2


def test_the_oracle_of_another_split_has_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = ["--n-haloes", "1", "--n-exact-draws", "1"]
    said = run(*UNIVERSE, "--oracle", "--split", "train", "--boxes", "1", *size)
    assert "data/ci_oracle_train.h5: 1 cutouts x 1 exact draws" in said
    assert read_cutouts("data/ci_oracle_train.h5", "train").box.tolist() == [0]


def test_snapshots_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(*UNIVERSE, "--snapshots", "boxes")
    assert len(list(tmp_path.glob("boxes/halo_cm/L50n32/LH/LH_*/snap_090.hdf5"))) == 3


def test_the_check_writes_a_figure_and_numbers(trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("simulate", "--check", str(trained_run.data), "--out", "check", "--workers", "2")
    assert "not judged" in said and said.splitlines()[-1] == "check/universe.png"
    assert (tmp_path / "check" / "universe.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "check" / "universe.json").read_text())
    # next to nothing can be judged in so coarse a universe: neither passed nor failed
    assert numbers["passed"] is None and numbers["verdict"] == "not judged"
    assert f"passed {numbers['n_passed']} of {numbers['n_judged']} judged" in said.splitlines()[-2]


def test_an_unwritable_folder_is_found_before_the_work(trained_run, tmp_path, monkeypatch):
    from halo_cm.universe import check as check_module

    monkeypatch.setattr(check_module, "check_universe", lambda *_, **__: pytest.fail("too late"))
    (tmp_path / "file").write_text("")
    arguments = ["--check", str(trained_run.data), "--out", str(tmp_path / "file" / "check")]
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 1 and "a part of the path is a file" in result.output


def test_gates_are_told_where_they_cannot_be_written(trained_run, tmp_path, monkeypatch):
    from halo_cm.report import universe as report_module
    from halo_cm.universe import check as check_module
    from halo_cm.universe.gates import Topic, UniverseCheck, gate

    def full(*_):
        raise OutputError("cannot write universe.png: the disk is full")

    topics = (Topic("growth", "growth", (), (gate("growth", 0.9, 1, 0.005),)),)
    found = UniverseCheck("f", "p", 0, "0", 1, 2, 3, 4.0, topics)
    monkeypatch.setattr(check_module, "check_universe", lambda *_, **__: found)
    monkeypatch.setattr(report_module, "write_universe_report", full)
    arguments = ["--check", str(trained_run.data), "--out", str(tmp_path / "check")]
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 1
    assert "FAILED  growth: 0.9" in result.output and "disk is full" in result.output


def test_a_failed_gate_is_a_failure(trained_run, tmp_path, monkeypatch):
    from halo_cm.universe import check as check_module
    from halo_cm.universe.gates import Topic, UniverseCheck, curve, gate

    monkeypatch.chdir(tmp_path)
    line = curve("tiny amplitude", "measured", [1.0], [0.9])
    topics = (Topic("growth", "growth", (line,), (gate("growth", 0.9, 1, 0.005),)),)
    found = UniverseCheck("f", "p", 0, "0", 1, 2, 3, 4.0, topics)
    monkeypatch.setattr(check_module, "check_universe", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["simulate", "--check", "any.h5", "--out", "check"])
    assert result.exit_code == 1 and "FAILED  growth: 0.9" in result.output
    assert json.loads((tmp_path / "check" / "universe.json").read_text())["verdict"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--oracle", "--snapshots", "boxes"], "give one of --oracle and --snapshots at a time"),
        (["--n-haloes", "3"], "--n-haloes: not an option of halo-cm simulate without a task"),
        (["--boxes", "9"], "--boxes: not an option of halo-cm simulate without a task"),
        (["--oracle", "--boxes", "9"], "n_boxes is 9, but the universe has 1 test box(es)"),
        (["--oracle", "--split", "tests"], "split 'tests' is unknown, expected one of train"),
        (["--split", "train"], "--split: not an option of halo-cm simulate without a task"),
        (["--check", "a.h5", "--seed", "5", "--set", "n_draws=1"], "--seed, --set: not an option"),
        (
            ["--check", "a.h5", "--preset", "ci"],
            "--preset: not an option of halo-cm simulate --che",
        ),
        (["--snapshots", "boxes", "--overwrite"], "--overwrite: not an option"),
        (["--oracle", "--keep-boxes"], "--keep-boxes: not an option"),
        (["--check", "none.h5"], "none.h5: no such file"),
    ],
)
def test_contradictions_are_explained(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 1 and message in result.output
    assert list(tmp_path.iterdir()) == []
