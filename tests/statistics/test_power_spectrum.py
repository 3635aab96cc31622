"""Power spectra against analytic answers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from particle_meshes import assign

from halo_cm.errors import DataError
from halo_cm.statistics import (
    cross_correlation,
    cross_power_spectrum_2d,
    poisson_shot_noise,
    power_spectrum_2d,
    transfer_function,
)

BOXSIZE = 6.25


def white_noise(shape: tuple[int, ...], variance: float, seed: int = 0) -> np.ndarray:
    """Overdensity of white noise plus one; the noise is uniform, so that no value is negative."""
    half = np.sqrt(3 * variance)
    return 1 + np.random.default_rng(seed).uniform(-half, half, shape)


def lognormal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("window", [None, "hann"])
@pytest.mark.parametrize("n_pixels", [32, 33])
def test_white_noise_is_flat(window: str | None, n_pixels: int) -> None:
    variance, area = 0.04, (BOXSIZE / n_pixels) ** 2
    maps = 1e10 * white_noise((3000, n_pixels, n_pixels), variance)
    spectrum = power_spectrum_2d(maps, BOXSIZE, window=window)
    mean = spectrum.power.mean(0)
    np.testing.assert_allclose(mean, variance * area, rtol=0.03)
    weighted = np.average(mean, weights=spectrum.n_modes)
    assert weighted == pytest.approx(variance * area, rel=0.01)


def test_white_noise_is_flat_in_the_first_bin_of_cutouts() -> None:
    n, variance = 16, 1e-4
    power = [
        power_spectrum_2d(white_noise((10_000, n, n), variance, seed), BOXSIZE, window="hann").power
        for seed in range(4)
    ]
    first = np.concatenate(power)[:, 0].mean()
    assert first == pytest.approx(variance * (BOXSIZE / n) ** 2, rel=0.02)


@pytest.mark.parametrize("window", [None, "hann"])
@pytest.mark.parametrize("n", [8, 9, 16])
def test_response_to_white_noise_is_exact(window: str | None, n: int) -> None:
    """Small noise acts linearly, so that its mean power is the sum over single pixels."""
    step = 1e-5
    maps = (1 + step * np.eye(n * n)).reshape(n * n, n, n)
    power = power_spectrum_2d(7e9 * maps, BOXSIZE, window=window).power.sum(0)
    np.testing.assert_allclose(power, (step * BOXSIZE / n) ** 2, rtol=1e-4)


def test_the_mean_does_not_leak_through_the_window() -> None:
    """A slope of the mass towards the middle that is known exactly: the window itself."""
    n = 32
    profile = np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2
    window = np.outer(profile, profile)
    maps = 1 + 3 * window + np.zeros((2, 1, 1))
    mean = (window * maps[0]).sum() / window.sum()
    kept = window * (maps[0] - mean) / maps[0].mean()
    assert abs(kept.sum()) < 1e-9
    power = power_spectrum_2d(maps, BOXSIZE, window="hann").power
    modes = np.abs(np.fft.fft2(kept)) ** 2 * BOXSIZE**2 / n**4 / np.mean(window**2)
    frequency = np.fft.fftfreq(n, 1 / n)
    ring = np.rint(np.hypot(frequency[:, None], frequency)) == 2
    np.testing.assert_allclose(power[:, 1], modes[ring].mean(), rtol=3e-3)


@pytest.mark.parametrize("window", [None, "hann"])
def test_rescaling_a_map_changes_nothing(window: str | None) -> None:
    maps = lognormal((3, 16, 16))
    power = power_spectrum_2d(maps, BOXSIZE, window=window).power
    scaled = power_spectrum_2d(
        np.array([1e-9, 1.0, 1e12])[:, None, None] * maps, BOXSIZE, window=window
    )
    np.testing.assert_allclose(scaled.power, power, rtol=1e-9)


def test_plane_wave_has_its_amplitude_in_its_bin() -> None:
    n, amplitude, mode = 64, 0.3, (3, 4)
    y, x = np.mgrid[:n, :n] / n
    maps = 5e9 * (1 + amplitude * np.cos(2 * np.pi * (mode[0] * y + mode[1] * x) + 0.4))
    spectrum = power_spectrum_2d(maps, BOXSIZE)
    # two modes, k and -k, of |delta_k|^2 = (a / 2)^2 each, times the area of the map
    expected = 2 * (amplitude / 2) ** 2 * BOXSIZE**2 / spectrum.n_modes[4]
    assert spectrum.power[4] == pytest.approx(expected, rel=1e-10)
    assert np.delete(spectrum.power, 4).max() < 1e-20
    assert abs(spectrum.k[4] / spectrum.k_fundamental - 5) < 0.5


def test_parseval() -> None:
    """Every mode of the plane counts once: brute force over the full transform."""
    maps = lognormal((2, 12, 12))
    spectrum = power_spectrum_2d(maps, BOXSIZE)
    delta = maps / maps.mean((1, 2), keepdims=True) - 1
    frequency = np.fft.fftfreq(12, 1 / 12)
    radius = np.hypot(frequency[:, None], frequency)
    full = np.abs(np.fft.fft2(delta)) ** 2 * BOXSIZE**2 / 12**4
    for i in range(5):
        ring = np.rint(radius) == i + 1
        assert spectrum.n_modes[i] == ring.sum()
        assert spectrum.k[i] == pytest.approx(radius[ring].mean() * 2 * np.pi / BOXSIZE)
        np.testing.assert_allclose(spectrum.power[:, i], full[:, ring].mean(1), rtol=1e-10)


def test_periodic_shift_changes_nothing() -> None:
    maps = lognormal((4, 32, 32))
    shifted = np.roll(maps, (5, -7), axis=(-2, -1))
    np.testing.assert_allclose(
        power_spectrum_2d(shifted, BOXSIZE).power,
        power_spectrum_2d(maps, BOXSIZE).power,
        rtol=1e-9,
    )
    apodised = [power_spectrum_2d(m, BOXSIZE, window="hann").power for m in (maps, shifted)]
    assert not np.allclose(*apodised, rtol=0.01)


def test_power_of_the_mean_is_below_the_mean_power() -> None:
    samples = lognormal((8, 32, 32))
    of_mean = power_spectrum_2d(samples.mean(0), BOXSIZE).power
    mean_of = power_spectrum_2d(samples, BOXSIZE).power.mean(0)
    assert (of_mean < 0.5 * mean_of).all()
    np.testing.assert_allclose(of_mean[5:].mean() / mean_of[5:].mean(), 1 / 8, rtol=0.1)


def test_a_rescaled_field_correlates_perfectly() -> None:
    maps = lognormal((3, 2, 32, 32))
    auto = power_spectrum_2d(maps, BOXSIZE).power
    cross = cross_power_spectrum_2d(maps, 7.5 * maps, BOXSIZE)
    np.testing.assert_allclose(cross_correlation(cross.power, auto, auto), 1, rtol=1e-10)
    np.testing.assert_allclose(transfer_function(auto, auto), 1)


def test_cross_power_is_half_the_polarisation_identity() -> None:
    """2 P_ab = P_(a+b) - P_a - P_b in overdensities, for two independent implementations."""
    a, b = (white_noise((16, 16), 0.1, seed) for seed in (1, 2))
    a, b = a / a.mean(), b / b.mean()
    p_a, p_b = power_spectrum_2d(a, 1.0).power, power_spectrum_2d(b, 1.0).power
    both = 4 * power_spectrum_2d(a + b, 1.0).power
    expected = (both - p_a - p_b) / 2
    np.testing.assert_allclose(cross_power_spectrum_2d(a, b, 1.0).power, expected, atol=1e-12)


def test_independent_fields_do_not_correlate() -> None:
    a, b = white_noise((400, 16, 16), 0.1, 1), white_noise((400, 16, 16), 0.1, 2)
    cross = cross_power_spectrum_2d(a, b, 1.0).power.mean(0)
    auto = [power_spectrum_2d(m, 1.0).power.mean(0) for m in (a, b)]
    assert np.abs(cross_correlation(cross, *auto)).max() < 0.05


def test_cross_power_broadcasts() -> None:
    samples, truth = lognormal((3, 4, 16, 16)), lognormal((3, 16, 16), 1)
    cross = cross_power_spectrum_2d(samples, truth[:, None], 1.0).power
    one = cross_power_spectrum_2d(samples[1, 2], truth[1], 1.0).power
    assert cross.shape == (3, 4, 7)
    np.testing.assert_allclose(cross[1, 2], one)


def test_many_maps_give_what_each_gives_alone() -> None:
    """More maps than are transformed at once."""
    maps = lognormal((40, 256, 256))
    together = power_spectrum_2d(maps, BOXSIZE, window="hann").power
    np.testing.assert_array_equal(
        together[37], power_spectrum_2d(maps[37], BOXSIZE, window="hann").power
    )


def test_bins_reach_from_the_fundamental_mode_to_below_nyquist() -> None:
    spectrum = power_spectrum_2d(lognormal((64, 64)), BOXSIZE)
    assert len(spectrum.k) == len(spectrum.power) == 31
    assert spectrum.k[0] == pytest.approx(1.2071 * 2 * np.pi / BOXSIZE, rel=1e-4)
    assert spectrum.k[-1] < spectrum.k_nyquist == pytest.approx(np.pi * 64 / BOXSIZE)
    assert (spectrum.bins_up_to(0.5), spectrum.bins_up_to(1.0)) == (16, 31)


@pytest.mark.parametrize(("name", "order"), [("NGP", 1), ("CIC", 2), ("TSC", 3)])
def test_projected_particles_at_random_have_only_shot_noise(name: str, order: int) -> None:
    n, n_particles = 64, 100_000
    positions = np.random.default_rng(order).uniform(0, BOXSIZE, (n_particles, 2))
    shot = poisson_shot_noise(np.ones(n_particles), BOXSIZE, 2)
    mesh = assign(positions, n, BOXSIZE, order)
    left = power_spectrum_2d(mesh, BOXSIZE, mass_assignment=name, shot_noise=shot)
    kept = power_spectrum_2d(mesh, BOXSIZE, mass_assignment=name)
    error = np.sqrt(2 / left.n_modes) * shot
    # the window divides the noise of the modes too
    assert (np.abs(left.power) < 6 * error).all()
    assert abs(np.average(left.power, weights=left.n_modes)) < 0.1 * shot
    # at small k the noise on the mesh is the white one
    np.testing.assert_allclose((kept.power - left.power)[:3], shot, rtol=0.02)
    assert left.shot_noise == shot and kept.shot_noise == 0


def test_mass_assignment_of_a_map_is_divided_out() -> None:
    """The power of a smooth set of particles does not depend on how they are assigned."""
    random, n = np.random.default_rng(7), 32
    centres = random.uniform(0, BOXSIZE, (40, 2))
    positions = (centres[:, None] + random.normal(0, 0.3, (40, 2000, 2))).reshape(-1, 2) % BOXSIZE
    fine = assign(positions, 4 * n, BOXSIZE, 3)
    expected = power_spectrum_2d(fine, BOXSIZE, mass_assignment="TSC").power[:5]
    for name, order in (("NGP", 1), ("CIC", 2), ("TSC", 3)):
        mesh = assign(positions, n, BOXSIZE, order)
        found = power_spectrum_2d(mesh, BOXSIZE, mass_assignment=name).power[:5]
        np.testing.assert_allclose(found, expected, rtol=0.02)
        assert (power_spectrum_2d(mesh, BOXSIZE).power[:5] < found).all()
        cross = cross_power_spectrum_2d(mesh, mesh, BOXSIZE, mass_assignment=name)
        np.testing.assert_allclose(cross.power[:5], found, rtol=1e-12)


@pytest.mark.parametrize("window", [None, "hann"])
def test_a_constant_map_has_no_power_at_all(window: str | None) -> None:
    """Rounding noise in its place would make r(k) and T(k) of it numbers."""
    for n in (15, 16, 33, 50):
        maps = np.full((3, n, n), [[[0.1]], [[1e10]], [[3.3e5 / 7]]])
        power = power_spectrum_2d(maps, BOXSIZE, window=window)
        assert (power.power == 0).all()
    with pytest.raises(DataError, match="constant or empty"):
        cross_correlation(power, power, power)


def test_empty_maps() -> None:
    maps = lognormal((3, 16, 16))
    maps[1] = 0
    with pytest.raises(DataError, match="1 of 3 maps hold no mass"):
        power_spectrum_2d(maps, 1.0)
    power = power_spectrum_2d(maps, 1.0, window="hann", empty="zero").power
    assert (power[1] == 0).all()
    assert (power[[0, 2]] > 0).all()


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.full((2, 16, 16), np.nan), "512 pixels are NaN"),
        (-np.ones((16, 16)), "must not be negative"),
        (np.ones((16, 8)), "expected"),
        (np.ones(16), "expected"),
    ],
)
def test_bad_maps(maps: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        power_spectrum_2d(maps, 1.0)


def test_bad_arguments() -> None:
    maps = lognormal((16, 16))
    with pytest.raises(DataError, match="boxsize"):
        power_spectrum_2d(maps, 0.0)
    with pytest.raises(DataError, match="'welch' is unknown"):
        power_spectrum_2d(maps, 1.0, window="welch")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one resolution"):
        cross_power_spectrum_2d(maps, lognormal((8, 8)), 1.0)
    with pytest.raises(DataError, match="not positive"):
        transfer_function(np.ones(3), np.zeros(3))


def test_a_thousand_cutouts_take_less_than_a_second() -> None:
    maps = lognormal((1000, 64, 64)).astype(np.float32)
    power_spectrum_2d(maps[:2], BOXSIZE, window="hann")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        power_spectrum_2d(maps, BOXSIZE, window="hann")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0
