"""Compiled networks train as others do."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
import torch._dynamo.utils
from builders import make_config, make_cutouts, merge

from halo_cm.config.network import UNetConfig
from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import TrainingError
from halo_cm.networks.build import build_network
from halo_cm.training import loop
from halo_cm.training.checkpoint import read_tensors
from halo_cm.training.compiling import compile_network
from halo_cm.training.run import train


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch, tmp_path):
    network, compiled = build_network(3, 4, 7, UNetConfig(channels=(8,), head_channels=4)), []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    usual = r"clang\+\+" if sys.platform == "darwin" else r"g\+\+"
    with pytest.raises(TrainingError, match=rf"C\+\+ compiler.*'{usual}' was not found.*CXX"):
        compile_network(network, on_cpu=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingError, match="'no-such-compiler' was not found"):
        compile_network(network, on_cpu=True)
    monkeypatch.setattr(network, "compile", lambda *, dynamic: compiled.append(dynamic))
    compile_network(network, on_cpu=False)
    assert compiled == [False]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


def small_training(data, output, *, compiled):
    phases = [{"objective": {"name": n}, "steps": 4} for n in ("denoising", "ect")]
    training = {"phases": phases, "compile": compiled, "processes": 1, "log_every": 1}
    network = {
        "patch_size": 2,
        "channels": [8, 16],
        "head_blocks": 1,
        "noise_blocks": 2,
        "condition_rings": 3,
    }
    return train(make_config(data, output, training=training, network=network))


def test_the_network_is_compiled_in_each_phase_where_it_is_asked_for(data, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "compile_network", lambda network, on_cpu: calls.append(on_cpu))
    small_training(data, tmp_path / "plain", compiled=False)
    assert not calls
    small_training(data, tmp_path / "compiled", compiled=True)
    assert len(calls) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs the compiler g++")
def test_a_compiled_training_has_the_losses_and_weights_of_another(data, tmp_path):
    torch._dynamo.utils.counters.clear()
    losses, found = [], []
    for compiled in (False, True):
        folder = small_training(data, tmp_path / str(compiled), compiled=compiled)
        assert bool(torch._dynamo.utils.counters["frames"]["ok"]) == compiled
        lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
        found.append(read_tensors(folder.phase_model(1, "ect"), "emulator")[1])
    assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert found[0].keys() == found[1].keys()
    for name, weights in found[0].items():
        torch.testing.assert_close(found[1][name], weights, rtol=1e-2, atol=1e-3, msg=name)
