"""The cutout file: netCDF4 on HDF5, readable by h5py and ``xarray.open_dataset``.

Every array is named as the field of `Cutouts` it holds; ``scale``, ``channel`` and ``parameter``
are coordinates; geometry and provenance are global attributes.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

from halo_cm.atomic import atomic_path
from halo_cm.containers import SPLITS, Cutouts, Geometry
from halo_cm.errors import DataError

SCHEMA_VERSION = 1
#: More than the names, coordinates and attributes of a file take.
_LAYOUT_BYTES = 1 << 18

_MAP_DIMS = ("y", "x")
#: Dimensions, type, units and meaning of each variable.
_VARIABLES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "condition": (
        ("cutout", "scale", *_MAP_DIMS),
        "f4",
        "Msun/h",
        "dark-matter-only mass per pixel",
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


class CutoutWriter:
    """Writes a cutout file piece by piece in flat memory; the file appears when it is whole.

    Parameters
    ----------
    path
        The file.
    geometry
        Its geometry; the provenance becomes global attributes.
    n_cutouts
        Number of rows that will be appended.
    with_target
        Whether the rows have targets.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If the block ends without an error before all rows were appended.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        geometry: Geometry,
        n_cutouts: int,
        *,
        with_target: bool = True,
    ) -> None:
        self.geometry, self.n_cutouts, self.n_written = geometry, n_cutouts, 0
        self._atomic = atomic_path(path)
        self._names = [name for name in _VARIABLES if with_target or name != "target"]

    def __enter__(self) -> CutoutWriter:
        self._temporary = self._atomic.__enter__()
        try:
            # HDF5 does not survive a full disk (it may even crash the process): reserve the space
            # first, when a lack of it is a plain error, and hold it while the file is written
            size = _file_size(self.geometry, self.n_cutouts, self._names)
            _reserve(self._temporary, size)
            with h5netcdf.File(self._temporary, "w") as file:
                _declare(file, self.geometry, self.n_cutouts, self._names)
            _reserve(self._temporary, size)
            self._file = h5py.File(self._temporary, "r+")
        except OSError as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if error is None and self.n_written != self.n_cutouts:
            error = ValueError(f"{self.n_written} rows written, expected {self.n_cutouts}")
            self._close(ValueError, error, None)
            raise error
        return self._close(kind, error, trace)

    def append(self, cutouts: Cutouts) -> None:
        """Write the next rows."""
        rows = slice(self.n_written, self.n_written + len(cutouts))
        for name in self._names:
            self._file[name][rows] = getattr(cutouts, name)
        self.n_written = rows.stop

    def _close(self, *details: Any) -> bool | None:
        try:
            self._file.flush()
            size = self._file.id.get_filesize()
            self._file.close()
            os.truncate(self._temporary, size)  # give back what was reserved and not needed
        except (OSError, RuntimeError) as failure:
            if details[1] is None:  # an earlier error tells more than this one
                details = (OSError, OSError(errno.EIO, str(failure)), None)
        return self._atomic.__exit__(*details)


class OpenCutouts:
    """A cutout file that is read row by row.

    Attributes
    ----------
    geometry
        Geometry of its maps.
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path, self._file = path, file
        self.geometry = _geometry(path, file)
        self._n = len(file["condition"])

    def __len__(self) -> int:
        return self._n

    def column(self, name: str) -> NDArray[Any]:
        """One of the arrays with few numbers per cutout, for all rows."""
        return np.asarray(self._file[name][:])

    def read(self, rows: slice) -> Cutouts:
        """Rows of the file.

        Raises
        ------
        DataError
            If the rows are damaged or hold negative masses or NaN.
        """
        try:
            arrays: dict[str, Any] = {
                name: np.asarray(self._file[name][rows]) if name in self._file else None
                for name in _VARIABLES
            }
            return Cutouts(**arrays, geometry=self.geometry)
        except OSError as error:
            raise DataError(f"{self._path}: damaged ({error}); make the file again") from error
        except DataError as error:
            raise DataError(f"{self._path}, rows {rows.start}:{rows.stop}: {error}") from error


def write_cutouts(path: str | PathLike[str], cutouts: Cutouts) -> None:
    """Write a cutout file atomically.

    Parameters
    ----------
    path
        The file; it is replaced if it exists.
    cutouts
        Its rows.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with_target = cutouts.target is not None
    with CutoutWriter(path, cutouts.geometry, len(cutouts), with_target=with_target) as writer:
        writer.append(cutouts)


def read_cutouts(
    path: str | PathLike[str], split: str | None = None, realization: int | None = 0
) -> Cutouts:
    """Read a cutout file.

    Parameters
    ----------
    path
        The file.
    split
        One of `SPLITS`; rows of every split if not given.
    realization
        Rows of one random draw at fixed parameters; None keeps every repeated draw.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another layout, or no row is chosen.
    """
    if split is not None and split not in SPLITS:
        raise DataError(f"split {split!r} is unknown, expected one of {', '.join(SPLITS)}")
    with open_cutouts(path) as file:
        chosen = np.ones(len(file), bool)
        if split is not None:
            chosen &= file.column("split") == SPLITS.index(split)
        if realization is not None:
            chosen &= file.column("realization") == realization
        rows = np.flatnonzero(chosen)
        if not len(rows):
            raise DataError(
                f"{path}: none of its {len(file)} cutouts has split {split!r} and realization "
                f"{realization}; make the file with `halo-cm simulate`, or choose other rows"
            )
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        cutouts = file.read(span)
    return cutouts if chosen[span].all() else cutouts.select(chosen[span])


def read_geometry(path: str | PathLike[str]) -> Geometry:
    """Geometry of a cutout file, without its maps.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another layout.
    """
    with open_cutouts(path) as file:
        return file.geometry


@contextmanager
def open_cutouts(path: str | PathLike[str]) -> Iterator[OpenCutouts]:
    """Open a cutout file to read it in pieces.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another layout.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; make one with `halo-cm simulate --out {path}`")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path}: not a whole HDF5 file ({error}); it may be truncated: make it again or copy "
            "it again"
        ) from error
    with file:
        yield OpenCutouts(path, file)


def software_versions() -> dict[str, str]:
    """Versions that decide the content of a file, as attributes of `Geometry.provenance`."""
    versions = {name: _version(name) for name in ("numpy", "scipy", "torch", "camb")}
    return {"halo_cm_version": _version("halo_cm"), "versions": json.dumps(versions)}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _file_size(geometry: Geometry, n: int, names: list[str]) -> int:
    """Upper bound of the size of a file [bytes]."""
    sizes = _dimensions(geometry, n)
    items = [(math.prod(sizes[dim] for dim in _VARIABLES[v][0]), _VARIABLES[v][1]) for v in names]
    return _LAYOUT_BYTES + sum(count * np.dtype(kind).itemsize for count, kind in items)


def _reserve(path: Path, size: int) -> None:
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


def _declare(file: h5netcdf.File, geometry: Geometry, n: int, names: list[str]) -> None:
    """Dimensions, coordinates, empty variables and attributes."""
    file.dimensions = _dimensions(geometry, n)
    scale = file.create_variable("scale", ("scale",), data=np.array(geometry.scales))
    scale.attrs.update({"units": "Mpc/h", "long_name": "width of a condition map"})
    text = h5py.string_dtype()
    for name, words in (("channel", geometry.channels), ("parameter", geometry.parameter_names)):
        labels = file.create_variable(name, (name,), dtype=text, data=np.array(words, dtype=object))
        labels.attrs.update({"units": "1", "long_name": f"name of the {name}"})
    for name in names:
        dims, kind, units, meaning = _VARIABLES[name]
        variable = file.create_variable(name, dims, dtype=kind)
        variable.attrs.update({"units": units, "long_name": meaning})
    split = file.variables["split"]
    split.attrs["flag_values"] = np.arange(len(SPLITS), dtype="i1")
    split.attrs["flag_meanings"] = " ".join(SPLITS)
    file.attrs.update({name: getattr(geometry, name) for name in (*_GEOMETRY, *_DERIVED)})
    file.attrs.update(_FIXED)
    file.attrs.update(dict(geometry.provenance))


def _geometry(path: Path, file: h5py.File) -> Geometry:
    """Check the layout of an open file and build its geometry."""
    attributes: Mapping[str, Any] = file.attrs
    version = attributes.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema_version is {version}, expected {SCHEMA_VERSION}: not a cutout file of "
            "this version of halo_cm; make it again with `halo-cm simulate`"
        )
    variables = [name for name in _VARIABLES if name != "target"]
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
    for name, (dims, *_) in _VARIABLES.items():
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
