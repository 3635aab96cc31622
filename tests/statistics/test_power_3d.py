"""Power of a periodic box: white noise, plane waves, particles."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import power_spectrum_3d

N, BOXSIZE = 32, 50.0


def assign(positions: np.ndarray, n: int, boxsize: float, order: int) -> np.ndarray:
    """Particles per cell by NGP, CIC or TSC (order 1, 2, 3)."""
    scaled = positions * (n / boxsize) - 0.5
    nearest = np.rint(scaled).astype(int)
    mesh = np.zeros((n, n, n))
    base = nearest if order != 2 else np.floor(scaled).astype(int)
    shifts = {1: (0,), 2: (0, 1), 3: (-1, 0, 1)}[order]

    def weight(axis: int, shift: int) -> np.ndarray:
        d = np.abs(scaled[:, axis] - base[:, axis] - shift)
        if order == 1:
            return np.ones(len(d))
        if order == 2:
            return 1 - d
        return np.where(d < 0.5, 0.75 - d**2, 0.5 * (1.5 - d) ** 2)

    for i in shifts:
        for j in shifts:
            for k in shifts:
                index = tuple((base + np.array([i, j, k])).T % n)
                np.add.at(mesh, index, weight(0, i) * weight(1, j) * weight(2, k))
    return mesh


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
