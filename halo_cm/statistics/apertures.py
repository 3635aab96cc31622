"""Projected masses in circular apertures around the centre of a map."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from halo_cm.containers import FloatArray, check_mass
from halo_cm.errors import DataError

#: Points per pixel side that decide how much of a pixel lies inside a circle.
_SUBPIXELS = 8


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
    if maps.ndim < 2 or maps.shape[-1] != maps.shape[-2]:
        raise DataError(f"maps have shape {maps.shape}, expected (..., n, n)")
    for radius in radii:
        if not 0 < radius <= boxsize / 2:
            raise DataError(
                f"aperture of radius {radius} Mpc/h does not fit into a map of {boxsize} Mpc/h: "
                f"choose radii above 0 and up to {boxsize / 2}"
            )
    check_mass(maps, "maps")
    n_pixels = maps.shape[-1]
    in_pixels = tuple(radius * n_pixels / boxsize for radius in radii)
    masses: FloatArray = maps.reshape(*maps.shape[:-2], -1) @ _inside(n_pixels, in_pixels)
    return masses


@lru_cache(maxsize=16)
def _inside(n_pixels: int, radii: tuple[float, ...]) -> FloatArray:
    """Share of each pixel inside each circle, shape (n_pixels^2, K); radii in pixels."""
    n_points = n_pixels * _SUBPIXELS
    offset = (np.arange(n_points) + 0.5) / _SUBPIXELS - n_pixels / 2
    distance = np.hypot(offset[:, None], offset)
    blocks = (n_pixels, _SUBPIXELS, n_pixels, _SUBPIXELS)
    shares = [(distance < radius).reshape(blocks).mean((1, 3)).ravel() for radius in radii]
    inside = np.stack(shares, axis=-1)
    inside.setflags(write=False)
    return inside
