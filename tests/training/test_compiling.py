"""Compiled networks train as others do."""

from __future__ import annotations

import shutil

import pytest
import torch
from builders import make_config, make_cutouts, merge

from halo_cm.config.network import UNetConfig
from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import TrainingError
from halo_cm.networks.build import build_network
from halo_cm.training.checkpoint import read_tensors
from halo_cm.training.compiling import compile_network
from halo_cm.training.run import train


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch, tmp_path):
    network, compiled = build_network(3, 4, 7, UNetConfig(channels=(8,), head_channels=4)), []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"C\+\+ compiler.*'g\+\+' was not found.*CXX"):
        compile_network(network, on_cpu=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TrainingError, match="'no-such-compiler' was not found"):
        compile_network(network, on_cpu=True)
    monkeypatch.setattr(network, "compile", lambda *, dynamic: compiled.append(dynamic))
    compile_network(network, on_cpu=False)
    assert compiled == [False]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs the compiler g++")
def test_a_compiled_training_has_the_losses_and_weights_of_another(tmp_path):
    data = tmp_path / "haloes.h5"
    write_cutouts(data, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    found = {}
    for compiled in (False, True):
        phases = [{"objective": {"name": n}, "steps": 4} for n in ("denoising", "energy_score")]
        training = {"phases": phases, "compile": compiled, "processes": 1}
        network = {"patch_size": 2, "channels": [8, 16], "head_blocks": 1}
        output = tmp_path / str(compiled)
        folder = train(make_config(data, output, training=training, network=network))
        found[compiled] = read_tensors(folder.phase_model(1, "energy_score"), "emulator")[1]
    assert found[True].keys() == found[False].keys()
    for name, weights in found[False].items():
        torch.testing.assert_close(found[True][name], weights, rtol=1e-3, atol=1e-4, msg=name)
