"""Theory of a box: its own modes, halo counts and power against colossus and CAMB."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe import box as box_module
from halo_cm.universe.box import particles_today
from halo_cm.universe.cosmology import Cosmology, growth_factor, linear_power
from halo_cm.universe.design import plan_box
from halo_cm.universe.expectations import COUPLING, MASSES, BoxTheory, initial_modes
from halo_cm.universe.gravity_gates import PROTOTYPE_COUNTS
from halo_cm.universe.initial_conditions import largest_wavenumber
from halo_cm.universe.measurements import MASS_EDGES

Make = Callable[..., UniverseConfig]


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config(n_validation_boxes=0, n_test_boxes=0)


@pytest.fixture(scope="module")
def theory(config: UniverseConfig) -> BoxTheory:
    return BoxTheory.of_box(config, plan_box(config, 0))


def test_linear_theory_of_a_box(theory: BoxTheory) -> None:
    # 8 Mpc/h spheres have sigma_8
    mass = 4 * math.pi / 3 * 512 * theory.cosmology.omega_m * 2.77536627e11
    sigma = float(theory.sigma(np.array([mass]), of_box=False)[0])
    assert sigma == pytest.approx(theory.cosmology.sigma_8, rel=0.01)
    # long waves are missing
    of_box = theory.sigma(np.array([1e13, 1e15]), of_box=True)
    everywhere = theory.sigma(np.array([1e13, 1e15]), of_box=False)
    assert of_box[1] / everywhere[1] < of_box[0] / everywhere[0] < 1.05
    ratio = theory.box_power / theory.linear(theory.box_k)
    error = np.sqrt(2 / theory.box_modes)
    assert (np.abs(ratio - 1) < 5 * error).all()
    assert theory.linear_of_box(theory.box_k) == pytest.approx(theory.box_power)


def test_the_modes_are_those_that_gravity_starts_from(
    tiny_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their phases too: a change of the random stream or of the spectrum is noticed."""
    config = tiny_config(n_train_boxes=2, initial_redshift=99.0)
    plan = plan_box(config, 1)
    monkeypatch.setattr(box_module, "evolve", lambda *_, **__: None)
    n = config.n_particles
    sites = (np.arange(n) + 0.5) * config.boxsize / n
    moved = particles_today(config, plan).reshape(n, n, n, 3).astype(float)
    moved -= np.stack(np.meshgrid(sites, sites, sites, indexing="ij"), -1)
    moved -= config.boxsize * np.round(moved / config.boxsize)
    k = 2 * np.pi / config.boxsize * n * np.fft.fftfreq(n)
    waves = np.meshgrid(k, k, k[: n // 2 + 1], indexing="ij")
    psi = np.fft.rfftn(moved, axes=(0, 1, 2))
    # delta = -div psi
    started = -1j * sum(waves[i] * psi[..., i] for i in range(3))
    inside = np.sqrt(sum(w**2 for w in waves)) < 0.9 * np.pi * n / config.boxsize
    inside[0, 0, 0] = False

    def correlation(modes: NDArray[np.complex64]) -> tuple[float, float]:
        ours, theirs = started[inside], modes[inside]
        cross = (ours * theirs.conj()).real.sum()
        squares = (np.abs(ours) ** 2).sum(), (np.abs(theirs) ** 2).sum()
        return cross / math.sqrt(squares[0] * squares[1]), math.sqrt(squares[0] / squares[1])

    same, amplitude = correlation(initial_modes(config, plan))
    assert same > 0.999
    assert amplitude == pytest.approx(growth_factor(0.01, plan.cosmology.omega_m), rel=0.01)
    assert abs(correlation(initial_modes(config, replace(plan, phases=0)))[0]) < 0.1


def test_the_spectrum_is_tabulated_alike(
    config: UniverseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the same wavenumber in gravity and in theory."""
    asked = []

    def remember(cosmology: Cosmology, k_max: float, *_: object) -> tuple[object, object]:
        asked.append(k_max)
        return linear_power(cosmology, k_max)

    monkeypatch.setattr(box_module, "linear_power", remember)
    monkeypatch.setattr("halo_cm.universe.expectations.linear_power", remember)
    monkeypatch.setattr(box_module, "evolve", lambda *_, **__: None)
    particles_today(config, plan_box(config, 0))
    initial_modes(config, plan_box(config, 0))
    expected = largest_wavenumber(config.n_particles, config.boxsize)
    assert asked == [expected, expected]
    assert expected > math.sqrt(3) * math.pi * config.n_particles / config.boxsize


@pytest.mark.parametrize("omega_m", [0.2, 0.4])
def test_mass_function_agrees_with_colossus(omega_m: float, theory: BoxTheory) -> None:
    from colossus.lss import mass_function

    ours = Cosmology(omega_m, 0.8)
    k, power = linear_power(ours, 20.0)
    found = replace(theory, cosmology=ours, k=k, power=power).mass_function(of_box=False)
    reference = mass_function.massFunction(
        MASSES, 0.0, mdef="200c", model="tinker08", q_out="dndlnM"
    )
    inside = (MASSES > 1e12) & (MASSES < 3e14)
    # its transfer function is that of Eisenstein & Hu (1998)
    np.testing.assert_allclose(found[inside], reference[inside], rtol=0.05)


def test_finite_box_factor_and_halofit(config: UniverseConfig, theory: BoxTheory) -> None:
    k = np.geomspace(0.2, 10, 20)
    factor = theory.finite_box_factor(k, config)
    assert ((factor > 0.1) & (factor < 1.4)).all()
    ratio = theory.halofit(k) / theory.linear(k)
    assert ratio[0] < 1.6 and ratio[-1] > 10
    counts = theory.counts(MASS_EDGES, of_box=False)
    assert (np.diff(counts) < 0).all() and len(counts) == len(PROTOTYPE_COUNTS)


def test_coupling_is_known_for_one_size_of_box(theory: BoxTheory) -> None:
    k = np.array([0.126, 0.25, 0.4, 0.6, 0.9, 1.0, 5.0])
    usual = replace(theory, boxsize=50.0, cosmology=Cosmology(0.3, 0.8))
    assert usual.coupling(k).tolist() == [*COUPLING, 1.0, 1.0]
    # the stronger the waves, the more they couple
    strong = replace(usual, cosmology=Cosmology(0.3, 0.9)).coupling(k)
    assert strong[:5] == pytest.approx(0.96 * np.array(COUPLING)) and (strong[5:] == 1).all()
    # a box has less power than halofit and the halo model say, the most on scales of few Mpc/h
    assert min(COUPLING) > 0.7 and max(COUPLING) < 1
    other = replace(theory, boxsize=25.0).coupling(k)
    assert np.isnan(other[:5]).all() and (other[5:] == 1).all()
