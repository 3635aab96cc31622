"""Samplers on Gaussian data, where denoiser and consistency map are known exactly."""

from __future__ import annotations

import pytest
import torch

from halo_cm.diffusion.levels import karras_levels
from halo_cm.diffusion.solvers import consistency, euler, heun

MEAN, STD, SIGMA_MIN, SIGMA_MAX = 0.4, 0.7, 0.002, 80.0


def exact_denoiser(x, sigma):
    return MEAN + (x - MEAN) * STD**2 / (STD**2 + sigma.view(-1, 1, 1, 1) ** 2)


def exact_map(x, sigma):
    s = sigma.view(-1, 1, 1, 1)
    return MEAN + (x - MEAN) * ((STD**2 + SIGMA_MIN**2) / (STD**2 + s**2)).sqrt()


def test_heun_follows_the_exact_trajectory():
    x = SIGMA_MAX * torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    goal = exact_map(x, torch.full((64,), SIGMA_MAX))
    errors = {}
    for n in (18, 36, 72):
        out = heun(exact_denoiser, x, karras_levels(n, SIGMA_MIN, SIGMA_MAX))
        errors[n] = ((out - MEAN) / (goal - MEAN) - 1).abs().max().item()
    # 18 levels from sigma = 80 stretch a Gaussian by 5%: an error of the solver, of second order
    assert errors[18] < 0.06
    assert errors[36] < 0.3 * errors[18] and errors[72] < 0.3 * errors[36]


def test_euler_is_first_order():
    x = SIGMA_MAX * torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    goal = exact_map(x, torch.full((64,), SIGMA_MAX))
    errors = [
        (euler(exact_denoiser, x, karras_levels(n, SIGMA_MIN, SIGMA_MAX)) - goal).abs().max().item()
        for n in (100, 200)
    ]
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.1)


def test_network_evaluations():
    calls = []

    def counting(x, sigma):
        calls.append(float(sigma[0]))
        return exact_denoiser(x, sigma)

    heun(counting, torch.zeros(1, 1, 2, 2), karras_levels(18, SIGMA_MIN, SIGMA_MAX))
    assert len(calls) == 35


@pytest.mark.parametrize("levels", [[80.0], [80.0, 0.8], [80.0, 4.0, 1.0, 0.25]])
def test_consistency_steps_keep_the_distribution(levels):
    generator = torch.Generator().manual_seed(3)
    noise = (torch.randn(100_000, 1, 1, 1, generator=generator) for _ in levels)
    x = consistency(exact_map, torch.tensor(levels), noise, SIGMA_MIN)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x.std().item() == pytest.approx(STD, rel=0.01)
