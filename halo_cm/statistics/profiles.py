"""Radial profiles of mass around haloes, and of the scatter between samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.apertures import aperture_masses, masses_around
from halo_cm.statistics.checks import check_edges, check_maps, check_members
from halo_cm.statistics.one_point import log_mass


def radial_profile(maps: FloatArray, boxsize: float, edges: ArrayLike) -> FloatArray:
    """Mean surface density in rings around the centre of each map.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (..., n, n).
    boxsize
        Width of a map [Mpc/h].
    edges
        Radii that bound the K rings [Mpc/h], rising from 0 or above to half the width at most,
        shape (K + 1,).

    Returns
    -------
    FloatArray
        [(Msun/h) / (Mpc/h)^2], shape (..., K).

    Raises
    ------
    DataError
        If maps are not square or hold NaN or negative masses, or a ring leaves the map.
    """
    edges = _ring_edges(edges)
    enclosed = aperture_masses(maps, boxsize, tuple(edges[edges > 0].tolist()))
    return _between(enclosed, edges, 2)


def profiles_around(
    field: FloatArray, boxsize: float, centres: FloatArray, edges: ArrayLike
) -> FloatArray:
    """Mean density in shells around positions in a periodic map or box.

    Parameters
    ----------
    field
        Mass per cell [Msun/h], shape (..., n, n) or (..., n, n, n).
    boxsize
        Width of the map or box [Mpc/h].
    centres
        Positions of H haloes [Mpc/h], shape (H, 2) for maps or (H, 3) for boxes.
    edges
        Radii that bound the K shells [Mpc/h], rising from 0 or above, shape (K + 1,).

    Returns
    -------
    FloatArray
        [(Msun/h) / (Mpc/h)^2] of a map or [(Msun/h) / (Mpc/h)^3] of a box, shape (H, ..., K).

    Raises
    ------
    DataError
        As for `masses_around`, and if edges do not rise.
    """
    edges = _ring_edges(edges)
    enclosed = masses_around(field, boxsize, centres, edges[edges > 0])
    return _between(enclosed, edges, np.shape(centres)[1])


def conditional_deviation_by_radius(
    maps: FloatArray, boxsize: float, edges: ArrayLike, pixel_mass: float
) -> FloatArray:
    """Standard deviation between samples of one halo, in rings around the centre.

    The root of the mean, over the pixels of a ring and the haloes, of the variance over members of
    log10(1 + m / m0). For the samples of a model and for exact draws of the truth it should agree
    at every radius; a model that is too sure of itself falls below.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h] of R members for each of N haloes, shape (N, R, ..., n, n).
    boxsize
        Width of a map [Mpc/h].
    edges
        Radii that bound the K rings [Mpc/h], rising from 0 or above, shape (K + 1,).
    pixel_mass
        m0 [Msun/h]; `PIXEL_MASS` has one for each channel.

    Returns
    -------
    FloatArray
        [dex], shape (..., K).

    Raises
    ------
    DataError
        If there are fewer than two members, or as for `radial_profile`.
    """
    maps, edges = np.asarray(maps), _ring_edges(edges)
    if maps.ndim < 4:
        raise DataError(f"maps have shape {maps.shape}, expected (N, R, ..., n, n)")
    check_members(maps, 2)
    check_maps(maps, "maps")
    if not pixel_mass > 0:
        raise DataError(f"pixel_mass must be positive [Msun/h], found {pixel_mass}")
    variance = np.mean([log_mass(m, pixel_mass).var(0, ddof=1) for m in maps], axis=0)
    n_pixels = maps.shape[-1]
    density = radial_profile(variance, boxsize, edges)
    return np.asarray(np.sqrt(density * (boxsize / n_pixels) ** 2))


def _ring_edges(edges: ArrayLike) -> FloatArray:
    found = check_edges(edges, "edges")
    if found[0] < 0:
        raise DataError(f"edges must not be negative [Mpc/h], found {found[0]}")
    return found


def _between(enclosed: FloatArray, edges: FloatArray, n_axes: int) -> FloatArray:
    """Density between ``edges`` from the masses within those above 0."""
    if edges[0] == 0:
        enclosed = np.concatenate([np.zeros((*enclosed.shape[:-1], 1)), enclosed], axis=-1)
    volumes = np.pi * edges**2 if n_axes == 2 else 4 / 3 * np.pi * edges**3
    return np.asarray(np.diff(enclosed, axis=-1) / np.diff(volumes))
