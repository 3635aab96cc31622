"""The zarr store of generated haloes: made once, then filled chunk by chunk by many processes.

One chunk of ``mass`` holds all realizations of some haloes and is written once, by one process.
Only then is ``done`` set for these haloes: a chunk that was being written when its process died is
not marked, reads as NaN, and is made again. Zarr writes each chunk file under a temporary name
and renames it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from halo_cm.atomic import explain_os_errors
from halo_cm.errors import OutputError

if TYPE_CHECKING:
    import xarray as xr

    from halo_cm.containers import FloatArray, Geometry, IntArray

#: Written by zarr-python 2 and 3 alike, and read by both without warnings.
ZARR_FORMAT = 2

_KIND = "halo_cm generated haloes"


@dataclass(frozen=True)
class Store:
    """An existing store.

    Attributes
    ----------
    path
        Directory of the store.
    rows
        Row in the data file of each halo, shape (N,).
    haloes_per_chunk
        Haloes of a chunk; the last chunk may hold fewer.
    """

    path: Path
    rows: IntArray
    haloes_per_chunk: int

    @classmethod
    def open(cls, path: Path) -> Store:
        """Store at ``path``.

        Raises
        ------
        OutputError
            If there is something else.
        """
        attributes = read_attributes(path)
        return cls(path, _group(path)["halo"][:], int(attributes["haloes_per_chunk"]))

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return -(-len(self.rows) // self.haloes_per_chunk)

    def haloes(self, chunk: int) -> slice:
        """Positions along ``halo`` of a chunk."""
        start = chunk * self.haloes_per_chunk
        return slice(start, min(start + self.haloes_per_chunk, len(self.rows)))

    def n_haloes(self, chunk: int) -> int:
        """Haloes in a chunk."""
        haloes = self.haloes(chunk)
        return int(haloes.stop - haloes.start)

    def is_done(self, chunks: range) -> list[bool]:
        """Which of these chunks are finished."""
        first = [chunk * self.haloes_per_chunk for chunk in chunks]
        return [bool(done) for done in _group(self.path)["done"].oindex[first]] if first else []

    def write(self, chunk: int, mass: FloatArray) -> None:
        """Write a chunk, shape (n, R, C, H, W), then mark it as done.

        Raises
        ------
        OutputError
            If the disk is full or the store cannot be written.
        """
        haloes = self.haloes(chunk)
        with explain_os_errors(self.path):
            group = _group(self.path)
            group["mass"][haloes] = mass
            group["done"][haloes] = True


def open_or_create(template: xr.Dataset, path: Path, identity: Mapping[str, Any]) -> Store:
    """Store at ``path``, made from the template if there is none yet.

    Parameters
    ----------
    template
        From `make_template`.
    path
        Directory of the store.
    identity
        Attributes that fix the content. A store that was made before, or by another job at the
        same moment, is used if it agrees in all of them.

    Raises
    ------
    OutputError
        If the store cannot be written, or what is at ``path`` is something else.
    """
    if not path.exists():
        _create(template, path)
    _check_identity(path, identity)
    return Store.open(path)


def make_template(
    catalogue: xr.Dataset, geometry: Geometry, n_realizations: int, haloes_per_chunk: int
) -> xr.Dataset:
    """Dataset as it will be, with empty (lazy) masses and no attributes that name the run.

    Parameters
    ----------
    catalogue
        Columns with the dimension ``halo``.
    geometry
        Of the cutouts.
    n_realizations
        Samples of each halo.
    haloes_per_chunk
        Haloes in a zarr chunk.
    """
    import dask.array

    n, side = catalogue.sizes["halo"], geometry.n_pixels
    shape = (n, n_realizations, len(geometry.channels), side, side)
    chunks = (haloes_per_chunk, *shape[1:])
    mass = dask.array.full(shape, np.nan, chunks=chunks, dtype=np.float32)  # type: ignore[no-untyped-call]
    centres = (np.arange(side) + 0.5) * geometry.cell_size - 0.5 * geometry.field_of_view
    noted = {
        "realization": (np.arange(n_realizations), "1", "independent draw of the emulator"),
        "channel": (np.array(geometry.channels), "1", "component"),
        "y": (centres, "Mpc/h", "pixel centre relative to the halo, comoving"),
        "x": (centres, "Mpc/h", "pixel centre relative to the halo, comoving"),
    }
    dataset = catalogue.set_coords(list(catalogue.data_vars)).assign_coords(
        {k: (k, v, {"units": units, "long_name": text}) for k, (v, units, text) in noted.items()}
    )
    dims = ("halo", "realization", "channel", "y", "x")
    dataset["mass"] = (dims, mass, {"units": "Msun/h", "long_name": "mass per pixel"})
    note = {"units": "1", "long_name": "whether the masses of the halo are written"}
    dataset = dataset.assign_coords(done=("halo", np.zeros(n, dtype=bool), note))
    dataset["done"].encoding["chunks"] = (haloes_per_chunk,)
    return dataset.assign_attrs(haloes_per_chunk=haloes_per_chunk, **_describe(geometry))


def read_attributes(path: Path) -> dict[str, Any]:
    """Global attributes of a store.

    Raises
    ------
    OutputError
        If ``path`` holds something else.
    """
    try:
        attributes: dict[str, Any] = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        attributes = {}
    if attributes.get("kind") != _KIND:
        raise OutputError(
            f"{path} exists, but `halo-cm generate` did not make it: choose another --out"
        )
    return attributes


def _describe(geometry: Geometry) -> dict[str, Any]:
    """Global attributes that say what the pixels are."""
    return {
        "kind": _KIND,
        "Conventions": "CF-1.11",
        "title": "hydrodynamic fields around haloes, drawn by halo_cm",
        "units": "masses Msun/h, lengths comoving Mpc/h",
        "boxsize": geometry.boxsize,
        "field_of_view": geometry.field_of_view,
        "depth": geometry.depth,
        "cell_size": geometry.cell_size,
        "pixel_area": geometry.pixel_area,
        "redshift": geometry.redshift,
        "omega_b": geometry.omega_b,
        "data_provenance": json.dumps(dict(asdict(geometry)["provenance"]), sort_keys=True),
    }


def _create(template: xr.Dataset, path: Path) -> None:
    """Write the metadata and the catalogue beside ``path``, then rename the directory."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            template.to_zarr(
                temporary,
                mode="w-",
                compute=False,
                consolidated=True,
                zarr_format=ZARR_FORMAT,
                # a left-out chunk of zeros would be read as undefined by zarr-python 2
                write_empty_chunks=True,
            )
            _rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError:
        # another job made the store first: a directory does not replace a full one
        if not (path / ".zattrs").is_file():
            raise


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    found = read_attributes(path)
    different = [
        f"{name} = {_short(found.get(name))} (now {_short(value)})"
        for name, value in identity.items()
        if found.get(name) != value
    ]
    if different:
        raise OutputError(
            f"{path} was begun with other settings: {'; '.join(different)}. Repeat these settings "
            "to continue it, or choose another --out for the new ones"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "..." if len(text) == 64 else text


def _group(path: Path) -> Any:
    import zarr

    return zarr.open_group(str(path), mode="r+")
