"""A model, its data, and the fields that `generate` must give for them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from generation_world import DRAWS, N, make_haloes, save_model

from halo_cm.data.cutouts import open_cutouts, write_cutouts


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("runs") / "model.safetensors")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, make_haloes())
    return path


@pytest.fixture(scope="session")
def reference(model: Path, data: Path) -> np.ndarray:
    """Fields from `sample`, one halo at a time."""
    from halo_cm import sampling
    from halo_cm.manager import ModelManager

    emulator = ModelManager.load(model)
    with open_cutouts(data) as file:
        cutouts = file.read(slice(0, N))
    fields = [
        sampling.sample(
            emulator,
            cutouts.condition[i : i + 1],
            DRAWS,
            parameters=cutouts.parameters[i],
            seed=5,
            halo_ids=[i],
        )
        for i in range(N)
    ]
    return np.concatenate(fields)


@pytest.fixture(autouse=True)
def no_job_array(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
