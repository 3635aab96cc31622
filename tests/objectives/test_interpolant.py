"""Interpolants against Gaussian data, and what a start from the dark-matter field changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gaussian_world import (
    MEAN,
    SIGMA_MAX,
    STD,
    batch_of,
    draw_samples,
    exact_denoiser,
    largest_error,
    make_step,
    sampler_of,
    train_on_gaussian,
)
from pydantic import ValidationError
from torch import nn
from two_moons import energy_distance, permuted_energy_distance, train_on_two_moons, two_moons

from halo_cm.diffusion.interpolation import Path
from halo_cm.objectives.interpolant import Interpolant


class ExactModel:
    """The exact denoiser of the Gaussian in place of a trained one."""

    schedule, sigma_data, n_latent = None, STD, 0

    def __call__(self, x, sigma, condition, parameters, latent=None):
        return exact_denoiser(x, sigma)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


COPY = {"x0_mode": "dm_copy", "x0_noise": 0.5}


@pytest.mark.parametrize("settings", [{}, COPY])
def test_reaches_denoiser_and_samples(settings):
    interpolant = Interpolant(**settings)
    model = train_on_gaussian(interpolant, n_steps=2500, batch_size=512)
    assert largest_error(model, exact_denoiser) < 0.05
    x = draw_samples(interpolant, model, torch.zeros(20_000, 1, 1, 1), (1, 1, 1))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02 * STD)
    assert x.std().item() == pytest.approx(STD, rel=0.02)


def test_two_moons():
    model = train_on_two_moons(Interpolant(), n_steps=1500, batch_size=512)
    generator = torch.Generator().manual_seed(0)
    truth = two_moons(2000, generator)
    limit = permuted_energy_distance(truth, two_moons(2000, generator), generator)
    for solver in ("heun", "euler"):
        x = draw_samples(Interpolant(solver=solver), model, torch.zeros(2000, 1, 1, 1), (2, 1, 1))
        assert energy_distance(x.flatten(1), truth) < limit


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_the_flow(solver, order):
    """The flow of a Gaussian is affine: x_0 = n goes to m + s n."""
    interpolant, condition = Interpolant(solver=solver), torch.zeros(64, 1, 2, 2)
    noise = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    errors = []
    for n_steps in (40, 80):
        x = draw_samples(interpolant, ExactModel(), condition, (1, 2, 2), n_steps)
        errors.append((x - MEAN - STD * noise).abs().max().item())
    assert errors[0] < (0.1, 0.01)[order - 1]
    assert errors[1] / errors[0] < 1.2 * 0.5**order


def test_the_velocity_of_the_exact_denoiser_is_the_known_one():
    """E[x_clean - x_0 | x_t] of Gaussian data and noise, by regression."""
    nothing, settings = torch.zeros(4, 1, 1, 1), Interpolant().sampler_settings
    path = Path.of(**settings, sigma_max=SIGMA_MAX, condition=nothing)
    t, x = torch.tensor([0.05, 0.3, 0.9, 0.99]), torch.linspace(-1, 2, 4)
    variance = (1 - t) ** 2 + (t * STD) ** 2
    expected = MEAN + (t * STD**2 - (1 - t)) / variance * (x - t * MEAN)
    velocity = path.velocity(exact_denoiser, x.view(4, 1, 1, 1), t)
    torch.testing.assert_close(velocity.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_the_start_of_the_path_is_capped_at_sigma_max():
    seen = []

    def denoise(x, sigma):
        seen.append((x, sigma))
        return torch.zeros_like(x)

    path = Path(torch.full((1, 1, 1, 1), 3.0), 0.5, SIGMA_MAX)
    noise = torch.randn(1000, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    velocity = path.velocity(denoise, path.start(noise), torch.zeros(1000))
    (x, sigma) = seen[0]
    assert (sigma == SIGMA_MAX).all()
    torch.testing.assert_close(x, SIGMA_MAX * noise, rtol=1e-4, atol=1e-3)  # the copy is gone
    torch.testing.assert_close(velocity, -path.start(noise))


def test_the_copy_comes_from_the_condition_and_drops_out_of_the_samples():
    interpolant = Interpolant(**COPY)
    condition = torch.randn(32, 4, 2, 2, generator=torch.Generator().manual_seed(3))
    settings = interpolant.sampler_settings
    path = Path.of(**settings, sigma_max=SIGMA_MAX, condition=condition)
    start = path.start(torch.zeros(32, 3, 2, 2))
    assert all(torch.equal(start[:, c], condition[:, 0]) for c in range(3))
    x = draw_samples(interpolant, ExactModel(), condition, (3, 2, 2))
    without = draw_samples(interpolant, ExactModel(), torch.zeros_like(condition), (3, 2, 2))
    torch.testing.assert_close(x, without, rtol=1e-3, atol=1e-3)


def test_the_loss_is_the_error_of_the_velocity_from_the_batch_condition(generator):
    """The denoiser must be given x_clean + sigma noise, whatever the copy."""
    seen = []

    def denoiser(x, sigma, condition, parameters):
        seen.append((x, sigma.view(-1, 1, 1, 1), condition))
        return torch.full_like(x, 1.0)

    x_clean = torch.full((4000, 3, 2, 2), 1.0)  # a point mass, which this denoiser knows
    batch = batch_of(x_clean)
    batch.condition = 5 * torch.randn(4000, 4, 2, 2, generator=generator)
    step = make_step(nn.Identity(), 0.0, generator)
    assert Interpolant(**COPY).loss(replace(step, denoiser=denoiser), batch).item() < 1e-3
    x, sigma, condition = seen[0]
    kept = sigma.flatten() < 40  # the cap changes the others
    noise = ((x - x_clean) / sigma)[kept]
    assert condition is batch.condition
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, rel=0.02)


def test_evaluations(generator):
    for solver, expected in (("heun", 99), ("euler", 50)):
        interpolant, calls = Interpolant(solver=solver), []
        sampler = sampler_of(interpolant)

        def denoise(x, sigma, calls=calls):
            calls.append(float(sigma[0]))
            return x

        noise = iter([torch.randn(2, 1, 1, 1, generator=generator)])
        levels = sampler.levels(sampler.default_steps, None)
        sampler.sample(denoise, noise, levels, torch.zeros(2, 1, 1, 1))
        assert len(calls) == sampler.nfe(sampler.default_steps) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x0_mode": "dm_copy"}, "needs x0_noise > 0"),
        ({"x0_mode": "dm_copy", "x0_noise": 0.0}, "greater than 0"),
        ({"x0_noise": 0.5}, "belongs to x0_mode"),
        ({"x0_mode": "x0"}, "dm_copy"),
        ({"solver": "dpm"}, "euler"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValidationError, match=message):
        Interpolant(**settings)
