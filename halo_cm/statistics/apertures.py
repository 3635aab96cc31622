"""Masses within circles and spheres: around the centre of cutouts, and around haloes of a box."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_boxsize, check_finite, check_maps

#: Points per side of a pixel or cell that decide how much of it lies inside a circle or sphere.
_SUBCELLS = {2: 8, 3: 4}


def aperture_masses(maps: FloatArray, boxsize: float, radii: tuple[float, ...]) -> FloatArray:
    """Mass within circles around the centre of each map.

    Pixels on the rim count by the share of their area inside, to 1/64 of a pixel.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (..., n, n).
    boxsize
        Width of a map [Mpc/h].
    radii
        Radii of the K circles [Mpc/h], each at most half the width.

    Returns
    -------
    FloatArray
        Masses [Msun/h], shape (..., K).

    Raises
    ------
    DataError
        If maps are not square or hold NaN or negative masses, or a circle leaves the map.
    """
    maps = np.asarray(maps)
    check_maps(maps, "maps")
    check_boxsize(boxsize)
    _check_radii(np.asarray(radii, np.float64), boxsize)
    n_pixels = maps.shape[-1]
    inside = inside_shares(n_pixels, tuple(float(r) * n_pixels / boxsize for r in radii))
    masses: FloatArray = maps.reshape(*maps.shape[:-2], -1) @ inside
    return masses


def masses_within(maps: FloatArray, boxsize: float, radii: FloatArray) -> FloatArray:
    """Mass within one circle around the centre of each halo's maps, such as its R200c.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h] of N haloes, shape (N, ..., n, n); the maps of one halo, such as its
        channels and samples, share the circle.
    boxsize
        Width of a map [Mpc/h].
    radii
        Radius of each halo's circle [Mpc/h], shape (N,), at most half the width.

    Returns
    -------
    FloatArray
        Projected masses [Msun/h], shape (N, ...).

    Raises
    ------
    DataError
        As for `aperture_masses`, and if there is not one radius for each halo.
    """
    maps, radii = np.asarray(maps), np.asarray(radii, np.float64)
    check_maps(maps, "maps")
    check_boxsize(boxsize)
    if maps.ndim < 3 or radii.shape != maps.shape[:1]:
        raise DataError(
            f"radii have shape {radii.shape}, expected one for each halo of maps of shape "
            f"{maps.shape}, (N, ..., n, n)"
        )
    _check_radii(radii, boxsize)
    n = maps.shape[-1]
    axis = np.arange(n) + 0.5 - n / 2
    masses: list[FloatArray] = [
        np.tensordot(one, _shares([axis, axis], radius * n / boxsize), axes=2)
        for one, radius in zip(maps, radii, strict=True)
    ]
    return np.stack(masses)


def masses_around(
    field: FloatArray, boxsize: float, centres: FloatArray, radii: ArrayLike
) -> FloatArray:
    """Mass within circles or spheres around positions in a periodic map or box.

    Cells on the rim count by the share of them inside, to 1/64 of a cell.

    Parameters
    ----------
    field
        Mass per cell [Msun/h], shape (..., n, n) or (..., n, n, n); the leading axes, such as
        channels, share the circles. Cell i reaches from i to i + 1 cell sizes.
    boxsize
        Width of the map or box [Mpc/h].
    centres
        Positions of H haloes [Mpc/h], shape (H, 2) for maps, in the order of their axes, or (H, 3)
        for boxes.
    radii
        Radii [Mpc/h], shape (K,) for all haloes or (H, K), each below half the width.

    Returns
    -------
    FloatArray
        Masses [Msun/h], shape (H, ..., K).

    Raises
    ------
    DataError
        If the shapes do not go together, a value is NaN, or a circle is as wide as the box.
    """
    field, centres = np.asarray(field), np.asarray(centres, np.float64)
    if centres.ndim != 2 or centres.shape[1] not in (2, 3) or not len(centres):
        raise DataError(f"centres have shape {centres.shape}, expected (H, 2) or (H, 3)")
    n_axes = centres.shape[1]
    check_maps(field, "field", n_axes=n_axes)
    check_boxsize(boxsize)
    check_finite(centres, "centres")
    radii = np.asarray(radii, np.float64)
    if radii.ndim not in (1, 2) or (radii.ndim == 2 and len(radii) != len(centres)):
        raise DataError(
            f"radii have shape {radii.shape}, expected (K,) or (H, K) for {len(centres)} centres"
        )
    _check_radii(radii, boxsize)
    n = field.shape[-1]
    cells = np.broadcast_to(radii, (len(centres), radii.shape[-1])) * n / boxsize
    masses = [_around(field, c, r) for c, r in zip(centres * n / boxsize, cells, strict=True)]
    return np.stack(masses)


def _around(field: FloatArray, centre: FloatArray, radii: FloatArray) -> FloatArray:
    """Mass within ``radii`` around one position, both in cells: (..., n, n) -> (..., K)."""
    n, n_axes = field.shape[-1], len(centre)
    reach = float(radii.max())
    # a sphere of almost half the box may touch the outermost cells from both sides
    index = [np.arange(np.floor(c - reach), np.ceil(c + reach)).astype(int) for c in centre]
    block = field[(slice(None),) * (field.ndim - n_axes) + np.ix_(*(i % n for i in index))]
    offsets = [i + 0.5 - c for i, c in zip(index, centre, strict=True)]
    shares = np.stack([_shares(offsets, radius) for radius in radii], axis=-1)
    masses: FloatArray = np.tensordot(block, shares, axes=n_axes)
    return masses


@lru_cache(maxsize=16)
def inside_shares(n_pixels: int, radii: tuple[float, ...]) -> FloatArray:
    """Share of each pixel inside each circle, shape (n_pixels^2, K); radii in pixels."""
    axis = np.arange(n_pixels) + 0.5 - n_pixels / 2
    inside = np.stack([_shares([axis, axis], radius).ravel() for radius in radii], axis=-1)
    inside.setflags(write=False)
    return inside


def _shares(offsets: list[FloatArray], radius: float) -> FloatArray:
    """Share of each cell within ``radius`` of the origin; offsets of cell centres, in cells."""
    n_axes = len(offsets)
    grids = np.meshgrid(*offsets, indexing="ij", sparse=True)
    distance = np.sqrt(sum(grid**2 for grid in grids))
    shares: FloatArray = (distance < radius).astype(np.float64)
    # a cell reaches sqrt(n_axes) / 2 from its centre
    rim = np.abs(distance - radius) <= np.sqrt(n_axes) / 2
    points = (np.arange(_SUBCELLS[n_axes]) + 0.5) / _SUBCELLS[n_axes] - 0.5
    squared = np.zeros((np.count_nonzero(rim), *[1] * n_axes))
    for axis, (offset, where) in enumerate(zip(offsets, np.nonzero(rim), strict=True)):
        shape = [-1 if i == axis else 1 for i in range(n_axes)]
        squared = squared + (offset[where].reshape(-1, *[1] * n_axes) + points.reshape(shape)) ** 2
    inside = squared < radius**2
    shares[rim] = inside.reshape(len(inside), -1).mean(1)
    return shares


def _check_radii(radii: FloatArray, boxsize: float) -> None:
    if radii.size == 0:
        raise DataError("no aperture is given: pass at least one radius [Mpc/h]")
    wrong = radii[~((radii > 0) & (radii <= boxsize / 2))]
    if wrong.size:
        raise DataError(
            f"aperture of radius {wrong[0]} Mpc/h does not fit into a map of {boxsize} Mpc/h: "
            f"choose radii above 0 and up to {boxsize / 2}"
        )
