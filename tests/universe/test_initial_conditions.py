"""Initial conditions against analytic solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from halo_cm.seeding import generator
from halo_cm.universe.cosmology import expansion_rate, growth_factor, growth_rate
from halo_cm.universe.initial_conditions import (
    density_modes,
    initial_particles,
    lagrangian_displacements,
    wavenumbers,
)

N, BOXSIZE = 16, 40.0


def _plane_wave(amplitude: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Modes of amplitude * cos(k x), the lattice coordinate x, and k."""
    k = 2 * math.pi / BOXSIZE * 2
    x = (torch.arange(N, dtype=torch.float32)) * (BOXSIZE / N)
    wave = amplitude * torch.cos(k * x).view(-1, 1, 1).expand(N, N, N)
    return torch.fft.rfftn(wave), x, k


def test_displacement_of_a_plane_wave_is_zeldovich() -> None:
    modes, x, k = _plane_wave(0.3)
    first, second = lagrangian_displacements(modes, BOXSIZE)
    # delta = -d psi / dx, hence psi = -(amplitude / k) sin(k x); one dimension has no second order
    expected = -(0.3 / k) * torch.sin(k * x)
    assert torch.allclose(first[:, 3, 5, 0], expected, atol=1e-5)
    assert first[..., 1:].abs().max() < 1e-5
    assert second.abs().max() < 1e-5


def test_second_order_of_two_crossed_waves() -> None:
    # phi = -(A/k^2)(cos kx + cos ky): the source is phi,xx phi,yy = A^2 cos kx cos ky, laplace
    # phi2 = source has phi2 = -A^2/(2 k^2) cos kx cos ky
    k = 2 * math.pi / BOXSIZE
    q = torch.arange(N) * (BOXSIZE / N)
    c, s = torch.cos(k * q), torch.sin(k * q)
    delta = 0.2 * (c.view(-1, 1, 1) + c.view(1, -1, 1)).expand(N, N, N)
    _, second = lagrangian_displacements(torch.fft.rfftn(delta), BOXSIZE)
    expected = 0.2**2 / (2 * k) * s.view(-1, 1) * c.view(1, -1)
    assert torch.allclose(second[..., 4, 0], expected, atol=1e-5)


def test_particles_follow_the_growing_mode() -> None:
    a, omega_m = 0.1, 0.3
    modes, x, k = _plane_wave(0.3)
    positions, momenta = initial_particles(modes, BOXSIZE, a, omega_m)
    psi = -(0.3 / k) * torch.sin(k * x)
    d = growth_factor(a, omega_m)
    half_cell = BOXSIZE / N / 2
    moved = positions.view(N, N, N, 3)[:, 0, 0, 0]
    assert torch.allclose(moved, (x + half_cell + d * psi) % BOXSIZE, atol=1e-4)
    velocity = a**2 * expansion_rate(a, omega_m) * growth_rate(a, omega_m) * d
    assert torch.allclose(momenta.view(N, N, N, 3)[:, 0, 0, 0], velocity * psi, atol=1e-6)


def test_modes_have_the_asked_power() -> None:
    k, power = np.logspace(-2, 2, 200), 50.0 * np.logspace(-2, 2, 200) ** -1.5
    n = 32
    noise = generator(1, "noise").standard_normal((n, n, n), dtype=np.float32)
    modes = density_modes(noise, BOXSIZE, k, power)
    kx, ky, kz = wavenumbers(n, BOXSIZE)
    norm = torch.sqrt(kx**2 + ky**2 + kz**2)
    chosen = (norm > 1.0) & (norm < 2.2)
    measured = modes.abs() ** 2 * BOXSIZE**3 / n**6
    ratio = (measured[chosen] / (50.0 * norm[chosen] ** -1.5)).mean()
    assert chosen.sum() > 4000
    assert ratio == pytest.approx(1.0, abs=5 / math.sqrt(int(chosen.sum())))
