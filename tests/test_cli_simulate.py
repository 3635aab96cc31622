"""`halo-cm simulate` beyond cutouts: exact draws, snapshots, the check of the physics."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.data.cutouts import read_cutouts

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


def test_snapshots_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(*UNIVERSE, "--snapshots", "boxes")
    assert len(list(tmp_path.glob("boxes/halo_cm/L50n32/LH/LH_*/snap_090.hdf5"))) == 3


def test_the_check_writes_a_figure_and_numbers(trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("simulate", "--check", str(trained_run.data), "--out", "check", "--workers", "2")
    assert "not judged" in said and said.splitlines()[-1] == "check/universe.png"
    assert (tmp_path / "check" / "universe.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "check" / "universe.json").read_text())["passed"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--oracle", "--snapshots", "boxes"], "one of --oracle, --snapshots and --check"),
        (["--n-haloes", "3"], "belong to --oracle"),
        (["--check", "none.h5"], "none.h5: no such file"),
    ],
)
def test_contradictions_are_explained(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 1 and message in result.output
    assert list(tmp_path.iterdir()) == []
