"""Power spectrum of a box, periodic or cut out.

For a mesh of n^3 cells, sides of ``boxsize`` and overdensity delta = m / mean(m) - 1 of the mass
per cell m::

    P(k) = V / n^6 * < |sum_x delta(x) exp(-i k x)|^2 >      [(Mpc/h)^3],    V = boxsize^3

where <> is the mean over the modes whose distance from the origin, in units of 2 pi / boxsize,
rounds to the same integer. White noise of variance v thus has P(k) = v V / n^3. A window is treated
as in two dimensions (`halo_cm.statistics.power`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import rfftn

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_boxsize, check_maps
from halo_cm.statistics.mass_assignment import MassAssignment, axis_factors, check_options
from halo_cm.statistics.power import PowerSpectrum
from halo_cm.statistics.windows import Window, axis_transforms, response, window_profile


@dataclass(frozen=True)
class PowerSpectrum3D(PowerSpectrum):
    """Binned power of a box: as `PowerSpectrum`, but power and shot noise are in (Mpc/h)^3."""


def power_spectrum_3d(
    density: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    mass_assignment: MassAssignment | None = None,
    shot_noise: float = 0.0,
) -> PowerSpectrum3D:
    """Power spectrum of the overdensity of a box.

    Takes the memory of two meshes of the precision of ``density``, which is left unchanged.

    Parameters
    ----------
    density
        Mass or number of particles per cell, or any field that is not negative, shape (n, n, n).
    boxsize
        Side of the box [Mpc/h].
    window
        None for a periodic box; ``"hann"`` for a cutout, whose opposite faces do not match.
    mass_assignment
        How particles were put on the mesh: their window is divided out. None leaves it in.
    shot_noise
        White power of the particles to subtract [(Mpc/h)^3], from `poisson_shot_noise`. On the
        mesh it is not white but damped and aliased by the mass assignment, which is taken into
        account (Jing 2005, ApJ 620, 559, eqs. 19-21).

    Returns
    -------
    PowerSpectrum3D
        Bins around multiples of 2 pi / boxsize, below the Nyquist wavenumber.

    Raises
    ------
    DataError
        If the mesh is not a cube, holds NaN or negative values, or is empty.
    """
    check_options(mass_assignment, shot_noise)
    check_boxsize(boxsize)
    modes = _modes(density, window, "density")
    return _spectrum(modes, modes, boxsize, window, mass_assignment, shot_noise)


def cross_power_spectrum_3d(
    first: FloatArray,
    second: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    mass_assignment: MassAssignment | None = None,
) -> PowerSpectrum3D:
    """Real part of the cross power of the overdensities of two boxes; it may be negative.

    Everything else is as in `power_spectrum_3d`. No shot noise is subtracted: different particles
    have none in common.
    """
    check_options(mass_assignment, 0.0)
    check_boxsize(boxsize)
    if np.shape(first) != np.shape(second):
        raise DataError(
            f"the two boxes have {np.shape(first)} and {np.shape(second)} cells: bring them to one "
            "resolution first"
        )
    left, right = _modes(first, window, "first"), _modes(second, window, "second")
    return _spectrum(left, right, boxsize, window, mass_assignment, 0.0)


def _modes(density: FloatArray, window: Window | None, name: str) -> FloatArray:
    """Transform of the windowed overdensity, shape (n, n, n // 2 + 1)."""
    density = np.asarray(density)
    if density.ndim != 3:
        raise DataError(f"{name} has shape {density.shape}, expected (n, n, n)")
    check_maps(density, name, least=4, n_axes=3)
    mean = density.mean(dtype=np.float64)
    if not mean > 0:
        raise DataError(f"{name}: the box holds no mass, so that it has no overdensity")
    if density.max() == density.min():
        # not rounding noise
        return np.zeros((len(density), len(density), len(density) // 2 + 1), complex)
    real = density.dtype.type if density.dtype.kind == "f" else np.float64
    overdensity = density / real(mean)
    profile = window_profile(window, len(density))
    if window is None:
        overdensity -= 1
    else:
        share = profile / profile.sum()
        overdensity -= real(np.einsum("xyz,x,y,z->", overdensity, share, share, share))
        for axis in range(3):
            overdensity *= np.moveaxis(profile[:, None, None], 0, axis).astype(overdensity.dtype)
    modes: FloatArray = rfftn(overdensity, overwrite_x=True)
    return modes


def _spectrum(
    left: FloatArray,
    right: FloatArray,
    boxsize: float,
    window: Window | None,
    mass_assignment: MassAssignment | None,
    shot_noise: float,
) -> PowerSpectrum3D:
    n = len(left)
    n_bins = (n - 1) // 2
    norm = boxsize**3 / n**6
    full, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    row_window, row_noise = axis_factors(full / n, mass_assignment)
    half_window, half_noise = axis_factors(half / n, mass_assignment)
    plane_window = np.outer(row_window, half_window)
    plane_noise = np.outer(row_noise, half_noise)
    white = _white_response(n, window)
    # rfftn drops the modes with negative last index, which mirror those with positive last index;
    # indices 0 and n / 2 are their own mirror images
    count = np.where((half == 0) | (2 * half == n), 1.0, 2.0)
    count = np.broadcast_to(count, (n, len(half))).ravel()
    plane_squared = full[:, None] ** 2 + half**2
    sums = np.zeros((5, n_bins + 2))
    # plane by plane, to save memory
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        product = a.real.astype(np.float64) * b.real + a.imag.astype(np.float64) * b.imag
        kept = row_window[i] * plane_window
        noise = row_noise[i] * plane_noise / kept
        radius = np.sqrt(full[i] ** 2 + plane_squared).ravel()
        index = np.minimum(np.rint(radius).astype(int), n_bins + 1)
        values = ((product / kept).ravel(), noise.ravel(), white(i).ravel(), 1.0, radius)
        for row, value in zip(sums, values, strict=True):
            row += np.bincount(index, count * value, n_bins + 2)
    products, noises, responses, n_modes, radii = sums[:, 1:-1]
    k_fundamental = 2 * np.pi / boxsize
    return PowerSpectrum3D(
        k=radii / n_modes * k_fundamental,
        power=norm * products / responses - shot_noise * noises / n_modes,
        n_modes=n_modes.astype(int),
        k_fundamental=k_fundamental,
        k_nyquist=np.pi * n / boxsize,
        shot_noise=shot_noise,
    )


def _white_response(n: int, window: Window | None) -> Callable[[int], FloatArray]:
    """Response to white noise of the modes of plane i, shape (n, n // 2 + 1)."""
    if window is None:
        ones = np.ones((n, n // 2 + 1))
        return lambda i: ones
    first, second = axis_transforms(window_profile(window, n))
    half = slice(n // 2 + 1)
    planes = np.outer(first, first[half]), np.outer(second, second[half])
    at_zero = float(first[0].real) ** 3, float(second[0].real) ** 3
    return lambda i: response(first[i] * planes[0], second[i] * planes[1], at_zero, n**3)
