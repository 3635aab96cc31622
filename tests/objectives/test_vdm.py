"""The variational diffusion model against Gaussian data, of which everything is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from gaussian_world import (
    MEAN,
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

from halo_cm.objectives.vdm import VariationalDiffusion, antithetic_times, prior

#: Differential entropy of the data [bits].
ENTROPY = 0.5 * math.log2(2 * math.pi * math.e * STD**2)
#: Levels of the fixed schedule, from e^-6.6 to e^2.5.
LEVELS = (0.002, 0.01, 0.1, 0.5, 2.0, 10.0)


class LabelNetwork(nn.Module):
    """F linear in x, as the exact one of a Gaussian: the objective is tested, not the network.

    The bound weighs an error of D by 1 / sigma^2, so that high levels converge slowly.
    """

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x, c_noise, condition, parameters):
        slope, offset = self.layers(4 * c_noise[:, None]).T[..., None, None, None]
        return slope * x + offset


class ExactDenoiser:
    sigma_data = STD

    def __init__(self, schedule):
        self.schedule = schedule

    def __call__(self, x, sigma, condition, parameters):
        return exact_denoiser(x, sigma)


def gaussian_data(n, seed=3):
    return MEAN + STD * torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(seed))


def exact_step(objective, schedule=None, seed=4):
    schedule = schedule or sampler_of(objective).make_schedule()
    step = make_step(nn.Identity(), 0.0, torch.Generator().manual_seed(seed))
    return replace(step, denoiser=ExactDenoiser(schedule))


@pytest.mark.parametrize("schedule", ["fixed_linear", "learned_linear", "learned_nn"])
def test_reaches_denoiser_entropy_and_samples(schedule):
    vdm = VariationalDiffusion(schedule=schedule, gamma_max=5.0)
    model = train_on_gaussian(vdm, network=LabelNetwork, n_steps=2500, batch_size=1024, lr=3e-2)
    assert largest_error(model, exact_denoiser, LEVELS) < 0.05

    step = make_step(model.network, 0.0, torch.Generator().manual_seed(5), schedule=model.schedule)
    batches = (batch_of(gaussian_data(1_000_000, seed)) for seed in range(4))
    bounds = [vdm.bits_per_dimension(step, batch).total.item() for batch in batches]
    assert sum(bounds) / 4 == pytest.approx(ENTROPY, rel=0.01)  # of which 0.2% is scatter

    x = draw_samples(vdm, model, torch.zeros(20_000, 1, 1, 1), (1, 1, 1), n_steps=500)
    assert x.mean().item() == pytest.approx(MEAN, abs=0.02 * STD)
    assert x.std().item() == pytest.approx(STD, rel=0.02)


def test_two_moons():
    vdm = VariationalDiffusion()
    model = train_on_two_moons(vdm, n_steps=1500, batch_size=512)
    generator = torch.Generator().manual_seed(0)
    truth = two_moons(2000, generator)
    x = draw_samples(vdm, model, torch.zeros(2000, 1, 1, 1), (2, 1, 1)).flatten(1)
    assert energy_distance(x, truth) < permuted_energy_distance(x, truth, generator)


@pytest.mark.parametrize("gamma_max", [5.0, 13.3])
def test_the_bound_of_the_exact_denoiser_is_the_entropy(gamma_max):
    vdm = VariationalDiffusion(gamma_max=gamma_max)
    bound = vdm.bits_per_dimension(exact_step(vdm), batch_of(gaussian_data(1_000_000)))
    assert bound.total.item() == pytest.approx(ENTROPY, rel=0.005)
    expected = 0.5 * math.log2(2 * math.pi * math.e * math.exp(-13.3))
    assert bound.reconstruction.item() == pytest.approx(expected)
    # KL of z_1: at gamma = 5 its mean is 0.04 and its variance 0.998
    assert bound.prior.item() == pytest.approx(0.0043 if gamma_max == 5 else 0, abs=1e-4)


def test_the_report_agrees_with_the_loss_and_scatters_less():
    vdm, batch = VariationalDiffusion(), batch_of(gaussian_data(20_000))
    step = exact_step(vdm)
    reported = torch.stack([vdm.bits_per_dimension(step, batch).total for _ in range(30)])
    losses = torch.stack([vdm.loss(step, batch) for _ in range(30)])
    assert reported.std() < 0.3 * losses.std()
    assert reported.mean().item() == pytest.approx(losses.mean().item(), abs=losses.std().item())


def test_the_prior_is_the_kl_of_a_normal():
    x, gamma = torch.tensor([[0.3, -2.0]]), torch.tensor(1.5)
    alpha, sigma = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(alpha * x, sigma), normal(0.0, 1.0))
    torch.testing.assert_close(prior(gamma, x), expected.mean(1))


def test_the_bound_does_not_depend_on_the_shape_of_the_schedule():
    vdm = VariationalDiffusion(schedule="learned_nn", gamma_max=5.0)
    schedule, batch = sampler_of(vdm).make_schedule(), batch_of(gaussian_data(500_000))
    before = vdm.bits_per_dimension(exact_step(vdm, schedule), batch).total
    with torch.no_grad():
        schedule.height.add_(torch.linspace(-2, 6, 64))
    after = vdm.bits_per_dimension(exact_step(vdm, schedule), batch).total
    assert after.item() == pytest.approx(before.item(), rel=0.01)


def test_the_learned_shape_lowers_the_variance_of_the_loss():
    """At a fixed, exact denoiser; the mean stays, the scatter of single losses falls."""
    vdm = VariationalDiffusion(schedule="learned_nn", gamma_max=5.0)
    schedule = sampler_of(vdm).make_schedule()
    batch = batch_of(gaussian_data(1024))

    def second_moment():
        t = antithetic_times(200_000, torch.Generator().manual_seed(1)).sort().values
        u, slope, ends = (x.detach() for x in schedule(t))
        sigma = ((ends[0] + (ends[1] - ends[0]) * u) / 2).exp()
        # E |noise - noise_hat|^2 of a Gaussian, whose fourth moment is three times its square
        error = STD**2 / (STD**2 + sigma**2)
        return (3 * (0.5 * (ends[1] - ends[0]) * slope * error) ** 2).mean().item()

    before = second_moment()
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.02)
    for step in range(400):
        optimizer.zero_grad()
        vdm.loss(exact_step(vdm, schedule, seed=step), batch).backward()
        optimizer.step()
    assert second_moment() < 0.9 * before


def test_only_what_is_said_to_be_trained_is_trained():
    def trained(**settings):
        schedule = sampler_of(VariationalDiffusion(**settings)).make_schedule()
        return sorted(name for name, _ in schedule.named_parameters())

    shape = ["height", "linear", "offset", "steepness"]
    assert trained() == []
    assert trained(schedule="learned_linear") == ["ends"]
    assert trained(schedule="learned_nn") == shape
    assert trained(schedule="learned_nn", free_ends=True) == sorted(["ends", *shape])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"free_ends": True}, "free_ends belongs to"),
        ({"gamma_max": -20.0}, "must be above gamma_min"),
        ({"schedule": "cosine"}, "fixed_linear"),
        ({"gamma": 1.0}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValidationError, match=message):
        VariationalDiffusion(**settings)


def test_times_are_even_and_uniform():
    t = antithetic_times(8, torch.Generator().manual_seed(0)).sort().values
    torch.testing.assert_close(t.diff(), torch.full((7,), 1 / 8))
    assert t[0] >= 0 and t[-1] < 1
