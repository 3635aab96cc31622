"""The rows of a cutout file that a generation covers: who the haloes are, and their maps."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np

from halo_cm.containers import SPLITS
from halo_cm.data.cutouts import open_cutouts, read_geometry
from halo_cm.data.geometry import check_geometry
from halo_cm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import xarray as xr

    from halo_cm.containers import FloatArray, Geometry, IntArray

#: Variables copied from the data file; two take another name beside the dimensions of the store.
COPIED = {
    "halo_mass": "halo_mass",
    "halo_radius": "halo_radius",
    "halo_position": "halo_position",
    "parameters": "parameters",
    "box": "box",
    "halo": "halo_in_box",
    "axis": "axis",
    "draw": "draw",
    "realization": "data_realization",
    "split": "split",
}


def read_catalogue(data: str | os.PathLike[str], split: str | None) -> xr.Dataset:
    """Everything about the haloes but their maps, with the units of the data file.

    Parameters
    ----------
    data
        Cutout file.
    split
        One of `SPLITS`, or None for all rows.

    Returns
    -------
    Dataset
        Dimension ``halo`` (N), whose coordinate is the row in the data file.

    Raises
    ------
    DataError
        If the file cannot be read, or holds no row of the split.
    ConfigError
        If the split is unknown.
    """
    import xarray as xr

    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown: expected one of {', '.join(SPLITS)}")
    read_geometry(data)  # checks the layout of the file, with messages for people
    with xr.open_dataset(data, engine="h5netcdf") as file:
        chosen = np.ones(file.sizes["cutout"], dtype=bool)
        if split is not None:
            chosen = file["split"].values == SPLITS.index(split)
        rows = np.flatnonzero(chosen)
        if rows.size == 0:
            raise DataError(f"{data} holds no cutouts{f' of the {split} split' if split else ''}")
        columns = {new: file[old][rows].rename(cutout="halo").load() for old, new in COPIED.items()}
    note = {"units": "1", "long_name": "row of the halo in the data file"}
    catalogue = xr.Dataset(columns).assign_coords(halo=("halo", rows, note))
    for variable in catalogue.variables.values():
        variable.encoding.clear()  # of the data file; the store has its own chunks
    return catalogue


def read_maps(
    data: str | os.PathLike[str], rows: IntArray, expected: Geometry
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Conditions and named parameters of some rows; nothing else of the file is read.

    Parameters
    ----------
    data
        Cutout file.
    rows
        Rising row numbers, shape (n,).
    expected
        Geometry that the model was trained on, see `check_geometry`.

    Returns
    -------
    condition, parameters
        Maps [Msun/h] of shape (n, S, H, W), and a column of shape (n,) for each parameter.

    Raises
    ------
    DataError
        If the file cannot be read or does not fit the model, or one of these maps or parameters
        holds NaN or negative masses.
    """
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    with open_cutouts(data) as file:
        check_geometry(data, file.geometry, expected)
        names = file.geometry.parameter_names
        parts = [file.read_inputs(slice(int(run[0]), int(run[-1]) + 1)) for run in runs]
    condition, parameters = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return condition, dict(zip(names, parameters.T, strict=True))


def maps_fingerprint(data: str | os.PathLike[str]) -> str:
    """What tells the condition maps of a data file from others.

    The fingerprint that the file holds, as those of the embedded universe do; else a SHA-256 over
    all condition maps, which takes much less time than drawing from them.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with open_cutouts(data) as file:
        own = file.geometry.provenance.get("fingerprint")
        return str(own) if own else file.sha256("condition")


def fingerprint(catalogue: xr.Dataset) -> str:
    """SHA-256 over the columns, which tells whether a data file holds the same haloes."""
    digest = hashlib.sha256()
    for name in sorted(str(name) for name in catalogue.variables):
        column = np.ascontiguousarray(catalogue[name].values)
        digest.update(f"{name} {column.dtype.str} {column.shape}".encode())
        digest.update(column.tobytes())
    return digest.hexdigest()
