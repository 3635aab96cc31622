"""The same fields however the work is split, and memory that does not grow."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from generation_world import DRAWS, HERE, SIDE, N, make_haloes, masses

from halo_cm.data.cutouts import CutoutWriter, OpenCutouts, write_cutouts
from halo_cm.generate import generate, generate_chunk


def test_fields_depend_on_halo_and_draw(reference):
    flat = reference.reshape(N * DRAWS, -1)
    assert len(np.unique(flat, axis=0)) == N * DRAWS
    assert np.isfinite(flat).all()
    assert (flat >= 0).all()


@pytest.mark.parametrize("haloes_per_chunk", [1, 4, N, 100])
def test_any_chunks_give_the_bytes_of_sample(tmp_path, model, data, reference, haloes_per_chunk):
    options = replace(HERE, haloes_per_chunk=haloes_per_chunk)
    generate(model, data, tmp_path / "a.zarr", n_realizations=DRAWS, seed=5, options=options)
    np.testing.assert_array_equal(masses(tmp_path / "a.zarr"), reference)


def test_worker_processes_and_shards_give_the_same_bytes(tmp_path, model, data, reference):
    out = tmp_path / "a.zarr"
    for shard in ("2/3", "0/3", "1/3"):
        options = replace(HERE, shard=shard, workers=2 if shard == "0/3" else 0)
        result = generate(model, data, out, n_realizations=DRAWS, seed=5, options=options)
        assert result.complete == (shard == "1/3")
    assert result.n_new == 2
    np.testing.assert_array_equal(masses(out), reference)


def test_one_split(tmp_path, model, data, reference):
    options = replace(HERE, split="validation")
    generate(model, data, tmp_path / "a.zarr", n_realizations=DRAWS, seed=5, options=options)
    haloes = xr.open_zarr(tmp_path / "a.zarr")
    assert haloes.halo.values.tolist() == [1, 4, 7, 10]
    np.testing.assert_array_equal(haloes.mass.values, reference[[1, 4, 7, 10]])


def test_two_steps_are_another_draw(tmp_path, model, data, reference):
    arguments = {"n_realizations": DRAWS, "seed": 5, "options": HERE}
    generate(model, data, tmp_path / "a.zarr", n_sampling_steps=2, **arguments)
    assert xr.open_zarr(tmp_path / "a.zarr").attrs["n_sampling_steps"] == 2
    assert not np.allclose(masses(tmp_path / "a.zarr"), reference)


def test_cutouts_without_targets(tmp_path, model, reference):
    write_cutouts(tmp_path / "dmo.h5", replace(make_haloes(), target=None))
    out = tmp_path / "a.zarr"
    generate(model, tmp_path / "dmo.h5", out, n_realizations=DRAWS, seed=5, options=HERE)
    np.testing.assert_array_equal(masses(out), reference)


def peak_memory(tmp_path: Path, model: Path, n: int) -> int:
    """Peak of the arrays allocated while ``n`` haloes are generated [bytes]."""
    part, path = make_haloes(64), tmp_path / f"{n}.h5"
    with CutoutWriter(path, part.geometry, n) as writer:
        for _ in range(n // 64):
            writer.append(part)
    options = replace(HERE, haloes_per_chunk=32)
    tracemalloc.start()
    generate(model, path, tmp_path / f"{n}.zarr", n_realizations=4, options=options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_haloes(tmp_path, model, monkeypatch):
    def constant(emulator, condition, batch_size, *_, **__):
        return np.ones((len(condition), batch_size, 3, SIDE, SIDE), np.float32)

    monkeypatch.setattr("halo_cm.sampling.sample", constant)
    peak_memory(tmp_path, model, 64)  # imports and caches
    small, large = (peak_memory(tmp_path, model, n) for n in (64, 1024))
    field = 4 * 3 * 4 * SIDE**2  # bytes of the four draws of a halo
    # the fields of the added haloes are 12 MB, their maps 7 MB, their columns 0.1 MB
    assert large - small < 0.05 * (1024 - 64) * field


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_dask_maps_generate_chunk(model, data, reference, scheduler):
    draw = dask.delayed(partial(generate_chunk, model, data, n_realizations=DRAWS, seed=5))
    parts = [draw(range(i, min(i + 3, N))) for i in range(0, N, 3)]
    fields = xr.concat(dask.compute(*parts, scheduler=scheduler), "halo")
    assert fields.halo.values.tolist() == list(range(N))
    assert fields.attrs["units"] == "Msun/h"
    np.testing.assert_array_equal(fields.values, reference)


def test_chunk_with_gaps_reads_only_its_rows(model, data, reference, monkeypatch):
    read, seen = OpenCutouts._array, []

    def spy(self, name, rows):
        seen.append((name, rows.start, rows.stop))
        return read(self, name, rows)

    monkeypatch.setattr(OpenCutouts, "_array", spy)
    fields = generate_chunk(model, data, [1, 2, 7], n_realizations=DRAWS, seed=5)
    names = ("condition", "parameters")
    assert seen == [(name, *rows) for rows in ((1, 3), (7, 8)) for name in names]
    np.testing.assert_array_equal(fields.values, reference[[1, 2, 7]])
