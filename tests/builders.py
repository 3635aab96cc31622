"""Small cutouts, configs and emulators for the tests."""

from __future__ import annotations

import numpy as np
import torch

from halo_cm.config.schema import Config
from halo_cm.containers import Cutouts, Geometry
from halo_cm.data.normalize import Normalization
from halo_cm.emulator import Emulator

NAMES = ("Omega_m", "sigma_8")
SCALES = (6.25, 12.5, 25.0, 50.0)


def make_cutouts(n=40, side=16, names=NAMES, seed=0, split=0):
    """Lognormal maps with baryons that trace them, three quarters of the star pixels empty."""
    rng = np.random.default_rng(seed)
    condition = rng.lognormal(23, 1, (n, 4, side, side)).astype(np.float32)
    ratio = rng.lognormal(0, 0.2, (n, 3, side, side))
    shares = np.array([0.84, 0.15, 0.01])[:, None, None]
    target = (ratio * condition[:, :1] * shares).astype(np.float32)
    target[:, 2][rng.random((n, side, side)) < 0.75] = 0
    whole = np.zeros(n, np.int32)
    return Cutouts(
        condition=condition,
        target=target,
        parameters=rng.uniform(0.2, 0.4, (n, len(names))).astype(np.float32),
        halo_mass=np.full(n, 1e13),
        halo_radius=np.full(n, 0.4),
        halo_position=np.zeros((n, 3)),
        box=whole + split,
        halo=np.arange(n, dtype=np.int32),
        axis=whole,
        draw=whole,
        realization=whole,
        split=(whole + split).astype(np.int8),
        geometry=Geometry(50.0, SCALES, 50.0, side, names, 0.049),
    )


def merge(*parts):
    """Concatenate cutouts of one geometry."""
    names = Cutouts.row_names()
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    return Cutouts(**arrays, geometry=parts[0].geometry)


def make_config(path="haloes.h5", output="runs", **changes):
    """A run of seconds: one short phase of each kind."""
    phases = [
        {"objective": {"name": "denoising"}, "steps": 12},
        {"objective": {"name": "ect"}, "steps": 8, "optimizer": "radam"},
        {"objective": {"name": "energy_score"}, "steps": 6},
    ]
    training = {
        "phases": phases, "batch_size": 8, "processes": 1, "checkpoint_every": 5, "log_every": 2,
        "warmup_steps": 2,
    }  # fmt: skip
    training.update(changes.pop("training", {}))
    content = {
        "name": "tiny",
        "output": str(output),
        "data": {"path": str(path)},
        "network": {"patch_size": 2, "channels": [8, 16], "embedding_dimension": 16},
        "training": training,
        "validation": {"every": 4, "n_cutouts": 6, "n_members": 2},
        "benchmark": {"n_cutouts": 8, "n_members": 2},
        "sampling": {"choose_levels": False},
        **changes,
    }
    return Config.model_validate(content)


def make_emulator(side=16, seed=0):
    """An untrained emulator whose last layer is not zero, so that noise reaches the output."""
    cutouts = make_cutouts(side=side)
    config = make_config()
    normalization = Normalization.fit(config.normalization, cutouts)
    torch.manual_seed(seed)
    emulator = Emulator(config, normalization, "consistency")
    for parameter in emulator.denoiser.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return emulator.eval().requires_grad_(False)
