"""Many haloes, streamed to one zarr store: `generate`, and `generate_chunk` for Dask.

The store opens as one lazy Dataset, whatever number of jobs filled it::

    import xarray as xr

    haloes = xr.open_zarr("haloes.zarr")
    haloes = haloes.isel(halo=haloes.done.values)          # while jobs are still running
    gas = haloes.mass.sel(channel="gas").sum(("y", "x"))   # Msun/h, dask arrays throughout
    scatter = gas.std("realization").compute()

Dask can also do the drawing, without a store between, where a result is smaller than the fields::

    import dask
    from halo_cm.generate import generate_chunk

    @dask.delayed
    def mean_mass(rows):
        mass = generate_chunk("runs/consistency/model.safetensors", "haloes.h5", rows,
                              n_realizations=16)
        return mass.mean("realization")

    maps = dask.compute(*[mean_mass(range(i, i + 32)) for i in range(0, 1024, 32)])

or fill a store: every shard is one call of `generate` with ``workers=0``.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from halo_cm.data.cutouts import read_geometry
from halo_cm.data.geometry import check_geometry
from halo_cm.errors import ConfigError
from halo_cm.generation.catalogue import (
    fingerprint,
    maps_fingerprint,
    read_catalogue,
    read_maps,
)
from halo_cm.generation.options import GenerateOptions, choose_chunk, choose_devices
from halo_cm.generation.shards import Shard, resolve_shard
from halo_cm.generation.store import Store, make_template, open_or_create
from halo_cm.processes import Report, Task, run_jobs
from halo_cm.progress import progress
from halo_cm.versions import file_sha256, installed

if TYPE_CHECKING:
    import xarray as xr

    from halo_cm.containers import IntArray
    from halo_cm.emulator import Emulator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """What a call of `generate` left behind.

    Attributes
    ----------
    path
        The store.
    n_new, n_done, n_chunks
        Chunks drawn by this call, chunks finished by all jobs so far, and all chunks.
    """

    path: Path
    n_new: int
    n_done: int
    n_chunks: int

    @property
    def complete(self) -> bool:
        """Whether no chunk is missing."""
        return self.n_done == self.n_chunks


@dataclass(frozen=True)
class _Draw:
    """What is drawn, as the workers get it."""

    model: Path
    data: Path
    n_realizations: int
    n_sampling_steps: int | None
    seed: int

    def __call__(self, store: Store, device: str, chunk: int, report: Report) -> None:
        """Draw a chunk of a store and write it."""
        from halo_cm.data.ranges import already_warned

        with already_warned():  # of all chunks, before the first was drawn
            mass = generate_chunk(
                self.model,
                self.data,
                store.rows[store.haloes(chunk)],
                n_realizations=self.n_realizations,
                n_sampling_steps=self.n_sampling_steps,
                seed=self.seed,
                device=device,
            )
        store.write(chunk, mass.values)


def generate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    n_realizations: int,
    n_sampling_steps: int | None = None,
    seed: int = 0,
    options: GenerateOptions | None = None,
) -> Generated:
    """Draw fields for all haloes of a cutout file into one zarr store, or continue doing so.

    Run it again after an interruption, or as several jobs at once: finished chunks are kept. A
    field depends on (seed, row of the halo in the data file, realization) alone. Memory holds one
    chunk for each worker. Workers are spawned: a script that calls this needs
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    model
        Model file, for example ``runs/consistency/model.safetensors``.
    data
        Cutout file; ``target`` may be absent.
    out
        Store. ``xarray.open_zarr(out)`` gives ``mass`` [Msun/h per pixel] with the dimensions
        (halo, realization, channel, y, x), NaN where ``done`` is False.
    n_realizations
        Draws of each halo.
    n_sampling_steps
        Network evaluations of a draw; the model's default if None.
    seed
        Fixes all draws.
    options
        Split, shard, chunks, workers, device.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    CheckpointError, DataError
        If the model or the data cannot be read, or do not fit together, or a row lies far outside
        what the model was trained on: all rows are checked before the first is drawn.
    OutputError
        If the store cannot be written, or was begun with other settings.
    HaloCMError
        If a worker process dies.
    KeyboardInterrupt
        On Ctrl-C; the finished chunks stay.
    """
    options = options or GenerateOptions()
    shard = resolve_shard(options.shard, os.environ)
    wanted = _Draw(Path(model), Path(data), n_realizations, n_sampling_steps, seed)
    draw, store = _prepare(wanted, Path(out), options)
    return _fill(draw, store, shard, options)


def generate_chunk(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    rows: Sequence[int] | IntArray,
    *,
    n_realizations: int,
    n_sampling_steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> xr.DataArray:
    """Fields of some rows of a cutout file, the same as `generate` writes for them.

    A pure function of files and numbers, to be mapped over rows by Dask or anything else. The
    model is kept in memory between the calls of a process.

    Parameters
    ----------
    model, data
        Model file and cutout file.
    rows
        Rising row numbers in the data file, shape (n,).
    n_realizations, n_sampling_steps, seed
        As for `generate`.
    device
        ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Returns
    -------
    DataArray
        Mass per pixel [Msun/h], shape (n, n_realizations, C, H, W), with the coordinates halo
        (the row), realization and channel.

    Raises
    ------
    CheckpointError, DataError
        If the model or the data cannot be read, or do not fit together.
    """
    import xarray as xr

    from halo_cm.data.ranges import already_warned
    from halo_cm.generation.inputs import check_rows
    from halo_cm.sampling import sample

    rows = np.asarray(rows)
    emulator = _load(Path(model), device)
    condition, parameters = read_maps(data, rows, emulator.geometry)
    check_rows(data, rows, condition, parameters, emulator)  # `sample` knows no rows of the file
    with already_warned():
        mass = sample(
            emulator,
            condition,
            n_realizations,
            n_sampling_steps,
            parameters=parameters,
            seed=seed,
            halo_ids=rows.tolist(),
        )
    channels, realizations = list(emulator.geometry.channels), np.arange(n_realizations)
    return xr.DataArray(
        mass,
        dims=("halo", "realization", "channel", "y", "x"),
        coords={"halo": rows, "realization": realizations, "channel": channels},
        attrs={"units": "Msun/h", "long_name": "mass per pixel"},
    )


def _prepare(draw: _Draw, out: Path, options: GenerateOptions) -> tuple[_Draw, Store]:
    """Check that model, data and settings fit together; begin the store or continue it."""
    from halo_cm.generation.inputs import check_inputs
    from halo_cm.sampling import DEVICE_BATCH, whole_number

    n_realizations = whole_number("n_realizations", draw.n_realizations, least=1, error=ConfigError)
    seed = whole_number("seed", draw.seed, least=0, error=ConfigError)
    draw = replace(draw, n_realizations=n_realizations, seed=seed)
    emulator = _load(draw.model)
    steps = emulator.default_steps if draw.n_sampling_steps is None else draw.n_sampling_steps
    steps = whole_number("n_sampling_steps", steps, error=ConfigError)
    emulator.levels(steps)  # raises where the model has none for so many steps
    geometry = read_geometry(draw.data)
    check_geometry(draw.data, geometry, emulator.geometry)
    # a file without targets need not name the channels that are drawn
    geometry = replace(geometry, channels=emulator.geometry.channels)
    catalogue = read_catalogue(draw.data, options.split)
    size = choose_chunk(
        catalogue.sizes["halo"],
        draw.n_realizations,
        4 * len(geometry.channels) * geometry.n_pixels**2,
        DEVICE_BATCH[choose_devices(options)[0].split(":")[0]],
        options.haloes_per_chunk,
    )
    # a store of the same maps and model exists only if they passed: other jobs of an array and
    # later ones need not read all maps again
    check_inputs(draw.data, catalogue, emulator, maps=not out.exists())
    identity = {
        "seed": draw.seed,
        "n_realizations": draw.n_realizations,
        "n_sampling_steps": steps,
        "model": emulator.config.name,
        "model_sha256": file_sha256(draw.model),
        "split": options.split or "all",
        "catalogue_sha256": fingerprint(catalogue),
        "maps_fingerprint": maps_fingerprint(draw.data),
    }
    template = make_template(catalogue, geometry, draw.n_realizations, size).assign_attrs(
        **identity,
        noise="of a field depends on (seed, halo coordinate, realization) alone",
        data=draw.data.name,
        halo_cm_version=installed("halo_cm")["halo_cm"],
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    if options.haloes_per_chunk is not None:
        identity["haloes_per_chunk"] = size
    return replace(draw, n_sampling_steps=steps), open_or_create(template, out, identity)


def _fill(draw: _Draw, store: Store, shard: Shard, options: GenerateOptions) -> Generated:
    """Draw the missing chunks of a shard."""
    mine = shard.chunks(store.n_chunks)
    todo = [chunk for chunk, done in zip(mine, store.is_done(mine), strict=True) if not done]
    n_before, n_new = len(mine) - len(todo), 0
    logger.info(
        "%s: %d haloes x %d realizations in %d chunks; %s has %d of them, %d are done already",
        store.path,
        len(store.rows),
        draw.n_realizations,
        store.n_chunks,
        shard,
        len(mine),
        n_before,
    )
    try:
        n_haloes = sum(store.n_haloes(chunk) for chunk in todo)
        with progress("generating haloes", n_haloes) as bar:
            for chunk in _run(draw, store, todo, options):
                n_new += 1
                bar.advance(store.n_haloes(chunk))
    except KeyboardInterrupt:
        logger.warning(
            "interrupted: %d of the %d chunks of %s are finished and stay in %s; run the same "
            "command again to continue",
            n_before + n_new,
            len(mine),
            shard,
            store.path,
        )
        raise
    n_done = sum(store.is_done(range(store.n_chunks)))
    result = Generated(store.path, n_new, n_done, store.n_chunks)
    if result.complete:
        logger.info("%s: all %d chunks are done", store.path, store.n_chunks)
    else:
        text = "%s: %s is done; %d of all %d chunks are"
        logger.info(text, store.path, shard, n_done, store.n_chunks)
    return result


def _run(draw: _Draw, store: Store, chunks: list[int], options: GenerateOptions) -> Iterator[int]:
    """Draw chunks in this process or in workers, and yield each when it is written."""
    tasks: list[Task] = [partial(draw, store, device) for device in choose_devices(options)]
    if options.workers == 0:
        for chunk in chunks:
            tasks[0](chunk, _ignore)
            yield chunk
        return
    with closing(run_jobs(tasks, chunks, noun="chunk")) as finished:
        for chunk, _ in finished:
            yield chunk


def _ignore() -> None:
    """Progress is shown by chunks."""


def _load(path: Path, device: str = "cpu") -> Emulator:
    """Emulator of a model file; the last one is kept while its file stays the same."""
    modified = path.stat().st_mtime_ns if path.is_file() else 0
    return _load_cached(path, modified, device)


@lru_cache(maxsize=1)
def _load_cached(path: Path, modified: int, device: str) -> Emulator:
    from halo_cm.manager import ModelManager

    return ModelManager.load(path).to(device)
