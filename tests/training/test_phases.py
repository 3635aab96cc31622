"""Every objective as a phase of one run, by configuration alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts, merge

from halo_cm.config.objective import available_objectives
from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import ConfigError
from halo_cm.manager import load_emulator
from halo_cm.sampling import sample
from halo_cm.training.run import train

#: What needs more than its name to stand anywhere in a list of phases.
SETTINGS = {"energy_score": {"n_members": 3}, "distributional": {"n_members": 3}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


def config_of(data, output, names, latent_channels):
    phases = [{"objective": {"name": n, **SETTINGS.get(n, {})}, "steps": 2} for n in names]
    network = {
        "patch_size": 2, "channels": [8, 16], "embedding_dimension": 16,
        "latent_channels": latent_channels,
    }  # fmt: skip
    training = {"phases": phases, "log_every": 1}
    return make_config(data, output, training=training, network=network)


def test_every_objective_trains_saves_and_samples(data, tmp_path):
    # distillation stands behind the denoiser, its teacher
    rest = sorted(set(available_objectives()) - {"denoising", "cd"})
    names = ["denoising", "cd", *rest]
    folder = train(config_of(data, tmp_path, names, latent_channels=1))
    lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
    losses = {r["phase"]: r["loss"] for r in lines if "loss" in r}
    assert list(losses) == names and np.isfinite(list(losses.values())).all()
    cutouts = make_cutouts(n=2, seed=7)
    for index, name in enumerate(names):
        model = load_emulator(folder.phase_model(index, name))
        assert model.uses_latent == (name == "distributional")
        fields = sample(model, cutouts.condition, 2, parameters=cutouts.parameters, seed=0)
        assert fields.shape == (2, 2, 3, 16, 16) and np.isfinite(fields).all()


def test_latent_noise_tells_samples_of_a_distributional_model_apart(data, tmp_path):
    folder = train(config_of(data, tmp_path, ["distributional"], latent_channels=1))
    denoiser = load_emulator(folder.model).denoiser
    for parameter in denoiser.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, latents = torch.randn(1, 3, 16, 16), torch.randn(2, 1, 1, 16, 16)
    rest = torch.tensor([1.0]), torch.zeros(1, 4, 16, 16), torch.zeros(1, 2)
    first, second = (denoiser(x, *rest, latent) for latent in latents)
    assert not torch.equal(first, second)


def test_distributional_diffusion_without_latent_channels_stops_at_its_first_step(data, tmp_path):
    """Configurations that were read from a file are refused before."""
    with pytest.raises(ConfigError, match=r"network.latent_channels must not be 0"):
        train(config_of(data, tmp_path, ["distributional"], latent_channels=0))
