"""Power of a box: every band is reached, whatever the size of the box."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from halo_cm.universe.box_power import LARGEST_K, BoxPower, noise_of_haloes
from halo_cm.universe.matter import Matter
from halo_cm.universe.measurements import POWER_BANDS, SUPPRESSION_BANDS


@pytest.mark.parametrize(("boxsize", "n"), [(50.0, 32), (200.0, 32), (400.0, 24)])
def test_all_bands_are_measured(boxsize: float, n: int) -> None:
    """Random particles have the same power in each: boxsize^3 / n^3."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, boxsize, (n**3, 3)).astype(np.float32) % np.float32(boxsize)
    matter = SimpleNamespace(n_particles=n**3, boxsize=boxsize)
    found = BoxPower.of_parts([(positions, 1.0)], matter)  # type: ignore[arg-type]
    assert (np.diff(found.k) > 0).all() and found.k[-1] > 0.95 * LARGEST_K
    for edges in (POWER_BANDS, SUPPRESSION_BANDS):
        bands = found.averages(found.power[None], edges)[0]
        reached = np.array(edges[1:]) > 3 * found.k[0]
        assert np.isfinite(bands[reached]).all()
        np.testing.assert_allclose(bands[reached][1:], boxsize**3 / n**3, rtol=0.2)


def test_bands_without_waves_are_not_numbers() -> None:
    power = BoxPower(np.array([1.0, 2.0]), np.ones(2), np.ones(2))
    found = power.averages(np.ones((1, 2)), (0.1, 0.5, 1.5, 2.1, 3.0))[0]
    np.testing.assert_array_equal(found, [np.nan, 1, 1, np.nan])


@pytest.mark.parametrize("wave", [0.5, 3.0, 20.0])
def test_noise_of_haloes_is_that_of_random_directions(matter: Matter, wave: float) -> None:
    """Particles that keep their radius get new directions: the amplitudes scatter by the noise."""
    rng = np.random.default_rng(1)
    haloes, offsets = matter.haloes, []
    for near, r80, r200 in zip(matter.neighbourhoods, haloes.r80, haloes.r200, strict=True):
        offsets.append(near.x[: near.count_within(r80 / r200)] * r200)
    r = np.concatenate(offsets)  # the planted haloes do not overlap
    # e^{i k x} at the positions along k, which are even in [-r, r] for even directions
    phases = wave * r * rng.uniform(-1, 1, (600, len(r)))
    amplitudes = np.exp(1j * phases).sum(1)
    scatter = np.mean(np.abs(amplitudes - amplitudes.mean()) ** 2)
    expected = scatter * matter.boxsize**3 / matter.n_particles**2
    found = noise_of_haloes(matter, np.array([wave]))
    assert found[0] == pytest.approx(expected, rel=0.15)
    poisson = matter.boxsize**3 * len(r) / matter.n_particles**2
    assert 0 < found[0] < poisson


def test_noise_of_haloes_is_in_the_measured_power(matter: Matter) -> None:
    """Eight times as many particles, an eighth as heavy, have an eighth of it."""
    rng, box = np.random.default_rng(2), matter.boxsize
    radii, centres = [], []
    for i, near in enumerate(matter.neighbourhoods):
        inside = slice(near.count_within(matter.haloes.r80[i] / matter.haloes.r200[i]))
        radii.append(near.x[inside] * matter.haloes.r200[i])
        centres.append(np.broadcast_to(matter.haloes.position[i], (len(radii[-1]), 3)))
    r, centre = np.concatenate(radii), np.concatenate(centres)

    def power(copies: int) -> BoxPower:
        axis = rng.normal(size=(copies, len(r), 3))
        axis *= (r / np.linalg.norm(axis, axis=-1))[..., None]
        positions = ((centre + axis) % box).astype(np.float32).reshape(-1, 3) % np.float32(box)
        return BoxPower.of_parts([(positions, 1 / copies)], matter)

    pairs = [(power(1), power(8)) for _ in range(60)]
    # power of the haloes alone: of mass over the mean mass of a box that holds nothing else
    share = (len(r) / matter.n_particles) ** 2
    k = pairs[0][0].k
    bands = (14.0, 25.0)
    lost = np.mean(
        [one.averages((one.power - eight.power)[None], bands) for one, eight in pairs], 0
    )
    expected = pairs[0][0].averages((7 / 8 * noise_of_haloes(matter, k) / share)[None], bands)
    np.testing.assert_allclose(lost, expected, rtol=0.3)


def test_noise_of_haloes_counts_a_particle_of_two_haloes_once(matter: Matter) -> None:
    twice = [np.concatenate([a, a]) for a in (matter.haloes.r80, matter.haloes.r200)]
    haloes = replace(matter.haloes, r80=twice[0], r200=twice[1])
    doubled = replace(matter, haloes=haloes, neighbourhoods=2 * matter.neighbourhoods)
    k = np.array([1.0, 10.0])
    np.testing.assert_allclose(noise_of_haloes(doubled, k), noise_of_haloes(matter, k))
