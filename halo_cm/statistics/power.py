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
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.fft import rfft2
from scipy.signal.windows import hann
from scipy.sparse import csr_array

from halo_cm.containers import FloatArray, IntArray, check_mass
from halo_cm.errors import DataError

Window = Literal["hann"]

#: Pixels that are transformed at once: bounds the memory, whatever the number of maps.
_PIXELS_AT_ONCE = 2**21


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
    """

    k: FloatArray
    power: FloatArray
    n_modes: IntArray
    k_fundamental: float
    k_nyquist: float

    def bins_up_to(self, fraction: float) -> int:
        """Number of bins centred at or below ``fraction`` of the Nyquist wavenumber."""
        last = int(np.floor(fraction * self.k_nyquist / self.k_fundamental + 1e-9))
        return min(last, len(self.k))


def power_spectrum_2d(
    maps: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    empty: Literal["raise", "zero"] = "raise",
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
        the power zero of a map without structure.

    Raises
    ------
    DataError
        If maps are not square, hold NaN or negative values, or are empty.
    """
    modes = _Modes(maps, boxsize, window, empty, "maps")
    return modes.spectrum(modes)


def cross_power_spectrum_2d(
    first: FloatArray,
    second: FloatArray,
    boxsize: float,
    *,
    window: Window | None = None,
    empty: Literal["raise", "zero"] = "raise",
) -> PowerSpectrum:
    """Real part of the cross power of the overdensities of two sets of maps.

    The leading axes of ``first`` and ``second`` are broadcast against each other; everything else
    is as in `power_spectrum_2d`. The cross power may be negative.
    """
    if np.shape(first)[-2:] != np.shape(second)[-2:]:
        raise DataError(
            f"the maps of the two sets have {np.shape(first)[-2:]} and {np.shape(second)[-2:]} "
            "pixels: bring them to one resolution first"
        )
    first, second = np.broadcast_arrays(first, second)
    left = _Modes(first, boxsize, window, empty, "first")
    return left.spectrum(_Modes(second, boxsize, window, empty, "second"))


class _Modes:
    """Fourier modes of the overdensities of many maps, made a few maps at a time."""

    def __init__(
        self, maps: FloatArray, boxsize: float, window: Window | None, empty: str, name: str
    ) -> None:
        maps = np.asarray(maps)
        _check_maps(maps, boxsize, name)
        self.leading, self.n_pixels, self.boxsize = maps.shape[:-2], maps.shape[-1], boxsize
        self.maps = maps.reshape(-1, self.n_pixels, self.n_pixels)
        self.window = _window(window, self.n_pixels)
        weights = self.window.ravel() / self.window.sum()
        # in double precision, a few maps at a time
        self.subtracted = np.array([m.reshape(-1).astype(np.float64) @ weights for m in self.maps])
        self.mean = self.maps.mean((-2, -1), dtype=np.float64)
        if empty == "raise" and not self.mean.all():
            raise DataError(
                f"{name}: {int((self.mean == 0).sum())} of {len(self.mean)} maps hold no mass, so "
                "that they have no overdensity; leave them out, or pass empty='zero' to give them "
                "no power"
            )

    def __getitem__(self, which: slice) -> FloatArray:
        mean = np.where(self.mean[which] > 0, self.mean[which], np.inf)[:, None, None]
        overdensity = (self.maps[which] - self.subtracted[which, None, None]) / mean
        modes: FloatArray = rfft2(overdensity * self.window, overwrite_x=True)
        return modes

    def spectrum(self, other: _Modes) -> PowerSpectrum:
        """Binned product of these modes with the conjugate of the modes of ``other``."""
        n, bins = self.n_pixels, _radial_bins(self.n_pixels)
        # A / n^2 with A = (boxsize / n)^2, and what the window and the subtracted mean take away
        norm = (self.boxsize / n**2) ** 2 / bins.average(_response(self.window)[None])[0]
        power = np.empty((len(self.maps), len(bins.radius)))
        step = max(1, _PIXELS_AT_ONCE // n**2)
        for start in range(0, len(power), step):
            part = slice(start, start + step)
            left = self[part]
            right = left if other is self else other[part]
            product = left.real * right.real + left.imag * right.imag
            power[part] = norm * bins.average(product)
        k_fundamental = 2 * np.pi / self.boxsize
        return PowerSpectrum(
            k=bins.radius * k_fundamental,
            power=power.reshape(*self.leading, -1),
            n_modes=bins.n_modes,
            k_fundamental=k_fundamental,
            k_nyquist=np.pi * n / self.boxsize,
        )


@dataclass(frozen=True)
class _RadialBins:
    """Bins of integer radius over the half plane of modes that rfft2 keeps."""

    radius: FloatArray
    n_modes: IntArray
    weights: csr_array

    def average(self, power: FloatArray) -> FloatArray:
        """Mean over the modes of each bin: (M, n, n // 2 + 1) -> (M, n_bins)."""
        mean: FloatArray = (self.weights @ power.reshape(len(power), -1).T).T
        return mean


@lru_cache(maxsize=16)
def _radial_bins(n_pixels: int) -> _RadialBins:
    row = np.fft.fftfreq(n_pixels, 1 / n_pixels)
    column = np.arange(n_pixels // 2 + 1)
    radius = np.hypot(row[:, None], column).ravel()
    # rfft2 drops the modes with negative column, which mirror those with positive column;
    # columns 0 and n / 2 are their own mirror images
    own_mirror = (column == 0) | (2 * column == n_pixels)
    count = np.broadcast_to(np.where(own_mirror, 1, 2), (n_pixels, len(column))).ravel()
    n_bins = (n_pixels - 1) // 2
    index = np.rint(radius).astype(int) - 1
    used = np.flatnonzero((index >= 0) & (index < n_bins))
    n_modes = np.bincount(index[used], count[used], n_bins).astype(int)
    mean_radius = np.bincount(index[used], (count * radius)[used], n_bins) / n_modes
    weights = csr_array(
        (count[used] / n_modes[index[used]], (index[used], used)), shape=(n_bins, len(radius))
    )
    for shared in (mean_radius, n_modes):
        shared.setflags(write=False)
    return _RadialBins(mean_radius, n_modes, weights)


def _window(name: Window | None, n_pixels: int) -> FloatArray:
    """Weight of each pixel, shape (n_pixels, n_pixels)."""
    if name is None:
        return np.ones((n_pixels, n_pixels))
    if name == "hann":
        # without its two zeros at the ends, which would waste the outermost pixels
        profile = hann(n_pixels + 2)[1:-1]
        return np.asarray(np.outer(profile, profile))
    raise DataError(f"window {name!r} is unknown, expected None (periodic) or 'hann'")


def _response(window: FloatArray) -> FloatArray:
    """Power of windowed white noise of variance 1 without its mean over n^2, at each mode."""
    first, second = rfft2(window), rfft2(window**2)
    share = first / first[0, 0]
    total = second[0, 0].real
    power = total - 2 * (np.conj(share) * second).real + total * np.abs(share) ** 2
    return np.asarray(power / window.size)


def _check_maps(maps: FloatArray, boxsize: float, name: str) -> None:
    if maps.ndim < 2 or maps.shape[-1] != maps.shape[-2] or maps.shape[-1] < 4:
        raise DataError(
            f"{name} has shape {maps.shape}, expected (..., n, n) with at least 4 pixels a side"
        )
    if not boxsize > 0:
        raise DataError(f"boxsize must be the width of a map [Mpc/h], found {boxsize}")
    check_mass(maps, name)
