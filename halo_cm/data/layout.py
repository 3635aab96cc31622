"""Layout of the cutout file: its variables, dimensions and attributes, declared and checked."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from halo_cm.containers import SPLITS, Geometry
from halo_cm.errors import DataError

SCHEMA_VERSION = 1
#: More than the names, coordinates and attributes of a file take.
_LAYOUT_BYTES = 1 << 18

_MAP_DIMS = ("y", "x")
#: Dimensions, type, units and meaning of each variable.
VARIABLES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "condition": (
        ("cutout", "scale", *_MAP_DIMS),
        "f4",
        "Msun/h",
        "dark-matter-only mass per pixel of the field of view",
    ),
    "target": (("cutout", "channel", *_MAP_DIMS), "f4", "Msun/h", "hydrodynamic mass per pixel"),
    "parameters": (("cutout", "parameter"), "f4", "1", "conditioning parameters"),
    "halo_mass": (("cutout",), "f4", "Msun/h", "halo mass M200c"),
    "halo_radius": (("cutout",), "f4", "Mpc/h", "halo radius R200c"),
    "halo_position": (("cutout", "space"), "f4", "Mpc/h", "halo centre, comoving"),
    "box": (("cutout",), "i4", "1", "index of the simulation box"),
    "halo": (("cutout",), "i4", "1", "index of the halo in its box"),
    "axis": (("cutout",), "i4", "1", "axis of projection"),
    "draw": (("cutout",), "i4", "1", "index of the parameter vector"),
    "realization": (("cutout",), "i4", "1", "index of the random draw at fixed parameters"),
    "split": (("cutout",), "i1", "1", "training, validation or test"),
}
_GEOMETRY = ("boxsize", "depth", "n_pixels", "omega_b", "redshift")
_DERIVED = ("field_of_view", "cell_size", "pixel_area")
_FIXED = {"length_unit": "Mpc/h, comoving", "mass_unit": "Msun/h", "schema_version": SCHEMA_VERSION}


def file_size(geometry: Geometry, n: int, names: list[str]) -> int:
    """Upper bound of the size of a file [bytes]."""
    sizes = _dimensions(geometry, n)
    items = [(math.prod(sizes[dim] for dim in VARIABLES[v][0]), VARIABLES[v][1]) for v in names]
    return _LAYOUT_BYTES + sum(count * np.dtype(kind).itemsize for count, kind in items)


def reserve(path: Path, size: int) -> None:
    """Reserve disk space for a file, where the system can.

    Raises
    ------
    OSError
        If there is too little space, or the file cannot be made.
    """
    with path.open("ab") as file:
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not on this file system
                raise


def _dimensions(geometry: Geometry, n: int) -> dict[str, int]:
    return {
        "cutout": n,
        "scale": len(geometry.scales),
        "channel": len(geometry.channels),
        "y": geometry.n_pixels,
        "x": geometry.n_pixels,
        "parameter": len(geometry.parameter_names),
        "space": 3,
    }


def declare(file: h5netcdf.File, geometry: Geometry, n: int, names: list[str]) -> None:
    """Dimensions, coordinates, empty variables and attributes."""
    file.dimensions = _dimensions(geometry, n)
    scale = file.create_variable("scale", ("scale",), data=np.array(geometry.scales))
    scale.attrs.update({"units": "Mpc/h", "long_name": "width of a condition map"})
    text = h5py.string_dtype()
    for name, words in (("channel", geometry.channels), ("parameter", geometry.parameter_names)):
        labels = file.create_variable(name, (name,), dtype=text, data=np.array(words, dtype=object))
        labels.attrs.update({"units": "1", "long_name": f"name of the {name}"})
    for name in names:
        dims, kind, units, meaning = VARIABLES[name]
        variable = file.create_variable(name, dims, dtype=kind)
        variable.attrs.update({"units": units, "long_name": meaning})
    split = file.variables["split"]
    split.attrs["flag_values"] = np.arange(len(SPLITS), dtype="i1")
    split.attrs["flag_meanings"] = " ".join(SPLITS)
    file.attrs.update({name: getattr(geometry, name) for name in (*_GEOMETRY, *_DERIVED)})
    file.attrs.update(_FIXED)
    file.attrs.update(dict(geometry.provenance))


def read_layout(path: Path, file: h5py.File) -> Geometry:
    """Check the layout of an open file and build its geometry."""
    attributes: Mapping[str, Any] = file.attrs
    version = attributes.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema_version is {version}, expected {SCHEMA_VERSION}: not a cutout file of "
            "this version of halo_cm; make it again with `halo-cm simulate`"
        )
    variables = [name for name in VARIABLES if name != "target"]
    needed = [*variables, "scale", "channel", "parameter"]
    missing = [name for name in needed if name not in file]
    missing += [f"attribute {name}" for name in _GEOMETRY if name not in attributes]
    if missing:
        raise DataError(
            f"{path}: missing {', '.join(missing)}; see docs for the layout of the file"
        )
    _check_shapes(path, file)
    layout = {*_GEOMETRY, *_DERIVED, *_FIXED}
    provenance = {
        name: _plain(value)
        for name, value in attributes.items()
        if name not in layout and not name.startswith("_")
    }
    return Geometry(
        scales=tuple(file["scale"][:].tolist()),
        parameter_names=tuple(file["parameter"].asstr()[:].tolist()),
        channels=tuple(file["channel"].asstr()[:].tolist()),
        provenance=provenance,
        **{name: _plain(attributes[name]) for name in _GEOMETRY},
    )


def _check_shapes(path: Path, file: h5py.File) -> None:
    """Every variable has the sizes of its dimensions, and all have the same number of rows."""
    n_pixels = _plain(file.attrs["n_pixels"])
    sizes = {name: len(file[name]) for name in ("scale", "channel", "parameter")}
    sizes.update(cutout=len(file["condition"]), y=n_pixels, x=n_pixels, space=3)
    for name, (dims, *_) in VARIABLES.items():
        expected = tuple(sizes[dim] for dim in dims)
        if name in file and file[name].shape != expected:
            raise DataError(
                f"{path}: {name} has shape {file[name].shape}, expected {expected} {dims} from the "
                "coordinates and n_pixels"
            )


def _plain(value: Any) -> Any:
    """Plain Python number or string of an HDF5 attribute."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value
