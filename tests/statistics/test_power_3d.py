"""Power of a periodic box: white noise, plane waves, particles."""

from __future__ import annotations

import numpy as np
import pytest
from particle_meshes import assign

from halo_cm.errors import DataError
from halo_cm.statistics import (
    cross_correlation,
    cross_power_spectrum_3d,
    poisson_shot_noise,
    power_spectrum_3d,
)

N, BOXSIZE = 32, 50.0


def test_white_noise_is_flat() -> None:
    n, sigma = 128, 0.1
    field = 1 + sigma * np.random.default_rng(0).standard_normal((n, n, n), dtype=np.float32)
    before = field.copy()
    spectrum = power_spectrum_3d(field, BOXSIZE)
    expected = sigma**2 * (BOXSIZE / n) ** 3
    # bands of many modes, so that 1% is three standard errors or more
    for band in (slice(0, 40), slice(40, 50), slice(50, 57), slice(57, 63)):
        weights = spectrum.n_modes[band]
        mean = np.average(spectrum.power[band], weights=weights)
        assert np.sqrt(2 / weights.sum()) < 1 / 300
        assert mean == pytest.approx(expected, rel=0.01)
    assert np.array_equal(field, before)
    assert spectrum.k_nyquist == pytest.approx(np.pi * n / BOXSIZE)
    assert len(spectrum.k) == 63
    assert (np.abs(spectrum.k / spectrum.k_fundamental - np.arange(1, 64)) < 0.3).all()


def test_every_mode_is_counted_once() -> None:
    spectrum = power_spectrum_3d(np.random.default_rng(1).random((9, 9, 9)), 1.0)
    index = np.fft.fftfreq(9, 1 / 9)
    radius = np.rint(np.sqrt(sum(np.meshgrid(*[index**2] * 3, indexing="ij"))))
    assert spectrum.n_modes.tolist() == [(radius == i).sum() for i in (1, 2, 3, 4)]


def test_shifts_do_not_change_the_power() -> None:
    field = np.random.default_rng(2).lognormal(size=(N, N, N))
    shifted = np.roll(field, (3, -5, 11), axis=(0, 1, 2))
    first, second = power_spectrum_3d(field, BOXSIZE), power_spectrum_3d(shifted, BOXSIZE)
    np.testing.assert_allclose(first.power, second.power, rtol=1e-10)


def test_plane_wave_lies_in_its_bin() -> None:
    amplitude, waves = 0.1, 5
    x = (np.arange(N) + 0.5) / N
    field = np.broadcast_to(1 + amplitude * np.cos(2 * np.pi * waves * x), (N, N, N))
    spectrum = power_spectrum_3d(field, BOXSIZE)
    # two modes of |delta_k|^2 = A^2 / 4
    expected = np.zeros(len(spectrum.k))
    expected[waves - 1] = 2 * BOXSIZE**3 * amplitude**2 / 4 / spectrum.n_modes[waves - 1]
    np.testing.assert_allclose(spectrum.power, expected, atol=1e-9)


@pytest.mark.parametrize(("name", "order"), [("NGP", 1), ("CIC", 2), ("TSC", 3)])
def test_particles_at_random_have_only_shot_noise(name, order) -> None:
    n_particles = 200_000
    positions = np.random.default_rng(order).uniform(0, BOXSIZE, (n_particles, 3))
    mesh = assign(positions, N, BOXSIZE, order)
    assert mesh.sum() == pytest.approx(n_particles)
    shot = BOXSIZE**3 / n_particles
    left = power_spectrum_3d(mesh, BOXSIZE, mass_assignment=name, shot_noise=shot)
    error = np.sqrt(2 / left.n_modes) * shot
    # the window divides the noise of the modes too, by up to 0.4 at the last bins for TSC
    assert (np.abs(left.power) < 6 * error).all()
    assert abs(np.average(left.power, weights=left.n_modes)) < 0.05 * shot
    plain = power_spectrum_3d(mesh, BOXSIZE)
    assert plain.power[0] == pytest.approx(shot, rel=0.5)
    assert left.shot_noise == shot and plain.shot_noise == 0


def test_window_is_divided_out() -> None:
    """The power of a smooth set of particles does not depend on how they are assigned."""
    rng = np.random.default_rng(7)
    centres = rng.uniform(0, BOXSIZE, (40, 3))
    positions = (centres[:, None] + rng.normal(0, 2.5, (40, 2000, 3))).reshape(-1, 3) % BOXSIZE
    fine = power_spectrum_3d(assign(positions, 2 * N, BOXSIZE, 3), BOXSIZE, mass_assignment="TSC")
    for name, order in (("NGP", 1), ("CIC", 2), ("TSC", 3)):
        mesh = assign(positions, N, BOXSIZE, order)
        found = power_spectrum_3d(mesh, BOXSIZE, mass_assignment=name)
        np.testing.assert_allclose(found.power[:5], fine.power[:5], rtol=0.01)
        uncorrected = power_spectrum_3d(mesh, BOXSIZE)
        assert (uncorrected.power[:5] < found.power[:5]).all()


def test_single_and_double_precision_agree() -> None:
    field = np.random.default_rng(3).lognormal(size=(N, N, N))
    double = power_spectrum_3d(field, BOXSIZE, mass_assignment="CIC")
    single = power_spectrum_3d(field.astype(np.float32), BOXSIZE, mass_assignment="CIC")
    np.testing.assert_allclose(single.power, double.power, rtol=1e-5)
    counts = np.random.default_rng(3).poisson(3, (N, N, N))
    np.testing.assert_allclose(
        power_spectrum_3d(counts, BOXSIZE).power,
        power_spectrum_3d(counts.astype(float), BOXSIZE).power,
    )


@pytest.mark.parametrize("n", [6, 7])
def test_response_of_an_apodised_box_to_white_noise_is_exact(n) -> None:
    """Small noise acts linearly, so that its mean power is the sum over single cells."""
    step = 1e-5
    power = sum(
        power_spectrum_3d(1 + step * cell.reshape(n, n, n), BOXSIZE, window="hann").power
        for cell in np.eye(n**3)
    )
    np.testing.assert_allclose(power, step**2 * (BOXSIZE / n) ** 3, rtol=1e-4)


def test_window_of_a_box_is_told_apart_from_its_mean() -> None:
    """Brute force over the full transform of the windowed overdensity."""
    n = 8
    field = np.random.default_rng(4).lognormal(size=(n, n, n))
    profile = np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2
    window = profile[:, None, None] * profile[:, None] * profile
    delta = window * (field - (window * field).sum() / window.sum()) / field.mean()
    modes = np.abs(np.fft.fftn(delta)) ** 2
    radius = np.rint(np.sqrt(sum(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) ** 2] * 3))))
    white = np.zeros(modes.shape)
    for cell in np.eye(n**3).reshape(-1, n, n, n):
        noise = window * (cell - (window * cell).sum() / window.sum())
        white += np.abs(np.fft.fftn(noise)) ** 2
    expected = [modes[radius == i].mean() / white[radius == i].mean() for i in (1, 2, 3)]
    found = power_spectrum_3d(field, BOXSIZE, window="hann").power
    np.testing.assert_allclose(found, np.array(expected) * BOXSIZE**3 / n**3, rtol=1e-9)


def test_cross_power_of_boxes() -> None:
    """r(k) of a rescaled box is 1, and 2 P_ab = P_(a+b) - P_a - P_b of overdensities."""
    a, b = np.random.default_rng(5).lognormal(size=(2, N, N, N))
    a, b = a / a.mean(), b / b.mean()
    p_a, p_b = (power_spectrum_3d(x, BOXSIZE).power for x in (a, b))
    for window in (None, "hann"):
        auto = power_spectrum_3d(a, BOXSIZE, window=window)
        cross = cross_power_spectrum_3d(a, 3e9 * a, BOXSIZE, window=window)
        np.testing.assert_allclose(cross_correlation(cross, auto, auto), 1, rtol=1e-10)
    both = 4 * power_spectrum_3d(a + b, BOXSIZE).power
    found = cross_power_spectrum_3d(a, b, BOXSIZE).power
    np.testing.assert_allclose(found, (both - p_a - p_b) / 2, atol=1e-9 * p_a.max())
    with pytest.raises(DataError, match="one resolution"):
        cross_power_spectrum_3d(a, b[::2, ::2, ::2], BOXSIZE)


def test_a_constant_box_has_no_power_at_all() -> None:
    for dtype in (np.float32, np.float64):
        assert (power_spectrum_3d(np.full((8, 8, 8), 0.1, dtype), BOXSIZE).power == 0).all()


def test_shot_noise_of_particles_of_different_masses() -> None:
    assert poisson_shot_noise(np.full(100, 3.0), 5.0, 3) == pytest.approx(1.25)
    random = np.random.default_rng(6)
    masses = random.choice([1.0, 4.0], 50_000)
    expected = 25 * (17 / 2) / 2.5**2 / 50_000
    assert poisson_shot_noise(masses, 5.0, 2) == pytest.approx(expected, rel=0.01)
    with pytest.raises(DataError, match="no mass"):
        poisson_shot_noise(np.zeros(4), 5.0, 3)


@pytest.mark.parametrize(
    ("density", "options", "message"),
    [
        (np.ones((8, 8, 4)), {}, "shape"),
        (np.ones((2, 2, 2)), {}, "at least 4"),
        (np.zeros((8, 8, 8)), {}, "no mass"),
        (-np.ones((8, 8, 8)), {}, "negative"),
        (np.full((8, 8, 8), np.nan), {}, "NaN"),
        (np.ones((8, 8, 8)), {"mass_assignment": "PCS"}, "CIC"),
        (np.ones((8, 8, 8)), {"shot_noise": -1.0}, "shot_noise"),
        (np.ones((8, 8, 8)), {"boxsize": 0.0}, "boxsize"),
    ],
)
def test_wrong_input_is_told(density, options, message) -> None:
    with pytest.raises(DataError, match=message):
        power_spectrum_3d(density, **{"boxsize": BOXSIZE, **options})
