"""Ratios of spectra: T(k), S(k), r(k), and spectra that do not belong together."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import (
    cross_correlation,
    cross_power_spectrum_2d,
    power_spectrum_2d,
    suppression,
    transfer_function,
)


def lognormal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(size=(n, n))


def test_damped_waves_have_the_damping_as_transfer_function() -> None:
    """delta -> D(k) delta gives T = |D|, S = D^2 and r = 1."""
    n, boxsize = 64, 10.0
    maps = lognormal(n)
    k = 2 * np.pi * np.fft.fftfreq(n, boxsize / n)
    # constant within each bin, so that bins do not mix
    ring = np.rint(np.hypot(k[:, None], k) * boxsize / (2 * np.pi))
    damped = np.fft.ifft2(np.fft.fft2(maps) * 0.97**ring).real
    before, after = power_spectrum_2d(maps, boxsize), power_spectrum_2d(damped, boxsize)
    expected = 0.97 ** np.arange(1, 32)
    np.testing.assert_allclose(transfer_function(after, before), expected, rtol=1e-9)
    np.testing.assert_allclose(suppression(after, before), expected**2, rtol=1e-9)
    cross = cross_power_spectrum_2d(maps, damped, boxsize)
    np.testing.assert_allclose(cross_correlation(cross, before, after), 1, rtol=1e-9)
    # arrays and whole spectra are the same
    np.testing.assert_array_equal(
        suppression(after.power, before.power), suppression(after, before)
    )


def test_noise_lowers_the_correlation_by_a_known_amount() -> None:
    """r of s and s + n with P_n = P_s is 1 / sqrt(2)."""
    random = np.random.default_rng(1)
    signal, noise = random.uniform(-0.3, 0.3, (2, 300, 16, 16))
    one, both = 1 + signal, 1 + signal + noise
    spectra = (
        cross_power_spectrum_2d(one, both, 1.0),
        power_spectrum_2d(one, 1.0),
        power_spectrum_2d(both, 1.0),
    )
    r = cross_correlation(*(s.power.mean(0) for s in spectra))
    np.testing.assert_allclose(r, np.sqrt(0.5), atol=0.03)


def test_spectra_of_different_boxes_or_pixels_are_told_apart() -> None:
    one = power_spectrum_2d(lognormal(16), 10.0)
    with pytest.raises(DataError, match="boxsize of 10 and 20"):
        suppression(one, power_spectrum_2d(lognormal(16), 20.0))
    with pytest.raises(DataError, match=r"pixel size of 0\.625 and 0\.3125"):
        transfer_function(one, power_spectrum_2d(lognormal(32), 10.0))
    with pytest.raises(DataError, match="different numbers of bins"):
        suppression(one, np.ones(8))


def test_empty_and_negative_powers_are_refused() -> None:
    one = np.ones(3)
    with pytest.raises(DataError, match="'dmo': 3 bins are not positive"):
        suppression(one, 0 * one)
    with pytest.raises(DataError, match="1 bins are negative"):
        transfer_function(np.array([1.0, -1.0, 1.0]), one)
    with pytest.raises(DataError, match="'truth': 1 bins"):
        transfer_function(one, np.array([1.0, np.nan, 1.0]))
    with pytest.raises(DataError, match="'second': 1 bins"):
        cross_correlation(one, one, np.array([0.0, 1.0, 1.0]))
