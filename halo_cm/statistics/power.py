"""Power spectra of projected mass maps.

For a map of mass per pixel m(x) on n x n pixels of area A, a window w(x) (1 if periodic) and the
overdensity delta = (m - mean_w) / mean(m) of that map, with mean_w = sum(w m) / sum(w)::

    P(k) = A / n^2 * < |sum_x w(x) delta(x) exp(-i k x)|^2 > / < r(k) >      [(Mpc/h)^2]

where <> is the mean over the modes whose distance from the origin, in units of 2 pi / boxsize,
rounds to the same integer.

The window weighs the mean that is subtracted, so that sum(w delta) = 0: with the plain mean, a halo
in the middle of the window leaves a rest, which the window spreads over the first bin. The
response r(k) is what white noise of variance 1 has in the place of P(k) / A, to first order in the
noise. With W and V the transforms of w and w^2::

    r(k) = [V(0) - 2 Re(conj(W(k)) V(k)) / W(0) + V(0) |W(k)|^2 / W(0)^2] / n^2

The first term is mean(w^2), what the window takes away; the others are what the subtracted mean
takes from the first bin. White noise of variance v thus has P(k) = v A in every bin, and a map
times a constant has the power of the map. Without a window r(k) = 1.

Particles put on the mesh by NGP, CIC or TSC leave their window in P(k), and shot noise. Both stay
unless ``mass_assignment`` and ``shot_noise`` are given; they hold for projected particles as for a
box, with the window of the two axes of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics.mass_assignment import MassAssignment, axis_factors, check_options
from halo_cm.statistics.modes import Empty, OverdensityModes, mode_radius
from halo_cm.statistics.windows import Window, axis_transforms, response, window_profile


@dataclass(frozen=True)
class PowerSpectrum:
    """Binned power of maps.

    Attributes
    ----------
    k
        Mean wavenumber of the modes of each bin [h/Mpc], shape (n_bins,).
    power
        Mean power of the modes of each bin [(Mpc/h)^2], shape (..., n_bins).
    n_modes
        Number of modes in each bin, shape (n_bins,); k and -k, which carry the same power in a real
        map, are both counted.
    k_fundamental, k_nyquist
        2 pi / boxsize and pi / cell_size [h/Mpc]. Bin i holds the modes around
        ``(i + 1) * k_fundamental``; the last bin lies below ``k_nyquist``.
    shot_noise
        White power of the particles that was subtracted [(Mpc/h)^2].
    """

    k: FloatArray
    power: FloatArray
    n_modes: IntArray
    k_fundamental: float
    k_nyquist: float
    shot_noise: float = 0.0

    def bins_up_to(self, fraction: float) -> int:
        """Number of bins centred at or below ``fraction`` of the Nyquist wavenumber."""
        last = int(np.floor(fraction * self.k_nyquist / self.k_fundamental + 1e-9))
        return min(last, len(self.k))


def power_spectrum_2d(
    maps: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    empty: Empty = "raise",
    mass_assignment: MassAssignment | None = None,
    shot_noise: float = 0.0,
) -> PowerSpectrum:
    """Power spectrum of the overdensity of each map.

    Parameters
    ----------
    maps
        Mass per pixel, or any field that is not negative, shape (..., n, n).
    boxsize
        Width of a map [Mpc/h].
    window
        None for periodic maps; ``"hann"`` for cutouts, whose opposite edges do not match.
    empty
        What to do with a map without mass, which has no overdensity: raise an error, or give it
        the power zero of a map without structure. The power of a constant map is zero.
    mass_assignment
        How particles were put on the pixels: their window is divided out. None leaves it in.
    shot_noise
        White power to subtract [(Mpc/h)^2], from `poisson_shot_noise`. On the mesh it is damped
        and aliased by the mass assignment (Jing 2005), which is taken into account.

    Raises
    ------
    DataError
        If maps are not square, hold NaN or negative values, or are empty.
    """
    check_options(mass_assignment, shot_noise)
    modes = OverdensityModes(maps, boxsize, window, empty, "maps")
    return _spectrum(modes, modes, window, mass_assignment, shot_noise)


def cross_power_spectrum_2d(
    first: FloatArray,
    second: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    empty: Empty = "raise",
    mass_assignment: MassAssignment | None = None,
) -> PowerSpectrum:
    """Real part of the cross power of the overdensities of two sets of maps.

    The leading axes of ``first`` and ``second`` are broadcast against each other; everything else
    is as in `power_spectrum_2d`. The cross power may be negative. No shot noise is subtracted:
    different particles have none in common.
    """
    check_options(mass_assignment, 0.0)
    if np.shape(first)[-2:] != np.shape(second)[-2:]:
        raise DataError(
            f"the maps of the two sets have {np.shape(first)[-2:]} and {np.shape(second)[-2:]} "
            "pixels: bring them to one resolution first"
        )
    first, second = np.broadcast_arrays(first, second)
    left = OverdensityModes(first, boxsize, window, empty, "first")
    right = OverdensityModes(second, boxsize, window, empty, "second")
    return _spectrum(left, right, window, mass_assignment, 0.0)


def _spectrum(
    left: OverdensityModes,
    right: OverdensityModes,
    window: Window | None,
    mass_assignment: MassAssignment | None,
    shot_noise: float,
) -> PowerSpectrum:
    """Binned product of the modes of ``left`` with the conjugate of those of ``right``."""
    n, boxsize = left.n_pixels, left.boxsize
    bins = _radial_bins(n, mass_assignment)
    # A / n^2 with A = (boxsize / n)^2, and what the window and the subtracted mean take away
    norm = (boxsize / n**2) ** 2 / _binned_response(n, window)
    power = np.empty((len(left), len(bins.radius)))
    for part in left.parts():
        a = left[part]
        b = a if right is left else right[part]
        product = a.real * b.real
        product += a.imag * b.imag
        power[part] = norm * bins.average(product) - shot_noise * bins.noise
    k_fundamental = 2 * np.pi / boxsize
    return PowerSpectrum(
        k=bins.radius * k_fundamental,
        power=power.reshape(*left.leading, -1),
        n_modes=bins.n_modes,
        k_fundamental=k_fundamental,
        k_nyquist=np.pi * n / boxsize,
        shot_noise=shot_noise,
    )


@dataclass(frozen=True)
class _RadialBins:
    """Bins of integer radius over the half plane of modes that rfft2 keeps.

    ``noise`` is the mean of unit shot noise in each bin; ``weights`` divide out the window of the
    mass assignment.
    """

    radius: FloatArray
    n_modes: IntArray
    noise: FloatArray
    weights: csr_array

    def average(self, power: FloatArray) -> FloatArray:
        """Mean over the modes of each bin: (M, n, n // 2 + 1) -> (M, n_bins)."""
        mean: FloatArray = (self.weights @ power.reshape(len(power), -1).T).T
        return mean


@lru_cache(maxsize=16)
def _radial_bins(n_pixels: int, mass_assignment: MassAssignment | None) -> _RadialBins:
    radius, count = mode_radius(n_pixels)
    radius, count = radius.ravel(), count.ravel()
    full, half = np.fft.fftfreq(n_pixels), np.arange(n_pixels // 2 + 1) / n_pixels
    row_window, row_noise = axis_factors(full, mass_assignment)
    column_window, column_noise = axis_factors(half, mass_assignment)
    kept = np.outer(row_window, column_window).ravel()
    noise = np.outer(row_noise, column_noise).ravel() / kept
    n_bins = (n_pixels - 1) // 2
    index = np.rint(radius).astype(int) - 1
    used = np.flatnonzero((index >= 0) & (index < n_bins))
    index = index[used]
    count = count[used]
    n_modes = np.bincount(index, count, n_bins).astype(int)
    mean_radius, mean_noise = (
        np.bincount(index, count * values[used], n_bins) / n_modes for values in (radius, noise)
    )
    shape = (n_bins, n_pixels * len(half))
    weights = csr_array((count / n_modes[index] / kept[used], (index, used)), shape=shape)
    for shared in (mean_radius, n_modes, mean_noise):
        shared.setflags(write=False)
    return _RadialBins(mean_radius, n_modes, mean_noise, weights)


@lru_cache(maxsize=16)
def _binned_response(n_pixels: int, window: Window | None) -> FloatArray:
    """Mean of the response r(k) to white noise in each bin, shape (n_bins,)."""
    if window is None:
        return np.ones((n_pixels - 1) // 2)
    first, second = axis_transforms(window_profile(window, n_pixels))
    half = slice(n_pixels // 2 + 1)
    values = response(
        np.outer(first, first[half]),
        np.outer(second, second[half]),
        (float(first[0].real) ** 2, float(second[0].real) ** 2),
        n_pixels**2,
    )
    average: FloatArray = _radial_bins(n_pixels, None).average(values[None])[0]
    average.setflags(write=False)
    return average
