"""Objectives against the analytic maps of Gaussian data (recipes: known answers)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from gaussian_world import (
    MEAN,
    SIGMA_MAX,
    SIGMA_MIN,
    STD,
    batch_of,
    exact_denoiser,
    exact_map,
    make_step,
    train_on_gaussian,
)
from torch import nn

from halo_cm.objectives.ct import ConsistencyTraining
from halo_cm.objectives.denoising import Denoising
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.objectives.regression import Regression


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


LEVELS = (0.01, 0.1, 0.5, 2.0, 10.0, 80.0)


def largest_error(model, exact):
    """Largest error over the central 95% of the noisy data at each level, in units of STD."""
    worst = 0.0
    for level in LEVELS:
        spread = (STD**2 + level**2) ** 0.5
        x = MEAN + spread * torch.linspace(-2, 2, 41).view(-1, 1, 1, 1)
        sigma = torch.full((41,), level)
        nothing = torch.zeros(41, 1)
        error = (model(x, sigma, x, nothing) - exact(x, sigma)).abs().max().item()
        worst = max(worst, error / STD)
    return worst


def test_denoising_reaches_the_exact_denoiser():
    model = train_on_gaussian(Denoising(), n_steps=1000, batch_size=512)
    assert largest_error(model, exact_denoiser) < 0.05


@pytest.mark.slow
def test_denoising_then_ect_reaches_the_consistency_map():
    warm = train_on_gaussian(Denoising(), n_steps=1500).network.requires_grad_(True)
    ect = EasyConsistencyTuning(q=2.0, n_stages=8)
    model = train_on_gaussian(ect, n_steps=6000, network=warm, lr=1e-3)
    assert largest_error(model, exact_map) < 0.05
    check_one_step_moments(model)


@pytest.mark.slow
def test_denoising_then_ct_reaches_the_consistency_map():
    """Pairs of adjacent levels share noise, which biases CT by an amount that falls with N."""
    warm = train_on_gaussian(Denoising(), n_steps=1500).network.requires_grad_(True)
    ct = ConsistencyTraining(distance="l2", s0=10, s1=80)
    model = train_on_gaussian(ct, n_steps=8000, network=warm, lr=2e-3)
    assert largest_error(model, exact_map) < 0.12
    check_one_step_moments(model, tolerance=0.06)


def check_one_step_moments(model, tolerance=0.02):
    noise = torch.randn(200_000, 1, 1, 1, generator=torch.Generator().manual_seed(9))
    sigma = torch.full((len(noise),), SIGMA_MAX)
    x = model(SIGMA_MAX * noise, sigma, noise, torch.zeros(len(noise), 1))
    assert x.mean().item() == pytest.approx(MEAN, abs=tolerance * STD)
    assert x.std().item() == pytest.approx(STD, rel=tolerance)


class ExactMap(nn.Module):
    """A network for which D is the exact consistency map."""

    def forward(self, x_in, c_noise, condition, parameters):
        sigma = (4 * c_noise).exp()
        s = sigma.view(-1, 1, 1, 1)
        total = s**2 + STD**2
        x = x_in * total.sqrt()
        c_skip = STD**2 / ((s - SIGMA_MIN) ** 2 + STD**2)
        c_out = (s - SIGMA_MIN) * STD / total.sqrt()
        return (exact_map(x, sigma) - c_skip * x) / c_out.clamp(min=1e-9)


@pytest.mark.parametrize("objective", [ConsistencyTraining(), EasyConsistencyTuning()])
def test_the_exact_map_beats_its_neighbours(objective):
    """The pair loss must be smaller at the exact map than at a perturbed student."""

    class Off(ExactMap):
        def forward(self, *args):
            return super().forward(*args) + 0.1

    x_clean = MEAN + STD * torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(5))
    losses = []
    for network in (ExactMap(), Off()):
        generator = torch.Generator().manual_seed(6)
        fixed = make_step(ExactMap(), SIGMA_MIN, generator).denoiser
        step = make_step(
            network, SIGMA_MIN, generator, target=ExactMap(), progress=1.0, frozen=fixed
        )
        losses.append(objective.loss(step, batch_of(x_clean)).item())
    assert losses[0] < losses[1]


@pytest.mark.parametrize("objective", [ConsistencyTraining(n_levels=18), EasyConsistencyTuning()])
def test_a_point_mass_makes_the_pair_one_step_of_the_ode(objective, generator):
    """For data at one point the ODE is a straight line to it: what the loss compares lies on it."""
    seen = []

    def point(x, sigma, condition, parameters):
        seen.append((x, sigma.view(-1, 1, 1, 1)))
        return torch.full_like(x, 0.3)

    point.sigma_data = STD
    step = replace(make_step(nn.Identity(), SIGMA_MIN, generator), denoiser=point, frozen=point)
    loss = objective.loss(step, batch_of(torch.full((64, 1, 2, 2), 0.3)))
    assert abs(loss.item()) < 1e-6  # the exact map of a point mass
    (x_t, t), (x_r, r) = seen
    assert (t > r).all() and len(t.unique()) > 5
    assert ((x_t - 0.3) / t).std().item() == pytest.approx(1, rel=0.2)
    slope = (x_t - point(x_t, t, None, None)) / t  # of the probability-flow ODE
    torch.testing.assert_close(x_t + (r - t) * slope, x_r, rtol=1e-4, atol=1e-4)


def test_ct_draws_every_pair_down_to_sigma_min(generator):
    ct = ConsistencyTraining(n_levels=18)
    t, r = ct.pair(make_step(nn.Identity(), SIGMA_MIN, generator), 5000)
    assert (t > r).all()
    assert len(t.unique()) == 17 and t.max() == SIGMA_MAX
    assert r.min().item() == pytest.approx(SIGMA_MIN)


def test_ect_pairs_tighten_by_stage_and_reach_both_ends(generator):
    ect = EasyConsistencyTuning()
    gaps = []
    for progress in (0.0, 0.3, 0.6, 0.99):
        t, r = ect.pair(make_step(nn.Identity(), SIGMA_MIN, generator, progress=progress), 5000)
        assert (t > r).all() and r.min().item() >= SIGMA_MIN
        # only the wide first stage jumps to the data; later ones rest on D(x; sigma_min) = x
        assert (r == torch.tensor(SIGMA_MIN)).any() == (progress == 0)
        assert (t == SIGMA_MAX).float().mean().item() == pytest.approx(0.1, abs=0.02)
        gaps.append(((t - r) / t)[t > 20].mean().item())
    assert gaps == pytest.approx([4.0**-s for s in (1, 2, 3, 4)], rel=0.02)


def test_regression_is_the_mean():
    model = train_on_gaussian(Regression(), n_steps=800, batch_size=512)
    noise = torch.randn(500, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    sigma = torch.full((500,), SIGMA_MAX)
    means = model(SIGMA_MAX * noise, sigma, noise, torch.zeros(500, 1))
    assert means.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert means.std().item() < 0.1 * STD  # the noise is ignored


@pytest.mark.parametrize("objective", [ConsistencyTraining(), EasyConsistencyTuning()])
def test_student_and_target_share_their_dropout_mask(objective, generator):
    class Dropped(nn.Module):
        seen: ClassVar[list[torch.Tensor]] = []

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x, c_noise, condition, parameters):
            mask = self.dropout(torch.ones_like(x))
            self.seen.append(mask.detach())
            return self.scale * mask * x

    network = Dropped()
    step = make_step(network, SIGMA_MIN, generator, target=copy.deepcopy(network))
    objective.loss(step, batch_of(torch.randn(16, 1, 4, 4))).backward()
    assert len(Dropped.seen) == 2 and torch.equal(*Dropped.seen)
    Dropped.seen.clear()
