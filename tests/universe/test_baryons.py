"""Hydrodynamic draws: mass, determinism, reach and the direction of the effects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halo_cm.config.universe import BaryonConfig
from halo_cm.seeding import generator
from halo_cm.universe import profiles
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.haloes import periodic_difference
from halo_cm.universe.latents import Astrophysics, draw_latents, random_waves
from halo_cm.universe.matter import Matter

MEAN = Astrophysics(log10_mc=12.6, theta_ej=4.0, a_star=0.06, s_scatter=1.0)


@pytest.fixture(scope="module")
def model(matter: Matter) -> BaryonModel:
    return BaryonModel(matter, BaryonConfig())


def _gas_inside(matter: Matter, model: BaryonModel, parameters: Astrophysics, h: int) -> float:
    """Gas inside R200c over the baryons of the DMO halo there."""
    draw = model.draw(parameters, 0, "inside")
    centre, r200 = matter.haloes.position[h], matter.haloes.r200[h]

    def inside(positions: np.ndarray) -> np.ndarray:
        offset = periodic_difference(positions - centre, matter.boxsize)
        return np.linalg.norm(offset, axis=1) < r200

    gas = draw.gas_masses[inside(draw.gas_positions)].sum()
    dmo = matter.particle_mass * inside(matter.positions).sum()
    return float(gas / dmo / matter.baryon_fraction)


def test_mass_is_conserved_and_baryons_have_their_share(matter: Matter, model: BaryonModel) -> None:
    draw = model.draw(MEAN, 1, "mass")
    n_field = matter.n_particles - matter.n_moving
    gas = draw.gas_masses.sum(dtype=float) + n_field * draw.field_gas_mass
    baryons = gas + draw.star_masses.sum(dtype=float)
    dark = (1 - matter.baryon_fraction) * matter.particle_mass * matter.n_particles
    assert baryons / matter.total_mass == pytest.approx(matter.baryon_fraction, rel=1e-6)
    assert (baryons + dark) / matter.total_mass == pytest.approx(1, rel=1e-6)
    # stars take their mass from the gas nearby, so little is left for the global correction
    assert draw.field_gas_mass == pytest.approx(
        matter.baryon_fraction * matter.particle_mass, rel=0.02
    )


def test_same_words_same_draw_other_words_another(model: BaryonModel) -> None:
    first, again, other = (model.draw(MEAN, 1, *words) for words in (("a",), ("a",), ("b",)))
    for name in ("dm_positions", "gas_positions", "gas_masses", "star_positions", "star_masses"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.gas_positions, other.gas_positions)
    assert not np.array_equal(first.halo_star_mass, other.halo_star_mass)


def test_nothing_moves_at_the_reach(matter: Matter, model: BaryonModel) -> None:
    draw = model.draw(MEAN, 1, "reach")
    distance = np.full(matter.n_moving, np.inf)
    for near in matter.neighbourhoods:
        distance[near.index] = np.minimum(distance[near.index], near.x)
    edge = distance > 4.95
    moved = np.linalg.norm(draw.gas_positions - matter.moving_positions, axis=1)
    assert edge.sum() > 10
    assert moved[edge].max() < 0.03
    assert moved[distance < 1].mean() > 0.05
    fixed = matter.positions[matter.n_moving :]
    for centre, r200 in zip(matter.haloes.position, matter.haloes.r200, strict=True):
        offset = periodic_difference(fixed - centre, matter.boxsize)
        assert np.linalg.norm(offset, axis=1).min() > 5 * r200 * (1 - 1e-5)


def test_radial_shift_gives_the_component_its_profile(matter: Matter, model: BaryonModel) -> None:
    """M_tot G_X(r') + M_2h(r') = M_tot G_0(r) + M_2h(r) where displacements do not fade out."""
    quiet, c, x = replace(MEAN, s_scatter=0.0), model.constants, matter.radii
    haloes, f_b = matter.haloes, matter.baryon_fraction
    latents = draw_latents(haloes.m200, quiet, c, f_b, (0,))
    dm, gas = model.radial_shifts(quiet, latents)
    assert dm.shape == gas.shape == (3, len(x))
    assert np.all(gas[:, -1] == 0) and np.all(dm[:, -1] == 0)
    # feedback pushes gas outwards inside R200c
    assert np.all(gas[:, (x > 0.1) & (x < 1)] > 0)

    for h in range(3):
        halo = profiles.truncated_nfw_profile(x, haloes.concentration[h], c.truncation)
        total = haloes.m200[h] * halo[-1] / np.interp(1, x, halo)
        halo = halo / halo[-1]
        two_halo = np.maximum.accumulate(np.maximum(matter.enclosed_mass[h] - total * halo, 0))
        gas_profile = profiles.gas_profile(
            x,
            profiles.gas_slope(haloes.m200[h], latents.mc[h], c.gas_mu),
            latents.theta_ej[h],
            c.gas_core,
            c.gas_gamma,
            c.gas_delta,
        )
        stars, central = latents.star_fraction[h], latents.central_fraction[h]
        dm_profile = profiles.relaxed_profile(
            x,
            halo[None],
            gas_profile[None],
            profiles.central_profile(x, c.central_radius)[None],
            tuple(np.array([[f]]) for f in (1 - f_b + stars - central, f_b - stars, central)),
            c.relaxation_amplitude,
        )[0]
        before = total * halo + two_halo
        for shift, component in ((dm[h], dm_profile), (gas[h], gas_profile)):
            moved = x * (1 + shift)
            inside = (moved > x[0]) & (np.maximum(x, moved) < 0.9 * x[-1])  # before the taper
            assert inside.sum() > 0.7 * len(x)
            after = np.interp(moved, x, total * component + two_halo)
            np.testing.assert_allclose(after[inside], before[inside], rtol=1e-3)
            assert np.abs(shift[inside]).max() > 0.05  # or the equation would say nothing


def test_stronger_feedback_leaves_less_gas(matter: Matter, model: BaryonModel) -> None:
    quiet = replace(MEAN, s_scatter=0.0)
    fractions = [
        _gas_inside(matter, model, replace(quiet, log10_mc=mc), 1) for mc in (11.5, 12.5, 13.5)
    ]
    assert fractions[0] > fractions[1] > fractions[2]
    assert 0.5 < fractions[0] < 1.05
    assert 0.1 < fractions[2] < 0.8
    heavy = _gas_inside(matter, model, quiet, 0)
    light = _gas_inside(matter, model, quiet, 2)
    assert heavy > light


def test_latents_have_their_scatter_and_correlation() -> None:
    constants, mass = BaryonConfig(), np.full(4000, 1e13)
    latents = draw_latents(mass, MEAN, constants, 0.16, (3, "latents"))
    log_mc, log_star = np.log10(latents.mc), np.log(latents.star_fraction)
    assert log_mc.mean() == pytest.approx(12.6, abs=0.02)
    assert log_mc.std() == pytest.approx(constants.scatter_log10_mc, rel=0.05)
    assert log_star.std() == pytest.approx(constants.scatter_ln_star, rel=0.05)
    assert np.corrcoef(log_mc, log_star)[0, 1] == pytest.approx(0.4, abs=0.05)
    expected = 0.06 * (2.5e11 / 1e13) ** 0.32
    assert np.exp(log_star.mean()) == pytest.approx(expected, rel=0.02)
    calm = draw_latents(mass, replace(MEAN, s_scatter=0.0), constants, 0.16, (3,))
    assert np.ptp(calm.mc) == 0
    assert np.ptp(calm.anisotropy) == 0


def test_star_mass_of_haloes_has_the_asked_mean(matter: Matter, model: BaryonModel) -> None:
    quiet = replace(MEAN, s_scatter=0.0)
    draws = np.array([model.draw(quiet, 0, "stars", i).halo_star_mass for i in range(8)])
    expected = 0.06 * (2.5e11 / matter.haloes.m200) ** 0.32 * matter.haloes.m200
    assert draws.mean(0) == pytest.approx(expected, rel=0.3)


def test_random_waves_have_unit_variance() -> None:
    rng = generator(0, "waves")
    points = rng.uniform(-50, 50, (4000, 3)).astype(np.float32)
    fields = [random_waves(rng, (1.0, 8.0)) for _ in range(20)]
    scalar = np.mean([np.mean(f.scalars(points) ** 2) for f in fields])
    vector = np.mean([np.mean(np.sum(f.vectors(points) ** 2, 1)) for f in fields])
    assert scalar == pytest.approx(1, rel=0.05)
    assert vector == pytest.approx(1, rel=0.05)
