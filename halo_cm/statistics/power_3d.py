"""Power spectrum of a periodic box.

For a mesh of n^3 cells, sides of ``boxsize`` and overdensity delta = m / mean(m) - 1 of the mass
per cell m::

    P(k) = V / n^6 * < |sum_x delta(x) exp(-i k x)|^2 >      [(Mpc/h)^3],    V = boxsize^3

where <> is the mean over the modes whose distance from the origin, in units of 2 pi / boxsize,
rounds to the same integer. White noise of variance v thus has P(k) = v V / n^3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.fft import rfftn

from halo_cm.containers import FloatArray, check_mass
from halo_cm.errors import DataError
from halo_cm.statistics.power import PowerSpectrum

MassAssignment = Literal["NGP", "CIC", "TSC"]

#: Order p of the window W(k) = prod_i sinc(k_i cell_size / 2)^p (Hockney & Eastwood 1981).
_ORDERS: dict[MassAssignment, int] = {"NGP": 1, "CIC": 2, "TSC": 3}


@dataclass(frozen=True)
class PowerSpectrum3D(PowerSpectrum):
    """Binned power of a box: as `PowerSpectrum`, but ``power`` is in (Mpc/h)^3.

    Attributes
    ----------
    shot_noise
        White power of the particles that was subtracted [(Mpc/h)^3].
    """

    shot_noise: float


def power_spectrum_3d(
    density: FloatArray,
    boxsize: float,
    *,
    mass_assignment: MassAssignment | None = None,
    shot_noise: float = 0.0,
) -> PowerSpectrum3D:
    """Power spectrum of the overdensity of a periodic box.

    Takes the memory of two meshes of the precision of ``density``, which is left unchanged.

    Parameters
    ----------
    density
        Mass or number of particles per cell, or any field that is not negative, shape (n, n, n).
    boxsize
        Side of the box [Mpc/h].
    mass_assignment
        How particles were put on the mesh: their window is divided out. None leaves it in.
    shot_noise
        White power of the particles to subtract [(Mpc/h)^3]: boxsize^3 sum(m^2) / sum(m)^2, that is
        boxsize^3 / N for N equal ones. On the mesh it is not white but damped and aliased by the
        mass assignment, which is taken into account (Jing 2005, ApJ 620, 559, eqs. 19-21).

    Returns
    -------
    PowerSpectrum3D
        Bins around multiples of 2 pi / boxsize, below the Nyquist wavenumber.

    Raises
    ------
    DataError
        If the mesh is not a cube, holds NaN or negative values, or is empty.
    """
    density = np.asarray(density)
    _check(density, boxsize, mass_assignment, shot_noise)
    n = len(density)
    mean = density.mean(dtype=np.float64)
    if not mean > 0:
        raise DataError("density: the box holds no mass, so that it has no overdensity")
    overdensity = (
        density / density.dtype.type(mean) if density.dtype.kind == "f" else density / mean
    )
    overdensity -= 1
    modes = rfftn(overdensity, overwrite_x=True)
    del overdensity
    total, n_modes, radius = _bin_modes(modes, boxsize**3 / n**6, mass_assignment, shot_noise)
    k_fundamental = 2 * np.pi / boxsize
    return PowerSpectrum3D(
        k=radius / n_modes * k_fundamental,
        power=total / n_modes,
        n_modes=n_modes.astype(int),
        k_fundamental=k_fundamental,
        k_nyquist=np.pi * n / boxsize,
        shot_noise=shot_noise,
    )


def _bin_modes(
    modes: FloatArray, norm: float, mass_assignment: MassAssignment | None, shot_noise: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sums of power, of modes and of radii in each bin, plane by plane to save memory."""
    n = len(modes)
    n_bins = (n - 1) // 2
    full, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    window, noise = _axis_factors(full / n, mass_assignment)
    half_window, half_noise = _axis_factors(half / n, mass_assignment)
    # rfftn drops the modes with negative last index, which mirror those with positive last index;
    # indices 0 and n / 2 are their own mirror images
    count = np.where((half == 0) | (2 * half == n), 1.0, 2.0)
    count = np.broadcast_to(count, (n, len(half))).ravel()
    plane_window, plane_noise = np.outer(window, half_window), np.outer(noise, half_noise)
    plane_squared = full[:, None] ** 2 + half**2
    sums = np.zeros((3, n_bins + 2))
    for i, plane in enumerate(modes):
        power = plane.real.astype(np.float64) ** 2 + plane.imag.astype(np.float64) ** 2
        power = norm * power - shot_noise * noise[i] * plane_noise
        power /= window[i] * plane_window
        radius = np.sqrt(full[i] ** 2 + plane_squared).ravel()
        index = np.minimum(np.rint(radius).astype(int), n_bins + 1)
        for row, weight in zip(sums, (power.ravel(), 1.0, radius), strict=True):
            row += np.bincount(index, count * weight, n_bins + 2)
    total, n_modes, radii = sums[:, 1:-1]
    return total, n_modes, radii


def _axis_factors(
    cycles: FloatArray, mass_assignment: MassAssignment | None
) -> tuple[FloatArray, FloatArray]:
    """Factors of one axis: the squared window, and shot noise on the mesh over white shot noise.

    ``cycles`` is k cell_size / (2 pi), between -1/2 and 1/2.
    """
    one = np.ones(len(cycles))
    if mass_assignment is None:
        return one, one
    s = np.sin(np.pi * cycles) ** 2
    noise = {"NGP": one, "CIC": 1 - 2 / 3 * s, "TSC": 1 - s + 2 / 15 * s**2}[mass_assignment]
    return np.sinc(cycles) ** (2 * _ORDERS[mass_assignment]), noise


def _check(
    density: FloatArray, boxsize: float, mass_assignment: str | None, shot_noise: float
) -> None:
    if density.ndim != 3 or len(set(density.shape)) != 1 or len(density) < 4:
        raise DataError(
            f"density has shape {density.shape}, expected (n, n, n) with at least 4 cells a side"
        )
    if not boxsize > 0:
        raise DataError(f"boxsize must be the side of the box [Mpc/h], found {boxsize}")
    if mass_assignment is not None and mass_assignment not in _ORDERS:
        raise DataError(
            f"mass_assignment {mass_assignment!r} is unknown, expected None or one of "
            f"{', '.join(_ORDERS)}"
        )
    if not shot_noise >= 0:
        raise DataError(f"shot_noise must not be negative [(Mpc/h)^3], found {shot_noise}")
    check_mass(density, "density")
