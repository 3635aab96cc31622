"""Masses, profiles and contents of haloes against analytic profiles."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import (
    aperture_masses,
    binned_relation,
    component_fraction,
    conditional_deviation_by_radius,
    masses_around,
    masses_within,
    profiles_around,
    radial_profile,
)

BOXSIZE = 6.25


def gaussian_map(n: int, centre: tuple[float, ...], width: float, mass: float) -> np.ndarray:
    """Mass per cell of a Gaussian halo in a periodic box, from its integral over each cell."""
    from scipy.special import erf

    edges = np.arange(n + 1) * BOXSIZE / n
    profiles = []
    for c in centre:
        images = [erf((edges - c + shift) / width / np.sqrt(2)) for shift in (-BOXSIZE, 0, BOXSIZE)]
        profiles.append(np.diff(sum(images)) / 2)
    cells = profiles[0]
    for profile in profiles[1:]:
        cells = cells[..., None] * profile
    return mass * cells


def test_each_halo_has_its_own_radius() -> None:
    """A projected Gaussian holds 1 - exp(-R^2 / 2 s^2) of its mass within R."""
    n, mass, width = 160, 3e13, 0.5
    radii = np.array([0.3, 0.71, 2.0])
    one = gaussian_map(n, (BOXSIZE / 2, BOXSIZE / 2), width, mass)
    maps = one * np.array([1.0, 0.1])[:, None, None] * np.ones((3, 1, 1, 1))
    found = masses_within(maps, BOXSIZE, radii)
    expected = mass * (1 - np.exp(-(radii**2) / 2 / width**2))
    np.testing.assert_allclose(found, expected[:, None] * [1, 0.1], rtol=3e-3)
    by_map = aperture_masses(one, BOXSIZE, tuple(radii))
    np.testing.assert_allclose(found[:, 0], by_map, rtol=1e-12)


@pytest.mark.parametrize("centre", [(3.1, 2.2), (0.05, 6.2)])
def test_masses_around_positions_of_a_periodic_map(centre: tuple[float, float]) -> None:
    mass, width = 1e14, 0.4
    field = gaussian_map(160, centre, width, mass) * np.array([1.0, 0.2])[:, None, None]
    radii = np.array([0.3, 0.8, 1.5])
    found = masses_around(field, BOXSIZE, np.array([centre, centre]), radii)
    assert found.shape == (2, 2, 3)
    expected = mass * (1 - np.exp(-(radii**2) / 2 / width**2))
    np.testing.assert_allclose(found[0], [expected, 0.2 * expected], rtol=5e-3)
    own = masses_around(field, BOXSIZE, np.array([centre, centre]), radii[[[0], [2]]])
    np.testing.assert_allclose(own[:, 0, 0], expected[[0, 2]], rtol=5e-3)


def test_masses_around_positions_of_a_box() -> None:
    from scipy.stats import chi2

    centre, mass, width = (0.1, 3.3, 6.0), 1e14, 0.6
    field = gaussian_map(50, centre, width, mass)
    radii = np.array([0.4, 1.0, 2.0])
    found = masses_around(field, BOXSIZE, np.array([centre]), radii)
    np.testing.assert_allclose(found[0], mass * chi2.cdf((radii / width) ** 2, 3), rtol=0.01)


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_uniform_field_has_the_volume_of_the_sphere(n_axes: int) -> None:
    n, radius = 24, BOXSIZE / 2
    field = np.full((n,) * n_axes, (BOXSIZE / n) ** n_axes)
    found = masses_around(field, BOXSIZE, np.random.default_rng(0).random((5, n_axes)), [radius])
    volume = np.pi * radius**2 if n_axes == 2 else 4 / 3 * np.pi * radius**3
    np.testing.assert_allclose(found, volume, rtol=2e-3)


def test_shifts_by_whole_cells_change_nothing() -> None:
    field = np.random.default_rng(1).random((20, 20, 20))
    centres = np.random.default_rng(2).random((3, 3)) * BOXSIZE
    shift = np.array([3, 18, -5])
    moved = np.roll(field, shift, axis=(0, 1, 2))
    np.testing.assert_allclose(
        masses_around(moved, BOXSIZE, centres + shift * BOXSIZE / 20, [1.0]),
        masses_around(field, BOXSIZE, centres, [1.0]),
        rtol=1e-9,
    )


def test_profile_of_a_gaussian_halo() -> None:
    mass, width = 1e14, 0.5
    edges = np.array([0, 0.2, 0.5, 1.0, 2.0])
    within = mass * (1 - np.exp(-(edges**2) / 2 / width**2))
    expected = np.diff(within) / np.diff(np.pi * edges**2)
    cutout = gaussian_map(128, (BOXSIZE / 2, BOXSIZE / 2), width, mass)
    np.testing.assert_allclose(radial_profile(cutout, BOXSIZE, edges), expected, rtol=0.01)
    outer = radial_profile(cutout, BOXSIZE, edges[1:])
    np.testing.assert_allclose(outer, expected[1:], rtol=0.01)
    centre = (0.31, 5.0)
    around = profiles_around(
        gaussian_map(128, centre, width, mass), BOXSIZE, np.array([centre]), edges
    )
    np.testing.assert_allclose(around[0], expected, rtol=0.02)


def test_profile_of_a_uniform_box_is_its_density() -> None:
    field = np.full((20, 20, 20), 5e9)
    found = profiles_around(field, BOXSIZE, np.array([[1.0, 2.0, 6.1]]), [0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(found, 5e9 * (20 / BOXSIZE) ** 3, rtol=0.02)


def test_conditional_deviation_finds_the_scatter_of_each_ring() -> None:
    """Members differ by Gaussian noise in log10(1 + m / m0), 0.1 dex inside and 0.3 outside."""
    random, n, m0 = np.random.default_rng(0), 48, 1e9
    axis = (np.arange(n) + 0.5) * BOXSIZE / n - BOXSIZE / 2
    inside = np.hypot(axis[:, None], axis) < 1.5
    mean = random.uniform(2, 4, size=(20, 1, n, n))
    logs = mean + np.where(inside, 0.1, 0.3) * random.normal(size=(20, 5, n, n))
    maps = m0 * (10**logs - 1)
    edges = [0, 0.7, 1.3, 1.7, 2.5, 3.1]
    found = conditional_deviation_by_radius(maps, BOXSIZE, edges, m0)
    np.testing.assert_allclose(found[[0, 1, 3, 4]], [0.1, 0.1, 0.3, 0.3], rtol=0.02)
    assert 0.1 < found[2] < 0.3
    by_channel = np.stack([maps, maps], axis=2)
    again = conditional_deviation_by_radius(by_channel, BOXSIZE, edges, m0)
    np.testing.assert_allclose(again, [found, found], rtol=1e-9)
    same = np.repeat(maps[:, :1], 3, axis=1)
    np.testing.assert_allclose(
        conditional_deviation_by_radius(same, BOXSIZE, edges, m0), 0, atol=1e-7
    )


def test_fractions_and_their_scatter() -> None:
    random = np.random.default_rng(0)
    log_mass = random.uniform(12.5, 14.5, 4000)
    gas = 0.05 + 0.05 * (log_mass - 12.5) + 0.01 * random.normal(size=4000)
    total = 10**log_mass
    masses = np.stack([0.98 * total - gas * total, gas * total, 0.02 * total], axis=-1)
    f_gas = component_fraction(masses, "gas")
    np.testing.assert_allclose(f_gas, gas, rtol=1e-9)
    np.testing.assert_allclose(component_fraction(masses, "star"), 0.02, rtol=1e-9)
    found = binned_relation(log_mass, f_gas, np.arange(12.5, 14.6, 0.1))
    centre = (found.edges[1:] + found.edges[:-1]) / 2
    np.testing.assert_allclose(found.mean, 0.05 + 0.05 * (centre - 12.5), atol=0.004)
    # and the slope across a bin
    np.testing.assert_allclose(found.scatter, np.hypot(0.01, 0.005 / np.sqrt(12)), rtol=0.2)
    np.testing.assert_allclose(found.error, found.scatter / np.sqrt(found.n))
    assert found.n.sum() == 4000


def test_bins_hold_their_edges_and_may_be_empty() -> None:
    x, y = np.array([0.0, 1, 2, 5, -1]), np.arange(5.0)
    found = binned_relation(x, y, [0, 1, 2, 3, 4])
    assert found.n.tolist() == [1, 1, 1, 0]
    np.testing.assert_array_equal(found.mean, [0, 1, 2, np.nan])
    assert np.isnan(found.scatter).all()
    assert binned_relation(x, y, [0, 2]).n.tolist() == [3]


def test_bad_input() -> None:
    maps, centre = np.ones((2, 8, 8)), np.array([[1.0, 1.0]])
    with pytest.raises(DataError, match="one for each halo"):
        masses_within(maps, BOXSIZE, np.ones(3))
    with pytest.raises(DataError, match=r"radius 4\.0 .* does not fit"):
        masses_within(maps, BOXSIZE, np.array([1.0, 4.0]))
    with pytest.raises(DataError, match=r"nan .* does not fit"):
        masses_around(maps[0], BOXSIZE, centre, [np.nan])
    with pytest.raises(DataError, match="centres: 1 of 2 entries are NaN"):
        masses_around(maps[0], BOXSIZE, np.array([[1.0, np.nan]]), [1.0])
    with pytest.raises(DataError, match=r"expected \(H, 2\) or \(H, 3\)"):
        masses_around(maps[0], BOXSIZE, np.ones(2), [1.0])
    with pytest.raises(DataError, match=r"expected \(K,\) or \(H, K\)"):
        masses_around(maps[0], BOXSIZE, centre, np.ones((2, 2)))
    with pytest.raises(DataError, match="no aperture"):
        aperture_masses(maps, BOXSIZE, ())
    with pytest.raises(DataError, match="must not be negative"):
        radial_profile(maps, BOXSIZE, [-1, 1])
    with pytest.raises(DataError, match="at least two members, found 1"):
        conditional_deviation_by_radius(maps[:, None], BOXSIZE, [0, 1], 1e9)
    with pytest.raises(DataError, match=r"expected \(N, R"):
        conditional_deviation_by_radius(maps, BOXSIZE, [0, 1], 1e9)
    with pytest.raises(DataError, match="1 of 2 apertures hold no mass"):
        component_fraction(np.array([[0.0, 0, 0], [1, 1, 1]]), "gas")
    with pytest.raises(DataError, match="'metals' is unknown"):
        component_fraction(np.ones((2, 3)), "metals")
    with pytest.raises(DataError, match="none of 2 values"):
        binned_relation(np.zeros(2), np.zeros(2), [1, 2])
