"""Samplers on Gaussian data, where denoiser and consistency map are known exactly."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from halo_cm.diffusion.levels import karras_levels
from halo_cm.diffusion.solvers import ancestral, consistency, dpm, euler, heun

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


@pytest.mark.parametrize(
    ("solver", "order", "largest"), [(euler, 1, 0.05), (heun, 2, 0.004), (dpm, 2, 0.004)]
)
def test_orders_of_convergence(solver, order, largest):
    """Errors of the whole trajectory from sigma_max, which halve or quarter with the step."""
    x = SIGMA_MAX * torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    goal = exact_map(x, torch.full((64,), SIGMA_MAX))
    errors = [
        (solver(exact_denoiser, x, grid(n)) - goal).abs().max().item() for n in (51, 101, 201)
    ]
    assert errors[-1] < largest
    for coarse, fine in pairwise(errors):
        assert fine / coarse == pytest.approx(0.5**order, rel=0.25)


def grid(n):
    return karras_levels(n, SIGMA_MIN, SIGMA_MAX).double()


def test_dpm_is_exact_for_a_constant_denoiser():
    """Data at a point: the exponential step solves the linear part exactly."""
    x = SIGMA_MAX * torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    out = dpm(lambda x, sigma: torch.full_like(x, MEAN), x, karras_levels(5, SIGMA_MIN, SIGMA_MAX))
    torch.testing.assert_close(out, torch.full_like(x, MEAN))


@pytest.mark.parametrize(("solver", "expected"), [(euler, 18), (dpm, 18), (heun, 35)])
def test_network_evaluations(solver, expected):
    calls = []

    def counting(x, sigma):
        calls.append(float(sigma[0]))
        return exact_denoiser(x, sigma)

    solver(counting, torch.zeros(1, 1, 2, 2), karras_levels(18, SIGMA_MIN, SIGMA_MAX))
    assert len(calls) == expected


@pytest.mark.parametrize("n_steps", [5, 250])
def test_ancestral_moments_are_those_of_its_gaussian_chain(n_steps):
    """With an affine denoiser every z is Gaussian: its moments follow from q(z_s | z_t, x)."""
    gamma = torch.linspace(5, -13.3, n_steps + 1).double()
    mean, variance = torch.zeros(2).double().index_fill(0, torch.tensor([1]), 1)
    for g_t, g_s in pairwise(gamma):
        (a_t, s_t), (a_s, s_s) = (
            (torch.sigmoid(-g).sqrt(), torch.sigmoid(g).sqrt()) for g in (g_t, g_s)
        )
        # eq. 25 to 27 of Kingma et al. (2021), with alpha_ts and sigma_ts
        a_ts = a_t / a_s
        var_ts = s_t**2 - a_ts**2 * s_s**2
        on_z, on_x = a_ts * s_s**2 / s_t**2, a_s * var_ts / s_t**2
        slope = STD**2 / (STD**2 + (s_t / a_t) ** 2)  # D = MEAN + slope (z / alpha - MEAN)
        factor = on_z + on_x * slope / a_t
        mean = factor * mean + on_x * (1 - slope) * MEAN
        variance = factor**2 * variance + var_ts * s_s**2 / s_t**2
    n = 100_000
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(n, 1, 1, 1, generator=generator) for _ in range(n_steps + 1))
    x = (
        ancestral(exact_denoiser, (gamma / 2).exp().float(), noise)
        * torch.sigmoid(-gamma[-1]).sqrt()
    )
    assert x.mean().item() == pytest.approx(mean.item(), abs=0.01)
    assert x.std().item() == pytest.approx(variance.sqrt().item(), rel=0.01)
    if n_steps == 250:
        # the default draws this Gaussian 1.8% too narrow: an error of the first order
        assert variance.sqrt().item() / STD == pytest.approx(0.982, abs=0.002)


@pytest.mark.parametrize("levels", [[80.0], [80.0, 0.8], [80.0, 4.0, 1.0, 0.25]])
def test_consistency_steps_keep_the_distribution(levels):
    generator = torch.Generator().manual_seed(3)
    noise = (torch.randn(100_000, 1, 1, 1, generator=generator) for _ in levels)
    x = consistency(exact_map, torch.tensor(levels), noise, SIGMA_MIN)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x.std().item() == pytest.approx(STD, rel=0.01)
