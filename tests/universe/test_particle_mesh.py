"""Mass assignment, forces and growth of the particle mesh."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from halo_cm.universe.cosmology import growth_factor
from halo_cm.universe.initial_conditions import (
    initial_particles,
    lagrangian_displacements,
    wavenumbers,
)
from halo_cm.universe.particle_mesh import ParticleMesh, deposit, evolve, step_factors


@pytest.mark.parametrize("n_dims", [2, 3])
def test_deposit_conserves_mass_and_shifts_with_the_particles(n_dims: int) -> None:
    torch.manual_seed(0)
    n_mesh, boxsize = 12, 30.0
    x = torch.rand(500, n_dims) * boxsize
    w = torch.rand(500)
    mesh = deposit(x, n_mesh, boxsize, w)
    assert mesh.shape == (n_mesh,) * n_dims
    assert float(mesh.sum()) == pytest.approx(float(w.sum()), rel=1e-5)
    shifted = deposit(x + 3 * boxsize / n_mesh, n_mesh, boxsize, w)
    assert torch.allclose(shifted, mesh.roll((3,) * n_dims, tuple(range(n_dims))), atol=1e-3)


def test_particle_at_a_cell_centre_stays_in_its_cell() -> None:
    mesh = deposit(torch.tensor([[2.5, 0.5, 9.5]]), 10, 10.0)
    assert float(mesh[2, 0, 9]) == pytest.approx(1.0)
    half = deposit(torch.tensor([[9.9999999, 0.5, 9.5]]), 10, 10.0)  # on the border of the box
    assert float(half[9, 0, 9]) == pytest.approx(0.5, abs=1e-5)
    assert float(half[0, 0, 9]) == pytest.approx(0.5, abs=1e-5)


def test_deposit_centroid_is_the_particle() -> None:
    x = torch.tensor([[3.3, 6.9]])
    mesh = deposit(x, 10, 10.0)
    centres = torch.arange(10) + 0.5
    assert float((mesh.sum(1) * centres).sum()) == pytest.approx(3.3, abs=1e-5)
    assert float((mesh.sum(0) * centres).sum()) == pytest.approx(6.9, abs=1e-5)


def test_force_of_a_plane_wave() -> None:
    n, boxsize, amplitude = 32, 20.0, 0.01
    k = 2 * math.pi / boxsize
    lattice = _lattice(n, boxsize)
    # psi = -(A / k) sin(k q) makes the overdensity A cos(k q); force = -grad phi = psi
    psi = -(amplitude / k) * torch.sin(k * lattice[:, 0])
    positions = lattice.clone()
    positions[:, 0] += psi
    momenta = torch.zeros_like(positions)
    # eight particles a cell; the CIC window of the second assignment costs (k cell)^2 / 12 = 1.3%
    ParticleMesh(n // 2, boxsize).kick(positions, momenta, 1.0)
    assert torch.allclose(momenta[:, 0], psi, atol=0.02 * amplitude / k)
    assert momenta[:, 1:].abs().max() < 1e-3 * amplitude / k


def test_steps_are_exact_for_a_growing_mode() -> None:
    """A mode psi D(a) with p = G(a) psi moves from D(a0) to D(a1), whatever the step."""
    a0, a1, omega_m = 0.2, 0.7, 0.3
    first, kick, second = step_factors(a0, a1, omega_m)
    d = growth_factor(a0, omega_m)
    tiny = 1e-5
    p0 = (growth_factor(a0 + tiny, omega_m) - growth_factor(a0 - tiny, omega_m)) / (2 * tiny)
    p0 *= a0**3 * math.sqrt(omega_m / a0**3 + 1 - omega_m)  # p = a^3 E dD/da
    middle = d + first * p0
    assert middle == pytest.approx(growth_factor(0.45, omega_m), rel=1e-6)
    p1 = p0 + kick * middle
    assert middle + second * p1 == pytest.approx(growth_factor(a1, omega_m), rel=1e-6)


def test_linear_modes_grow_by_the_growth_factor() -> None:
    n, boxsize, omega_m, a0 = 32, 200.0, 0.3, 0.1
    white = np.random.default_rng(0).standard_normal((n, n, n), dtype=np.float32)
    kx, ky, kz = wavenumbers(n, boxsize)
    longest = kx**2 + ky**2 + kz**2 < (2 * math.pi / boxsize) ** 2 * 1.01
    modes = torch.where(longest, torch.fft.rfftn(torch.from_numpy(white)) * 0.1, 0)
    modes[0, 0, 0] = 0
    psi = lagrangian_displacements(modes, boxsize)[0].view(-1, 3)
    positions, momenta = initial_particles(modes, boxsize, a0, omega_m)
    steps = torch.linspace(a0, 1.0, 11, dtype=torch.float64)
    evolve(positions, momenta, ParticleMesh(3 * n // 2, boxsize), omega_m, steps)
    moved = positions - _lattice(n, boxsize)
    moved -= boxsize * torch.round(moved / boxsize)
    assert float((moved * psi).sum() / (psi * psi).sum()) == pytest.approx(1.0, rel=0.01)
    assert positions.min() >= 0
    assert positions.max() < boxsize


def _lattice(n: int, boxsize: float) -> torch.Tensor:
    sites = (torch.arange(n) + 0.5) * (boxsize / n)
    return torch.stack(torch.meshgrid(sites, sites, sites, indexing="ij"), -1).view(-1, 3)
