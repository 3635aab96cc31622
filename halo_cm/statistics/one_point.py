"""Pixels of maps: the distribution of their logarithmic masses, occupied and isolated ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_edges, check_maps

#: Mass m0 of log10(1 + m / m0) for pixels of each channel [Msun/h]: below the masses of occupied
#: pixels, so that the logarithm resolves them, and above the noise of empty ones.
PIXEL_MASS = {"dm": 1e9, "gas": 1e9, "star": 1e6}
#: A star pixel counts as occupied above this mass [Msun/h], about that of one stellar particle of
#: a large hydrodynamic simulation.
OCCUPIED_MASS = 1e6
#: A star pixel above this mass [Msun/h] is bright: what a galaxy spreads over its neighbours too.
BRIGHT_MASS = 1e9
#: Occupied neighbours, of eight, that an isolated pixel may have.
_FEW_NEIGHBOURS = 1
#: Edges of the fixed bins of `one_point_pdf` in log10(1 + m / m0) [dex]: from empty pixels to ten
#: million times m0, 0.1 dex wide.
PDF_EDGES = tuple(i / 10 for i in range(71))


@dataclass(frozen=True)
class OnePointPDF:
    """Distribution of x = log10(1 + m / m0) over the pixels of each map.

    Attributes
    ----------
    edges
        Of K bins [dex], shape (K + 1,); each holds its lower edge, the last one both.
    density
        Share of the pixels per dex, shape (..., K): its integral is 1 if no pixel is outside.
    outside
        Share of the pixels outside all bins, shape (...).
    occupied
        Share of the pixels above the mass of an occupied one, shape (...).
    """

    edges: FloatArray
    density: FloatArray
    outside: FloatArray
    occupied: FloatArray


def log_mass(maps: FloatArray, pixel_mass: float) -> FloatArray:
    """log10(1 + m / m0), finite in empty pixels; ``pixel_mass`` is m0 [Msun/h]."""
    return np.asarray(np.log10(1 + maps / pixel_mass))


def occupied_fraction(maps: FloatArray, threshold: float = OCCUPIED_MASS) -> FloatArray:
    """Share of pixels above ``threshold`` [Msun/h]: (..., n, n) -> (...)."""
    return np.asarray((maps > threshold).mean((-2, -1)))


def isolated_pixels(
    maps: FloatArray, bright: float = BRIGHT_MASS, occupied: float = OCCUPIED_MASS
) -> IntArray:
    """Number of bright pixels that have at most one occupied pixel among their eight neighbours.

    Galaxies of the embedded universe hardly ever fill a single pixel of 98 kpc/h (one of 195 kpc/h
    sometimes); a network that guesses each pixel by itself makes speckles. Peaks count them too,
    among galaxies.

    Parameters
    ----------
    maps
        Stellar mass per pixel [Msun/h], shape (..., n, n). Pixels of the edge, whose neighbours are
        not all known, are not counted.
    bright, occupied
        Masses above which a pixel is bright, and above which a neighbour is occupied [Msun/h].

    Returns
    -------
    IntArray
        Shape (...).

    Raises
    ------
    DataError
        If maps are not square of at least 3 x 3 pixels, or hold NaN or negative masses.
    """
    maps = np.asarray(maps)
    check_maps(maps, "maps", least=3)
    ring = np.ones((3, 3), np.int8)
    ring[1, 1] = 0
    neighbours = convolve(
        (maps > occupied).astype(np.int8),
        ring.reshape((1,) * (maps.ndim - 2) + ring.shape),
        mode="constant",
    )
    isolated = (maps > bright) & (neighbours <= _FEW_NEIGHBOURS)
    return np.asarray(isolated[..., 1:-1, 1:-1].sum((-2, -1)))


def one_point_pdf(
    maps: FloatArray,
    pixel_mass: float,
    *,
    edges: FloatArray | tuple[float, ...] = PDF_EDGES,
    occupied_mass: float = OCCUPIED_MASS,
) -> OnePointPDF:
    """Distribution of the logarithmic masses of the pixels of each map.

    Average it over maps; the distribution of averaged maps is another one.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (..., n, n). The distribution depends on the size of pixels.
    pixel_mass
        m0 of log10(1 + m / m0) [Msun/h]; `PIXEL_MASS` has one for each channel.
    edges
        Of the K bins in log10(1 + m / m0) [dex], rising, shape (K + 1,).
    occupied_mass
        Above it a pixel counts as occupied [Msun/h].

    Raises
    ------
    DataError
        If maps are not square, hold NaN or negative masses, or edges do not rise.
    """
    maps = np.asarray(maps)
    check_maps(maps, "maps")
    edges = check_edges(edges, "edges")
    if not pixel_mass > 0:
        raise DataError(f"pixel_mass must be positive [Msun/h], found {pixel_mass}")
    n_pixels, n_bins = maps.shape[-1] ** 2, len(edges) - 1
    leading = maps.shape[:-2]
    pixels = maps.reshape(-1, n_pixels)
    counts = np.array([np.histogram(log_mass(m, pixel_mass), edges)[0] for m in pixels])
    share = (counts / n_pixels).reshape(*leading, n_bins)
    return OnePointPDF(
        edges=edges,
        density=share / np.diff(edges),
        outside=np.maximum(1 - share.sum(-1), 0),
        occupied=occupied_fraction(maps, occupied_mass),
    )
