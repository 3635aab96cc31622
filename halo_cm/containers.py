"""Named containers that pass along the pipeline; each checks its physical limits when built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halo_cm.errors import DataError
from halo_cm.units import CHANNELS

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

#: Values of `Cutouts.split`.
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Geometry:
    """What the pixels of a set of cutouts mean.

    Attributes
    ----------
    boxsize
        Side of the periodic boxes [Mpc/h].
    scales
        Widths of the condition maps [Mpc/h]; the first is the field of view of the targets.
    depth
        Projection depth [Mpc/h].
    n_pixels
        Pixels along each side.
    parameter_names
        Names of the columns of `Cutouts.parameters`.
    omega_b
        Baryon density Omega_b, for the mean baryon fraction Omega_b / Omega_m.
    redshift
        Redshift of the fields.
    channels
        Names of the target channels.
    provenance
        How the data were made (preset, seed, versions): plain strings and numbers.
    """

    boxsize: float
    scales: tuple[float, ...]
    depth: float
    n_pixels: int
    parameter_names: tuple[str, ...]
    omega_b: float
    redshift: float = 0.0
    channels: tuple[str, ...] = CHANNELS
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("boxsize", "depth", "n_pixels", "omega_b"):
            value = getattr(self, name)
            if not value > 0:
                raise DataError(f"geometry: {name} must be positive, found {value}")
        if list(self.scales) != sorted(self.scales) or not self.scales or self.scales[0] <= 0:
            raise DataError(f"geometry: scales must be positive and rising, found {self.scales}")

    @property
    def field_of_view(self) -> float:
        """Width of a cutout [Mpc/h]."""
        return self.scales[0]

    @property
    def cell_size(self) -> float:
        """Width of a pixel [Mpc/h]."""
        return self.field_of_view / self.n_pixels

    @property
    def pixel_area(self) -> float:
        """Area of a pixel [(Mpc/h)^2]."""
        return self.cell_size**2


@dataclass(frozen=True)
class Cutouts:
    """Maps around haloes, with the truth beside them where it is known (N cutouts).

    Attributes
    ----------
    condition
        DMO mass per pixel [Msun/h], shape (N, S, H, W): the field of view, then wider context
        maps, each the mean over the pixels of the field of view that it covers.
    target
        Hydrodynamic mass per pixel [Msun/h], shape (N, C, H, W), or None.
    parameters
        Conditioning numbers, shape (N, P), named by ``geometry.parameter_names``.
    halo_mass, halo_radius, halo_position
        M200c [Msun/h], R200c [Mpc/h] and centre [Mpc/h] of shapes (N,), (N,), (N, 3).
    box, halo, axis, draw, realization
        Integers of shape (N,): the simulation box, the halo's index in it, the axis of projection,
        the index of the parameter vector, and the index of the random draw at fixed parameters.
    split
        Index into `SPLITS`, shape (N,): boxes are never shared between splits.
    """

    condition: FloatArray
    target: FloatArray | None
    parameters: FloatArray
    halo_mass: FloatArray
    halo_radius: FloatArray
    halo_position: FloatArray
    box: IntArray
    halo: IntArray
    axis: IntArray
    draw: IntArray
    realization: IntArray
    split: IntArray
    geometry: Geometry

    def __post_init__(self) -> None:
        geometry, n = self.geometry, len(self.condition)
        side = (geometry.n_pixels, geometry.n_pixels)
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(self.row_names(), (n,))
        expected["condition"] = (n, len(geometry.scales), *side)
        expected["target"] = (n, len(geometry.channels), *side)
        expected["parameters"] = (n, len(geometry.parameter_names))
        expected["halo_position"] = (n, 3)
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise DataError(f"{name} has shape {value.shape}, expected {shape}")
        for name in ("condition", "target"):
            check_mass(getattr(self, name), name)
        check_parameters(self.parameters)

    def __len__(self) -> int:
        return len(self.condition)

    @classmethod
    def row_names(cls) -> tuple[str, ...]:
        """Names of the arrays with one row per cutout."""
        return tuple(f.name for f in fields(cls) if f.name != "geometry")

    def select(self, which: NDArray[Any] | slice) -> Cutouts:
        """Rows chosen by a mask, an index array or a slice."""
        return self._map_rows(lambda rows: rows[which])

    def in_split(self, name: str, realization: int | None = None) -> Cutouts:
        """Rows of one split, and of one random draw at fixed parameters if its number is given."""
        chosen = self.split == SPLITS.index(name)
        if realization is not None:
            chosen &= self.realization == realization
        return self.select(chosen)

    def _map_rows(self, transform: Callable[[NDArray[Any]], NDArray[Any]]) -> Cutouts:
        changed: dict[str, Any] = {}
        for name in self.row_names():
            value = getattr(self, name)
            changed[name] = None if value is None else transform(value)
        return replace(self, **changed)


def check_parameters(parameters: FloatArray) -> None:
    """Raise a `DataError` if a parameter is NaN or infinite."""
    if not np.isfinite(parameters).all():
        raise DataError("parameters hold NaN or infinite values: every cutout needs all of them")


def check_mass(maps: FloatArray | None, name: str) -> None:
    """Raise a `DataError` that counts NaN, infinite or negative masses in ``maps``."""
    if maps is None:
        return
    broken = ~np.isfinite(maps)
    if broken.any():
        where = tuple(int(i) for i in np.argwhere(broken)[0])
        raise DataError(
            f"{name}: {int(broken.sum())} pixels are NaN or infinite, the first at index {where}; "
            "masses per pixel must be finite [Msun/h]"
        )
    if maps.size and maps.min() < 0:
        where = tuple(int(i) for i in np.unravel_index(np.argmin(maps), maps.shape))
        raise DataError(
            f"{name}: the smallest mass is {maps.min():.3g} Msun/h at index {where}; masses per "
            "pixel must not be negative (was a logarithm or an overdensity given?)"
        )
