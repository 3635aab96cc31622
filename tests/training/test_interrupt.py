"""Ctrl-C in a terminal reaches every process of a training; all of them leave in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import tomli_w
from builders import make_config, make_cutouts, merge

from halo_cm.config.loader import without_nones
from halo_cm.data.cutouts import write_cutouts
from halo_cm.training.state import load


def command(repository, folder, *options):
    script = [sys.executable, str(repository / "train_unified.py")]
    return [*script, "--config", str(folder / "tiny.toml"), *options]


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "too slow"
        time.sleep(0.1)


def test_ctrl_c_with_two_processes_saves_the_state_and_says_how_to_go_on(repository, tmp_path):
    data = tmp_path / "haloes.h5"
    write_cutouts(data, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    phases = [{"objective": {"name": "denoising"}, "steps": 100_000}]
    config = make_config(data, tmp_path, training={"processes": 2, "phases": phases})
    (tmp_path / "tiny.toml").write_text(
        tomli_w.dumps(without_nones(config.model_dump(mode="json")))
    )
    log = tmp_path / "tiny" / "log.jsonl"
    process = subprocess.Popen(
        command(repository, tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal sends the signal to the whole group
    )
    try:
        wait_for(lambda: log.is_file() and len(log.read_text().splitlines()) > 3, process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "--resume" in said and "Traceback" not in said
    state = load(tmp_path / "tiny" / "state.safetensors")
    assert state is not None and state.position.n_ranks == 2 and state.position.step > 0
