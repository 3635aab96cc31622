"""Gates on the physics: suppression of power, and the halo mass function (slow)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from halo_cm.config.universe import BaryonConfig, UniverseConfig
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.box import Box
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.matter import Matter
from halo_cm.universe.particle_mesh import deposit

N_MESH = 96


def _mesh(matter: Matter, positions: np.ndarray, masses: np.ndarray | float) -> torch.Tensor:
    weights = np.broadcast_to(np.float32(masses), (len(positions),)).copy()
    return deposit(torch.from_numpy(positions), N_MESH, matter.boxsize, torch.from_numpy(weights))


def _power(matter: Matter, mesh: torch.Tensor) -> tuple[float, float]:
    """Power at the largest scales (first ten modes) and at k = 4-8 h/Mpc."""
    modes = torch.fft.rfftn(mesh / mesh.mean() - 1).abs() ** 2
    full = torch.fft.fftfreq(N_MESH) * N_MESH
    half = torch.fft.rfftfreq(N_MESH) * N_MESH
    size = (full.view(-1, 1, 1) ** 2 + full.view(1, -1, 1) ** 2 + half.view(1, 1, -1) ** 2).sqrt()
    k = 2 * np.pi / matter.boxsize * size
    large, small = (size > 0) & (size < 2), (k > 4) & (k < 8)
    return float(modes[large].mean()), float(modes[small].mean())


def _suppression(matter: Matter, log10_mc: float) -> tuple[float, float]:
    """P_hydro / P_dmo of all matter at large and at small scales."""
    draw = BaryonModel(matter, BaryonConfig()).draw(
        Astrophysics(log10_mc, 4.0, 0.06, 0.0), 0, "suppression"
    )
    dark = (1 - matter.baryon_fraction) * matter.particle_mass
    fixed = matter.positions[matter.n_moving :]
    total = (
        _mesh(matter, draw.dm_positions, dark)
        + _mesh(matter, fixed, dark + draw.field_gas_mass)
        + _mesh(matter, draw.gas_positions, draw.gas_masses)
        + _mesh(matter, draw.star_positions, draw.star_masses)
    )
    dmo = _power(matter, _mesh(matter, matter.positions, matter.particle_mass))
    hydro = _power(matter, total)
    return hydro[0] / dmo[0], hydro[1] / dmo[1]


def test_feedback_suppresses_small_scales_only(matter: Matter) -> None:
    large, small = zip(*(_suppression(matter, mc) for mc in (12.0, 12.8, 13.6)), strict=True)
    assert large == pytest.approx([1, 1, 1], abs=0.05)
    assert 1.0 > small[0] > small[1] > small[2] > 0.6


@pytest.mark.slow
def test_halo_counts_follow_tinker() -> None:
    """Counts of one default box within 2.5 Poisson errors and within 25% above 10^13 Msun/h."""
    cosmology = pytest.importorskip("colossus.cosmology.cosmology")
    mass_function = pytest.importorskip("colossus.lss.mass_function")
    config = UniverseConfig.from_preset("default")
    box = Box.simulate(config, 0)
    ours = box.plan.cosmology
    cosmology.setCosmology(
        "test_physics",
        params={
            "flat": True,
            "H0": 67.11,
            "Om0": ours.omega_m,
            "Ob0": ours.omega_b,
            "sigma8": ours.sigma_8,
            "ns": ours.spectral_index,
            "persistence": "",
        },
    )
    mass = np.geomspace(1e13, 1e16, 400)
    density = mass_function.massFunction(mass, 0.0, mdef="200c", model="tinker08", q_out="dndlnM")
    found = box.matter.haloes.m200
    total = np.trapezoid(density, np.log(mass)) * config.boxsize**3
    assert (found >= 1e13).sum() == pytest.approx(total, rel=0.25)
    for low, high in ((1e13, 2e13), (2e13, 5e13), (5e13, 1e16)):
        inside = np.where((mass >= low) & (mass < high), density, 0)
        expected = np.trapezoid(inside, np.log(mass)) * config.boxsize**3
        count = ((found >= low) & (found < high)).sum()
        assert abs(count - expected) < 2.5 * np.sqrt(expected)
