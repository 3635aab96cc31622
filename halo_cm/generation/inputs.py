"""What a model cannot take is refused before anything is drawn, in all rows of a generation."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from halo_cm.data.cutouts import read_geometry
from halo_cm.data.ranges import listed_rows, log_mean_mass, warn
from halo_cm.errors import DataError
from halo_cm.generation.catalogue import read_maps
from halo_cm.progress import progress
from halo_cm.sampling import as_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from torch import Tensor

    from halo_cm.containers import FloatArray, Geometry, IntArray
    from halo_cm.emulator import Emulator

#: Rows that are read at a time, and bytes of maps that take long enough for a progress bar.
_BLOCK_ROWS, _MANY_BYTES = 32, 2**30


def check_inputs(
    data: str | os.PathLike[str], catalogue: xr.Dataset, model: Emulator, *, maps: bool
) -> None:
    """Refuse inputs that the model cannot take; warn once of all for which it extrapolates.

    Parameters
    ----------
    data
        Cutout file.
    catalogue
        Its rows, from `halo_cm.generation.catalogue.read_catalogue`.
    model
        What will draw from them.
    maps
        Whether to read all condition maps too, in flat memory.

    Raises
    ------
    DataError
        If a parameter or a map holds NaN, a mass is negative, or a value lies far outside what the
        model was trained on; the message names rows of the file.
    """
    rows, values = catalogue["halo"].values, catalogue["parameters"].values
    broken = rows[~np.isfinite(values).all(1)]
    if len(broken):
        raise DataError(
            f"{data}: parameters hold NaN or infinite values in {listed_rows(broken)}: every "
            "cutout needs all of them"
        )
    columns = dict(zip(read_geometry(data).parameter_names, values.T, strict=True))
    numbers = as_parameters(columns, len(rows), model.geometry.parameter_names)
    trained = model.normalization.trained
    with _naming(data):
        outside = trained.parameters_outside(numbers, rows)
    if maps:
        means = _mean_masses(data, rows, model.geometry)
        with _naming(data):
            outside += trained.masses_outside(means, rows)
    warn(outside)


def check_rows(
    data: str | os.PathLike[str],
    rows: IntArray,
    condition: FloatArray,
    parameters: dict[str, FloatArray],
    model: Emulator,
) -> None:
    """The same for some rows that `read_maps` has read.

    Raises
    ------
    DataError
        If a value lies far outside what the model was trained on; the message names rows of the
        file.
    """
    trained = model.normalization.trained
    numbers = as_parameters(parameters, len(rows), model.geometry.parameter_names)
    with _naming(data):
        outside = trained.parameters_outside(numbers, rows)
        outside += trained.masses_outside(log_mean_mass(torch.from_numpy(condition)), rows)
    warn(outside)


@contextmanager
def _naming(data: str | os.PathLike[str]) -> Iterator[None]:
    """Errors say the file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{data}: {error}") from error


def _mean_masses(data: str | os.PathLike[str], rows: IntArray, expected: Geometry) -> Tensor:
    """`log_mean_mass` of all rows; in memory are a block of maps and the result, (N, S)."""
    n_bytes = 4 * len(rows) * len(expected.scales) * expected.n_pixels**2
    means = []
    with progress("checking the maps", len(rows), show=n_bytes > _MANY_BYTES) as task:
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            condition, _ = read_maps(data, block, expected)
            means.append(log_mean_mass(torch.from_numpy(condition)))
            task.advance(len(block))
    return torch.cat(means)
