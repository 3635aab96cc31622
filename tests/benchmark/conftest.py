"""Synthetic haloes: lognormal maps around a peak, with independent draws of the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halo_cm.containers import Cutouts, Geometry

N_PIXELS, N_HALOES, N_DRAWS = 16, 12, 3
F_STAR = 0.01


def draw(dmo: np.ndarray, f_b: np.ndarray, seed: int) -> np.ndarray:
    """One exact draw of (dm, gas, star) given the DMO mass: (N, H, W) -> (N, 3, H, W)."""
    random = np.random.default_rng([seed, 5])
    sigma = np.array([0.1, 0.3, 1])[:, None, None]
    scatter = np.exp(sigma * random.normal(size=(len(dmo), 3, N_PIXELS, N_PIXELS)))
    f_b = f_b[:, None, None]
    share = np.stack([1 - f_b, f_b - F_STAR, np.full_like(f_b, F_STAR)], axis=1)
    fields = dmo[:, None] * share * scatter
    fields[:, 2][fields[:, 2] < 2e7] = 0
    return fields.astype(np.float32)


def make_cutouts(realization: int) -> Cutouts:
    n = N_HALOES * N_DRAWS
    random = np.random.default_rng(3)
    halo = np.repeat(np.arange(N_HALOES), N_DRAWS)
    mass = np.repeat(10 ** random.uniform(13, 14.5, N_HALOES), N_DRAWS)
    y, x = np.mgrid[:N_PIXELS, :N_PIXELS] - (N_PIXELS - 1) / 2
    peak = 1 / (1 + np.hypot(x, y)) ** 2
    noise = np.exp(random.normal(size=(n, N_PIXELS, N_PIXELS)))
    dmo = (mass[:, None, None] * peak / peak.sum() + 1e9 * noise).astype(np.float32)
    parameters = np.stack([random.uniform(0.2, 0.4, n), np.log10(mass)], axis=1)
    geometry = Geometry(
        boxsize=50.0,
        scales=(6.25, 12.5),
        depth=50.0,
        n_pixels=N_PIXELS,
        parameter_names=("Omega_m", "log10_M200c"),
        omega_b=0.049,
    )
    return Cutouts(
        condition=np.stack([dmo, dmo], axis=1),
        target=draw(dmo, 0.049 / parameters[:, 0], 1 + realization),
        parameters=parameters,
        halo_mass=mass,
        halo_radius=np.full(n, 0.5),
        halo_position=np.zeros((n, 3)),
        box=np.full(n, 7),
        halo=halo,
        axis=np.zeros(n, int),
        draw=np.tile(np.arange(N_DRAWS), N_HALOES),
        realization=np.full(n, realization),
        split=np.full(n, 2),
        geometry=geometry,
    )


@pytest.fixture(scope="session")
def cutouts() -> Cutouts:
    return make_cutouts(0)


@pytest.fixture(scope="session")
def redraw() -> Cutouts:
    return make_cutouts(1)


@pytest.fixture(scope="session")
def exact():
    """Generate draws from the true distribution."""

    def generate(part: Cutouts, members: int, seed: int) -> np.ndarray:
        f_b = part.geometry.omega_b / part.parameters[:, 0]
        samples = [draw(part.condition[:, 0], f_b, seed // 2 + i) for i in range(members)]
        return np.stack(samples, axis=1)

    return generate


@pytest.fixture(scope="session")
def posterior_mean():
    """Average many exact draws: one member, without randomness."""

    def generate(part: Cutouts, members: int, seed: int) -> np.ndarray:
        f_b = part.geometry.omega_b / part.parameters[:, 0]
        draws = [draw(part.condition[:, 0], f_b, 1000 + i) for i in range(40)]
        return np.mean(draws, axis=0)[:, None]

    return generate


@pytest.fixture
def without_stars(cutouts: Cutouts) -> Cutouts:
    target = cutouts.target.copy()
    target[:, 2] = 0
    return replace(cutouts, target=target)
