"""Bispectra of projected mass maps, equilateral and squeezed.

The estimator sums over all closed triangles of modes by Fourier transforms (Scoccimarro 2000, ApJ
544, 597, eqs. 14-16; Watkinson et al. 2017, MNRAS 472, 2436). With d_i(x) and I_i(x) the inverse
transforms of the modes delta(k) of ring i and of its mask::

    B(k1, k2, k3) = boxsize^4 / n^6 * sum_x d_1 d_2 d_3 / sum_x I_1 I_2 I_3      [(Mpc/h)^4]

which is the mean of delta(k1) delta(k2) delta(k3) over the triangles k1 + k2 + k3 = 0, exactly, as
long as no sum of three modes leaves the mesh; rings that would are left out. A window w is divided
out as mean(w^3), and as mean(w^2) from the powers of the rings, which holds for structure smaller
than the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics.modes import Empty, OverdensityModes, mode_radius
from halo_cm.statistics.windows import Window, window_profile

Triangles = Literal["equilateral", "squeezed"]


@dataclass(frozen=True)
class Bispectrum:
    """Binned bispectrum of maps: K rings of wavenumbers.

    Attributes
    ----------
    k, k_long
        Mean wavenumber of the modes of each ring [h/Mpc], shape (K,), and that of the third side,
        shape (K,): ``k`` for equilateral triangles, the lowest ring for squeezed ones.
    bispectrum
        B(k_long, k, k) [(Mpc/h)^4], shape (..., K).
    power, power_long
        Power of the modes of the two rings [(Mpc/h)^2], shape (..., K).
    n_triangles
        Number of ordered closed triples of modes, shape (K,).
    """

    k: FloatArray
    k_long: FloatArray
    bispectrum: FloatArray
    power: FloatArray
    power_long: FloatArray
    n_triangles: IntArray

    def averaged(self) -> Bispectrum:
        """Averaged over all maps: arrays of shape (K,)."""
        means = {
            name: getattr(self, name).reshape(-1, len(self.k)).mean(0)
            for name in ("bispectrum", "power", "power_long")
        }
        return replace(self, **means)


def bispectrum_2d(
    maps: FloatArray,
    boxsize: float,
    *,
    triangles: Triangles = "equilateral",
    ring_width: int = 1,
    window: Window | None = None,
    empty: Empty = "raise",
) -> Bispectrum:
    """Bispectrum of the overdensity of each map.

    Parameters
    ----------
    maps
        Mass per pixel, or any field that is not negative, shape (..., n, n).
    boxsize
        Width of a map [Mpc/h].
    triangles
        ``"equilateral"``: all three sides in one ring; ``"squeezed"``: one side in the lowest ring,
        the others in one ring above it.
    ring_width
        Width of a ring in units of 2 pi / boxsize; ring 0 starts at the fundamental mode.
    window
        None for periodic maps; ``"hann"`` for cutouts, whose opposite edges do not match.
    empty
        What to do with a map without mass: raise an error, or give it no structure.

    Raises
    ------
    DataError
        If maps are not square, hold NaN or negative values, are empty, or are too small to hold a
        triangle.
    """
    if triangles not in ("equilateral", "squeezed"):
        raise DataError(
            f"triangles {triangles!r} are unknown, expected 'equilateral' or 'squeezed'"
        )
    if ring_width < 1:
        raise DataError(f"ring_width must be at least 1, found {ring_width}")
    modes = OverdensityModes(maps, boxsize, window, empty, "maps")
    n = modes.n_pixels
    rings = _rings(n, ring_width, triangles)
    squeezed = triangles == "squeezed"
    profile = window_profile(window, n)
    # of the window and of its square and cube, the mean over the map
    kept_2, kept_3 = (np.mean(profile**power) ** 2 for power in (2, 3))
    cubes, squares, long_squares = (np.empty((len(modes), len(rings.triples))) for _ in range(3))
    for part in modes.parts():
        fields = modes[part]
        long = rings.field(fields, 0) if squeezed else None
        for i in range(len(rings.triples)):
            short = rings.field(fields, i + squeezed)
            third = short if long is None else long
            cubes[part, i] = (short**2 * third).sum((-2, -1))
            squares[part, i] = (short**2).sum((-2, -1))
            long_squares[part, i] = (third**2).sum((-2, -1))
    first = 1 if squeezed else 0
    pairs, long_pairs = rings.pairs[first:], rings.pairs[:1] if squeezed else rings.pairs
    norm = boxsize**2 / n**4 / kept_2
    shape = (*modes.leading, -1)
    radius = rings.radius * 2 * np.pi / boxsize
    return Bispectrum(
        k=radius[first:],
        k_long=np.full(len(pairs), radius[0]) if squeezed else radius,
        bispectrum=(boxsize**4 / n**6 / kept_3 * cubes / rings.triples).reshape(shape),
        power=(norm * squares / pairs).reshape(shape),
        power_long=(norm * long_squares / long_pairs).reshape(shape),
        n_triangles=np.rint(rings.triples * n**4).astype(int),
    )


def reduced_bispectrum(bispectrum: Bispectrum) -> FloatArray:
    """Q = B / (P1 P2 + P2 P3 + P3 P1), of sides k, k and k_long; shape (..., K).

    Without dimension, and 2 f for the local quadratic field g + f (g^2 - <g^2>) of a Gaussian g.
    Average over maps first (`Bispectrum.averaged`).

    Raises
    ------
    DataError
        If some ring has no power, as in an empty or constant map.
    """
    short, long = bispectrum.power, bispectrum.power_long
    below = 2 * short * long + short**2
    if not (below > 0).all():
        raise DataError(
            f"{int((~(below > 0)).sum())} of {below.size} triangle bins have no power, as in a "
            "constant or empty map; such a field has no reduced bispectrum"
        )
    return np.asarray(bispectrum.bispectrum / below)


@dataclass(frozen=True)
class _Rings:
    """Rings of modes: mean radius (R,), masks (R, n, n // 2 + 1), and sums over I(x).

    ``pairs`` (R,) is the sum of I^2, ``triples`` that of I^2 I_third for each bin of triangles.
    """

    radius: FloatArray
    masks: NDArray[np.bool_]
    pairs: FloatArray
    triples: FloatArray

    def field(self, modes: FloatArray, ring: int) -> FloatArray:
        """Inverse transform of the modes of one ring."""
        n = self.masks.shape[1]
        field: FloatArray = irfft2(modes * self.masks[ring], s=(n, n), overwrite_x=True)
        return field


@lru_cache(maxsize=8)
def _rings(n: int, width: int, triangles: Triangles) -> _Rings:
    radius, count = mode_radius(n)
    rounded = np.rint(radius).astype(int)
    # a mode of a ring that rounds to r has no component above r, and no component of a sum of three
    # modes may reach n, where it would alias into a triangle
    largest = (n - 1) // 3 if triangles == "equilateral" else (n - 1 - width) // 2
    n_rings = min(largest, (n - 1) // 2) // width
    least = 1 if triangles == "equilateral" else 2
    if n_rings < least:
        raise DataError(
            f"maps of {n} pixels hold no {triangles} triangles of rings of width {width}: use "
            "larger maps or narrower rings"
        )
    masks = np.stack([(rounded - 1) // width == i for i in range(n_rings)])
    fields = irfft2(masks.astype(complex), s=(n, n))
    mean = [(radius * count * m).sum() / (count * m).sum() for m in masks]
    if triangles == "equilateral":
        triples = (fields**3).sum((-2, -1))
    else:
        triples = (fields[1:] ** 2 * fields[0]).sum((-2, -1))
    return _Rings(np.array(mean), masks, (fields**2).sum((-2, -1)), triples)
