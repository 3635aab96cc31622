"""The cutout file: netCDF4 on HDF5, readable by h5py and ``xarray.open_dataset``.

Every array is named as the field of `Cutouts` it holds; ``scale``, ``channel`` and ``parameter``
are coordinates; geometry and provenance are global attributes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from halo_cm.containers import (
    SPLITS,
    Cutouts,
    FloatArray,
    Geometry,
    check_mass,
    check_parameters,
)
from halo_cm.data.layout import VARIABLES, declare, file_size, read_layout, reserve
from halo_cm.errors import DataError

#: Rows that are read at a time where all of them pass through.
_PIECE = 32


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
        self._names = [name for name in VARIABLES if with_target or name != "target"]

    def __enter__(self) -> CutoutWriter:
        self._temporary = self._atomic.__enter__()
        try:
            # HDF5 does not survive a full disk (it may even crash the process): reserve the space
            # first, when a lack of it is a plain error, and hold it while the file is written
            size = file_size(self.geometry, self.n_cutouts, self._names)
            reserve(self._temporary, size)
            with h5netcdf.File(self._temporary, "w") as file:
                declare(file, self.geometry, self.n_cutouts, self._names)
            reserve(self._temporary, size)
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
        self.geometry = read_layout(path, file)
        self._n = len(file["condition"])

    def __len__(self) -> int:
        return self._n

    def has(self, name: str) -> bool:
        """Whether the file holds a variable."""
        return name in self._file

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
        with self._explained(rows):
            arrays: dict[str, Any] = {
                name: self._array(name, rows) if name in self._file else None for name in VARIABLES
            }
            return Cutouts(**arrays, geometry=self.geometry)

    def read_inputs(self, rows: slice) -> tuple[FloatArray, FloatArray]:
        """What a model is conditioned on, in some rows; nothing else of the file is read.

        Returns
        -------
        condition, parameters
            Maps [Msun/h] of shape (n, S, H, W), and numbers of shape (n, P).

        Raises
        ------
        DataError
            If these are damaged or hold negative masses or NaN.
        """
        with self._explained(rows):
            condition, parameters = (self._array(n, rows) for n in ("condition", "parameters"))
            check_mass(condition, "condition")
            check_parameters(parameters)
        return condition, parameters

    def sha256(self, name: str) -> str:
        """Digest of one of the arrays, read in pieces."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _PIECE):
            rows = slice(start, start + _PIECE)
            with self._explained(rows):
                digest.update(np.ascontiguousarray(self._array(name, rows)).tobytes())
        return digest.hexdigest()

    def _array(self, name: str, rows: slice) -> NDArray[Any]:
        return np.asarray(self._file[name][rows])

    @contextmanager
    def _explained(self, rows: slice) -> Iterator[None]:
        """Errors of reading say the file and the rows."""
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path}: damaged ({error}); make the file again") from error
        except DataError as error:
            raise DataError(f"{self._path}, rows {rows.start}:{rows.stop}: {error}") from error


def write_cutouts(path: str | PathLike[str], cutouts: Cutouts) -> None:
    """Write a cutout file atomically.

    The provenance is kept but for ``fingerprint``, which stands for the content of a whole file of
    the embedded universe, while these may be some of its rows, or changed ones. What a file without
    it holds is told by a digest.

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
    geometry, with_target = cutouts.geometry, cutouts.target is not None
    provenance = {k: v for k, v in geometry.provenance.items() if k != "fingerprint"}
    geometry = replace(geometry, provenance=provenance)
    with CutoutWriter(path, geometry, len(cutouts), with_target=with_target) as writer:
        writer.append(cutouts)


def read_cutouts(
    path: str | PathLike[str], split: str | None = None, realization: int | None = None
) -> Cutouts:
    """Read a cutout file.

    Parameters
    ----------
    path
        The file.
    split
        One of `SPLITS`; rows of every split if not given.
    realization
        Only the rows of this random draw at fixed parameters; every draw if not given. In the
        embedded universe test haloes are drawn twice, and 0 takes each of them once.

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
