"""Ctrl-C in every command: exit code 130, what is kept is said, and the command can be repeated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from halo_cm.cli import app
from halo_cm.data.cutouts import read_cutouts
from halo_cm.emulator import Emulator

RUN_GENERATE = ["generate", "--model", "consistency", "--data", "data/quickstart.h5"]
RUN_GENERATE += ["--out", "many.zarr", "--chunk", "1", "--workers", "2"]
TINY = ["n_particles=32", "n_mesh=48", "n_steps=5", "n_pixels=8", "sigma_8=[0.85, 0.95]"]


@pytest.fixture(autouse=True)
def ctrl_c():
    """A shell that runs the tests in the background lets them, and their children, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(arguments: list[str], folder: Path, ready) -> str:
    """Start halo-cm as a terminal does, press Ctrl-C when ``ready()``; returns what was said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "halo_cm", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal sends the signal to the whole group
    )
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "too slow"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def folder(trained_run, tmp_path, monkeypatch):
    """A copy of a trained run, as current directory."""
    copy = tmp_path / "run"
    shutil.copytree(trained_run.folder, copy)
    monkeypatch.chdir(copy)
    return copy


def test_simulate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["simulate", "--preset", "ci", "--workers", "1"]
    arguments += [word for change in (*TINY, "n_train_boxes=6") for word in ("--set", change)]
    boxes = tmp_path / "data" / "ci.boxes"
    said = interrupt(arguments, tmp_path, lambda: any(boxes.glob("box_*.h5")))
    assert "what is finished is kept; the same command continues" in said
    finished = {file: file.stat().st_mtime_ns for file in boxes.glob("box_*.h5")}
    assert 1 <= len(finished) < 8
    result = CliRunner().invoke(app, [*arguments, "--keep-boxes"])
    assert result.exit_code == 0, result.output
    assert all(file.stat().st_mtime_ns == when for file, when in finished.items())
    assert set(read_cutouts(tmp_path / "data" / "ci.h5", None).box) == set(range(8))


def test_generate(folder):
    done = folder / "many.zarr" / "mass"
    arguments = [*RUN_GENERATE, "--n-realizations", "256"]
    said = interrupt(arguments, folder, lambda: done.is_dir() and len(list(done.iterdir())) > 3)
    assert "finished chunks are kept; the same command continues" in said
    haloes = xr.open_zarr(folder / "many.zarr")
    assert 1 <= haloes.done.values.sum() < haloes.sizes["halo"]


def press_ctrl_c_while_drawing(monkeypatch) -> None:
    original, calls = Emulator.generate, []

    def generate(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(Emulator, "generate", generate)


def test_sample(folder, monkeypatch):
    arguments = ["sample", "--model", "consistency", "--data", "data/quickstart.h5"]
    arguments += ["--out", "samples.nc", "--n-haloes", "4", "--n-samples", "40"]
    with monkeypatch.context() as patch:
        press_ctrl_c_while_drawing(patch)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert "nothing was written; the same command starts again" in result.output
    assert not list(folder.glob("*samples.nc*"))
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_benchmark(folder, monkeypatch):
    report = folder / "runs" / "consistency" / "report"
    before = {file: file.read_bytes() for file in report.iterdir()}
    with monkeypatch.context() as patch:
        press_ctrl_c_while_drawing(patch)
        result = CliRunner().invoke(app, ["benchmark", "--model", "consistency"])
    assert result.exit_code == 130
    assert "a report without benchmark.json is unfinished" in result.output
    assert {file: file.read_bytes() for file in report.iterdir()} == before
