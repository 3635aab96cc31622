"""Shards of the chunks, given or taken from SLURM."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr
from generation_world import HERE

from halo_cm.errors import ConfigError
from halo_cm.generate import generate
from halo_cm.generation.shards import resolve_shard


@pytest.mark.parametrize("n_chunks", [0, 1, 63, 64, 200])
def test_shards_cover_every_chunk_once(n_chunks):
    shards = [resolve_shard(f"{i}/64", {}) for i in range(64)]
    done = [chunk for shard in shards for chunk in shard.chunks(n_chunks)]
    assert sorted(done) == list(range(n_chunks))
    assert list(shards[3].chunks(200)) == [3, 67, 131, 195]


@pytest.mark.parametrize("text", ["3", "64/64", "-1/4", "1/0", "0/0", "1.5/4", "a/b", ""])
def test_wrong_shards(text):
    with pytest.raises(ConfigError, match="write i/n with 0 <= i < n"):
        resolve_shard(text, {})


def slurm(task: int, count: int, first: int, step: int | None = None) -> dict[str, str]:
    numbers = {"ID": task, "COUNT": count, "MIN": first, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{k}": str(v) for k, v in numbers.items() if v is not None}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (slurm(3, 64, 0), (3, 64)),
        (slurm(64, 64, 1, 1), (63, 64)),
        (slurm(14, 4, 10, 2), (2, 4)),
        ({}, (0, 1)),
    ],
)
def test_slurm_array_tasks(variables, expected):
    shard = resolve_shard(None, variables)
    assert (shard.index, shard.count) == expected
    assert resolve_shard("1/5", variables).count == 5


@pytest.mark.parametrize(
    "variables",
    [slurm(17, 2, 3), slurm(5, 4, 0, 2), {"SLURM_ARRAY_TASK_ID": "3"}],
)
def test_slurm_arrays_with_gaps_or_without_size(variables):
    with pytest.raises(ConfigError, match="say the shard yourself: --shard i/n"):
        resolve_shard(None, variables)


def test_slurm_array_in_a_run(tmp_path, model, data, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "halo_cm")
    for name, value in slurm(2, 3, 1).items():
        monkeypatch.setenv(name, value)
    generate(model, data, tmp_path / "a.zarr", n_realizations=1, options=HERE)
    assert np.flatnonzero(xr.open_zarr(tmp_path / "a.zarr").done).tolist() == [2, 3, 8, 9]
    assert "shard 1/3 (SLURM array task 2)" in caplog.text
