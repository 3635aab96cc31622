"""Halo finder and sharpening on planted haloes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halo_cm.units import RHO_CRITICAL
from halo_cm.universe.haloes import (
    find_haloes,
    haloes_with_nfw,
    overdensity_radius,
    particle_tree,
    periodic_difference,
)
from halo_cm.universe.profiles import nfw_mass
from halo_cm.universe.sharpening import sharpen

BOXSIZE, MASS, PARTICLE_MASS = 20.0, 2e13, 1e10
R80 = float(overdensity_radius(np.array(MASS), 80.0))


def _planted(centres: list[list[float]], slope: float = 2.0) -> np.ndarray:
    """Spheres with M(<r) ~ r^(3 - slope) that hold MASS inside R80, on a thin background."""
    rng = np.random.default_rng(0)
    n = round(MASS / PARTICLE_MASS)
    pieces = [rng.uniform(0, BOXSIZE, (3000, 3))]
    for centre in centres:
        # evenly spaced mass, so that the profile has no shot noise; it ends at 1.5 R80
        radius = R80 * (np.arange(int(1.5 * n)) + 0.5) / n
        radius = R80 * (radius / R80) ** (1 / (3 - slope))
        axis = rng.normal(size=(len(radius), 3))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        pieces.append(np.array(centre) + axis * radius[:, None])
    positions = (np.concatenate(pieces) % BOXSIZE).astype(np.float32)
    positions[positions >= BOXSIZE] = 0
    return positions


def test_radius_encloses_the_overdensity() -> None:
    radius = float(overdensity_radius(np.array(1e13), 200.0))
    assert 4 / 3 * math.pi * radius**3 * 200 * RHO_CRITICAL == pytest.approx(1e13)


def test_planted_haloes_are_found_also_across_the_border() -> None:
    centres = [[0.05, 10.0, 19.9], [10.0, 10.0, 10.0]]
    positions = _planted(centres)
    found, masses = find_haloes(
        positions, particle_tree(positions, BOXSIZE), BOXSIZE, PARTICLE_MASS, 1e13
    )
    assert len(found) == 2
    for centre in centres:
        distance = np.linalg.norm(periodic_difference(found - centre, BOXSIZE), axis=1)
        assert distance.min() < 0.05 * R80
    assert masses == pytest.approx([MASS, MASS], rel=0.05)


def test_light_haloes_are_left_out() -> None:
    positions = _planted([[10.0, 10.0, 10.0]])
    tree = particle_tree(positions, BOXSIZE)
    found, masses = find_haloes(positions, tree, BOXSIZE, PARTICLE_MASS, 1.2 * MASS)
    assert found.shape == (0, 3)
    assert masses.shape == (0,)


def test_m200_agrees_with_colossus() -> None:
    cosmology = pytest.importorskip("colossus.cosmology.cosmology")
    mass_defs = pytest.importorskip("colossus.halo.mass_defs")
    flat = {"flat": True, "H0": 67.11, "Om0": 0.3, "Ob0": 0.049, "sigma8": 0.8, "ns": 0.9624}
    cosmology.setCosmology("test_haloes", params={**flat, "persistence": ""})
    m80 = np.array([5e12, 1e14])
    haloes = haloes_with_nfw(np.zeros((2, 3)), m80, 4.8, -0.085, np.array([1.0, 1.3]))
    for i in range(2):
        mass, radius, _ = mass_defs.changeMassDefinition(
            haloes.m200[i], haloes.concentration[i], 0.0, "200c", "80c"
        )
        assert mass == pytest.approx(m80[i], rel=1e-3)
        assert radius / 1e3 == pytest.approx(haloes.r80[i], rel=1e-3)
    expected = np.array([1.0, 1.3]) * 4.8 * (haloes.m200 / 1e13) ** -0.085
    assert haloes.concentration == pytest.approx(expected, rel=1e-6)


def test_sharpened_halo_is_nfw_and_keeps_its_mass() -> None:
    centre = np.array([[19.95, 10.0, 0.02]])
    positions = _planted(centre.tolist())
    tree = particle_tree(positions, BOXSIZE)
    haloes = haloes_with_nfw(centre, np.array([MASS]), 5.0, 0.0, np.ones(1))
    sharpened = sharpen(positions, tree, BOXSIZE, haloes)
    r80, r200 = haloes.r80[0], haloes.r200[0]

    def inside(particles: np.ndarray, radius: float) -> int:
        offset = periodic_difference(particles - centre, BOXSIZE)
        return int((np.linalg.norm(offset, axis=1) < radius).sum())

    total = inside(positions, r80)
    assert inside(sharpened, r80) == pytest.approx(total, abs=2)
    for x in (0.1, 0.3, 1.0):
        expected = total * nfw_mass(5.0 * x) / nfw_mass(5.0 * r80 / r200)
        assert inside(sharpened, x * r200) == pytest.approx(expected, rel=0.01)
    offset = periodic_difference(positions - centre, BOXSIZE)
    outside = np.linalg.norm(offset, axis=1) > r80
    assert np.array_equal(positions[outside], sharpened[outside])
    assert sharpened.min() >= 0
    assert sharpened.max() < BOXSIZE
