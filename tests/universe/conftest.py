"""A small box that the tests of baryons and maps share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.cosmology import Cosmology
from halo_cm.universe.haloes import haloes_with_nfw, overdensity_radius
from halo_cm.universe.matter import Matter, arrange_matter, particle_mass
from halo_cm.universe.profiles import nfw_mass

BOXSIZE, OMEGA_M = 20.0, 0.3
N_GRID = 40


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., UniverseConfig]:
    """Makes the smallest universe with haloes in each split, about a second a box."""

    def make(**changes: object) -> UniverseConfig:
        small: dict[str, object] = {
            "n_train_boxes": 1,
            "n_draws": 2,
            "n_particles": 32,
            "n_mesh": 48,
            "n_steps": 5,
            "n_pixels": 8,
            "sigma_8": (0.85, 0.95),
        }
        return UniverseConfig.from_preset("ci", **{**small, **changes})

    return make


@pytest.fixture(scope="session")
def matter() -> Matter:
    """Three planted NFW haloes, one of them across the border, in a uniform background."""
    rng = np.random.default_rng(5)
    mass = particle_mass(N_GRID**3, OMEGA_M, BOXSIZE)
    m80 = np.array([8e13, 3e13, 1e13])
    centres = np.array([[0.3, 19.8, 10.0], [10.0, 10.0, 5.0], [14.0, 4.0, 15.0]])
    haloes = haloes_with_nfw(centres, m80, 4.8, -0.085, np.ones(3))
    pieces = []
    for i in range(3):
        grid = np.logspace(-3, np.log10(2), 400)
        c = haloes.concentration[i]
        n = round(haloes.m200[i] * nfw_mass(2 * c) / nfw_mass(c) / mass)
        x = np.interp((np.arange(n) + 0.5) / n, nfw_mass(c * grid) / nfw_mass(2 * c), grid)
        axis = rng.normal(size=(n, 3))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        pieces.append(centres[i] + axis * (x * haloes.r200[i])[:, None])
    halo_particles = np.concatenate(pieces)
    rest = rng.uniform(0, BOXSIZE, (N_GRID**3 - len(halo_particles), 3))
    positions = (np.concatenate([halo_particles, rest]) % BOXSIZE).astype(np.float32)
    positions[positions >= BOXSIZE] = 0
    assert np.allclose(haloes.r80, overdensity_radius(m80, 80.0))
    fraction = Cosmology(OMEGA_M, 0.8).baryon_fraction
    return arrange_matter(positions, haloes, BOXSIZE, OMEGA_M, fraction, 5.0)
