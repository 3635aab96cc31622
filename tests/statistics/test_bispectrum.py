"""Bispectra against sums over triangles, plane waves and a quadratic local field."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import bispectrum_2d, power_spectrum_2d, reduced_bispectrum

BOXSIZE = 25.0


def lognormal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.exp(0.5 * np.random.default_rng(seed).normal(size=shape))


def brute_force(maps: np.ndarray, low: range, high: range) -> tuple[float, int]:
    """B of one side in ring ``low`` and two in ``high``, over all closed triples of modes."""
    n = len(maps)
    modes = np.fft.fft2(maps / maps.mean() - 1)
    wavenumbers = range(-(n // 2) + 1, n // 2)
    ring = {(a, b): round(np.hypot(a, b)) for a, b in itertools.product(wavenumbers, wavenumbers)}
    total, count = 0.0, 0
    for (k1, r1), (k2, r2) in itertools.product(ring.items(), ring.items()):
        k3 = (-k1[0] - k2[0], -k1[1] - k2[1])
        if r1 in low and r2 in high and ring.get(k3, -1) in high:
            total += (modes[k1] * modes[k2] * modes[k3]).real
            count += 1
    return total / count * BOXSIZE**4 / n**6, count


@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("width", [1, 2])
def test_equilateral_is_the_sum_over_all_triangles(n: int, width: int) -> None:
    maps = lognormal((n, n))
    found = bispectrum_2d(maps, BOXSIZE, ring_width=width)
    # the largest three modes do not reach n
    assert len(found.k) == (n - 1) // 3 // width
    for i in range(len(found.k)):
        ring = range(1 + i * width, 1 + (i + 1) * width)
        expected, count = brute_force(maps, ring, ring)
        assert found.n_triangles[i] == count
        assert found.bispectrum[i] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(found.k, found.k_long)


@pytest.mark.parametrize("n", [12, 13])
def test_squeezed_is_the_sum_over_all_triangles(n: int) -> None:
    maps = lognormal((n, n), 1)
    found = bispectrum_2d(maps, BOXSIZE, triangles="squeezed")
    assert len(found.k) == len(found.k_long) == 4
    for i in range(len(found.k)):
        expected, count = brute_force(maps, range(1, 2), range(i + 2, i + 3))
        assert found.n_triangles[i] == count
        assert found.bispectrum[i] == pytest.approx(expected, rel=1e-9)
    assert (found.k_long < found.k[0]).all()


def test_three_waves_make_one_triangle() -> None:
    """Amplitudes a of three waves that close give B = V^2 (a / 2)^3 over the triangles of a bin."""
    n, a = 48, 0.1
    y, x = np.mgrid[:n, :n] / n
    waves = [(4, 3), (-5, 1), (1, -4)]
    phases = [0.3, -1.0, 0.2]
    delta = sum(
        a * np.cos(2 * np.pi * (p * y + q * x) + phase)
        for (p, q), phase in zip(waves, phases, strict=True)
    )
    found = bispectrum_2d(1 + delta, BOXSIZE, ring_width=5)
    # 3! orders, and the triangle of opposite waves
    expected = BOXSIZE**4 * (a / 2) ** 3 * 12 * np.cos(sum(phases)) / found.n_triangles[0]
    assert found.bispectrum[0] == pytest.approx(expected, rel=1e-9)
    assert np.abs(found.bispectrum[1:]).max() < 1e-9 * expected
    closing = bispectrum_2d(1 - delta, BOXSIZE, ring_width=5)
    assert closing.bispectrum[0] == pytest.approx(-expected, rel=1e-9)


def local_fields(f: float, n_maps: int, n: int) -> np.ndarray:
    """1 + g + f (g^2 - <g^2>) of Gaussian g and of -g, shape (2, n_maps, n, n).

    The squares are not aliased, and in the sum of a pair the noise g^3 cancels.
    """
    random = np.random.default_rng(3)
    axis = np.fft.fftfreq(n, 1 / n)
    radius = np.hypot(axis[:, None], axis)
    amplitude = np.where((radius > 0) & (radius < n / 4), (1 + radius) ** -0.5, 0)
    g = np.fft.ifft2(np.fft.fft2(random.normal(size=(n_maps, n, n))) * amplitude).real
    g *= 0.05 / g.std()
    pair = np.stack([g, -g])
    return 1 + pair + f * (pair**2 - g.var())


@pytest.mark.parametrize("triangles", ["equilateral", "squeezed"])
@pytest.mark.parametrize("f", [1.0, -0.5])
def test_quadratic_local_field_has_a_constant_reduced_bispectrum(triangles: str, f: float) -> None:
    """B = 2 f (P1 P2 + P2 P3 + P3 P1) to first order in f, so that Q = 2 f."""
    n_pairs = 400
    maps = local_fields(f, n_pairs, 48)
    found = bispectrum_2d(maps, BOXSIZE, triangles=triangles, ring_width=2)
    mean = found.averaged()
    inside = found.k < 2 * np.pi / BOXSIZE * 10
    assert inside.sum() >= 4
    below = 2 * mean.power * mean.power_long + mean.power**2
    pairs = (found.bispectrum.mean(0) / below)[:, inside]
    difference = (reduced_bispectrum(mean) - 2 * f)[inside]
    error = pairs.std(0) / np.sqrt(n_pairs)
    assert (np.abs(difference) < 4 * error + 0.01 * abs(f)).all()
    # rings share their long sides, so that their mean has its own error
    error_of_mean = pairs.mean(1).std() / np.sqrt(n_pairs)
    assert abs(difference.mean()) < 3 * error_of_mean + 0.01 * abs(f)
    assert error_of_mean < 0.06 * abs(f)


def test_powers_of_the_rings_are_those_of_the_power_spectrum() -> None:
    maps = lognormal((3, 32, 32))
    spectrum = power_spectrum_2d(maps, BOXSIZE)
    found = bispectrum_2d(maps, BOXSIZE)
    n = len(found.k)
    np.testing.assert_allclose(found.power, spectrum.power[:, :n], rtol=1e-10)
    np.testing.assert_allclose(found.k, spectrum.k[:n], rtol=1e-12)
    squeezed = bispectrum_2d(maps, BOXSIZE, triangles="squeezed")
    long = np.broadcast_to(spectrum.power[:, :1], squeezed.power_long.shape)
    np.testing.assert_allclose(squeezed.power_long, long, rtol=1e-10)
    apodised = bispectrum_2d(maps, BOXSIZE, window="hann").power[:, 4:]
    exact = power_spectrum_2d(maps, BOXSIZE, window="hann").power[:, 4:n]
    np.testing.assert_allclose(apodised, exact, rtol=0.01)


def test_apodised_cutouts_of_a_quadratic_field_keep_q() -> None:
    maps = local_fields(1.0, 100, 64)
    whole = bispectrum_2d(maps, BOXSIZE, ring_width=3).averaged()
    apodised = bispectrum_2d(maps, BOXSIZE, ring_width=3, window="hann").averaged()
    q, expected = (reduced_bispectrum(b)[1:4] for b in (apodised, whole))
    np.testing.assert_allclose(q, expected, rtol=0.1)


def test_shifts_scales_and_the_number_of_maps_change_nothing() -> None:
    maps = lognormal((5, 2, 24, 24))
    found = bispectrum_2d(maps, BOXSIZE).bispectrum
    shifted = np.roll(7e10 * maps, (5, -3), axis=(-2, -1))
    np.testing.assert_allclose(bispectrum_2d(shifted, BOXSIZE).bispectrum, found, rtol=1e-8)
    np.testing.assert_allclose(bispectrum_2d(maps[3, 1], BOXSIZE).bispectrum, found[3, 1])
    # B has the dimension of a length to the fourth
    np.testing.assert_allclose(bispectrum_2d(maps, 2 * BOXSIZE).bispectrum, 16 * found)


def test_bad_input() -> None:
    maps = lognormal((16, 16))
    with pytest.raises(DataError, match="'isosceles' are unknown"):
        bispectrum_2d(maps, BOXSIZE, triangles="isosceles")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="hold no equilateral triangles"):
        bispectrum_2d(maps, BOXSIZE, ring_width=6)
    with pytest.raises(DataError, match="ring_width"):
        bispectrum_2d(maps, BOXSIZE, ring_width=0)
    constant = bispectrum_2d(np.ones((16, 16)), BOXSIZE)
    assert (constant.bispectrum == 0).all()
    with pytest.raises(DataError, match="5 of 5 triangle bins have no power"):
        reduced_bispectrum(constant)
