"""A few small haloes and an untrained emulator for the tests of `halo_cm.generate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from builders import make_cutouts, make_emulator

from halo_cm.containers import Cutouts
from halo_cm.generate import GenerateOptions
from halo_cm.manager import ModelManager

N, SIDE, DRAWS = 11, 16, 3

#: In this process, two haloes in each of six chunks.
HERE = GenerateOptions(workers=0, device="cpu", haloes_per_chunk=2)


def make_haloes(n: int = N, seed: int = 0) -> Cutouts:
    """Cutouts with another number in every column; every third belongs to the same split."""
    rng = np.random.default_rng(seed)
    cutouts = make_cutouts(n, SIDE, seed=seed)
    return replace(
        cutouts,
        halo_mass=rng.uniform(1e13, 1e15, n).astype(np.float32),
        halo_radius=rng.uniform(0.5, 1, n).astype(np.float32),
        halo_position=rng.uniform(0, 50, (n, 3)).astype(np.float32),
        halo=np.arange(n, dtype=np.int32)[::-1].copy(),
        split=(np.arange(n) % 3).astype(np.int8),
        geometry=replace(cutouts.geometry, provenance={"preset": "test", "seed": 7}),
    )


def save_model(path: Path, seed: int = 0) -> Path:
    """Write the emulator of `make_emulator`."""
    ModelManager.save(make_emulator(SIDE, seed), path)
    return path


def masses(path: Path) -> np.ndarray:
    """The fields of a store."""
    return xr.open_zarr(path).mass.values
