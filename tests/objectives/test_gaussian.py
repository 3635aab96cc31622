"""Every objective on Gaussian data, against the analytic maps (recipes: known answers)."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from gaussian_world import (
    MEAN,
    SIGMA_MAX,
    SIGMA_MIN,
    STD,
    PixelNetwork,
    draw_samples,
    exact_denoiser,
    exact_map,
    ladder_map,
    train_on_gaussian,
)

from halo_cm.diffusion.levels import karras_levels
from halo_cm.objectives.cd import ConsistencyDistillation
from halo_cm.objectives.ct import ConsistencyTraining
from halo_cm.objectives.denoising import Denoising
from halo_cm.objectives.distributional import Distributional
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.objectives.energy_score import EnergyScore
from halo_cm.objectives.ict import ImprovedConsistencyTraining
from halo_cm.objectives.regression import Regression

LEVELS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 10.0, 20.0, 40.0, 80.0)
#: Of fields of one pixel, only the pixels can be scored.
PIXELS = {"physical": False, "power_weight": 0.0}


@cache
def denoiser():
    """The warm-up and the teacher; a training starts from a copy of its network."""
    return train_on_gaussian(Denoising(), n_steps=2000, batch_size=512)


def largest_error(model, exact, levels=LEVELS):
    """Largest error over the central 95% of the noisy data at each level, in units of STD."""
    worst = 0.0
    for level in levels:
        spread = (STD**2 + level**2) ** 0.5
        x = MEAN + spread * torch.linspace(-2, 2, 41).view(-1, 1, 1, 1)
        sigma = torch.full((41,), level)
        error = (model(x, sigma, x, torch.zeros(41, 1)) - exact(x, sigma)).abs().max().item()
        worst = max(worst, error / STD)
    return worst


def check_moments(objective, model, n_steps=None, *, n=200_000, tolerance=0.02):
    """Of samples in one step, if no number is given."""
    x = draw_samples(objective, model, torch.zeros(n, 1, 1, 1), (1, 1, 1), n_steps, seed=9)
    assert x.mean().item() == pytest.approx(MEAN, abs=tolerance * STD)
    assert x.std().item() == pytest.approx(STD, rel=tolerance)


def test_denoising_reaches_the_exact_denoiser():
    assert largest_error(denoiser(), exact_denoiser) < 0.05
    check_moments(Denoising(), denoiser(), 40, n=40_000)  # 79 evaluations of Heun


@pytest.mark.slow
def test_ect_reaches_the_consistency_map():
    ect = EasyConsistencyTuning(q=2.0, n_stages=8)
    model = train_on_gaussian(ect, n_steps=4000, network=denoiser().network, lr=1e-3)
    assert largest_error(model, exact_map) < 0.05
    check_moments(ect, model)


@pytest.mark.slow
def test_ict_reaches_the_consistency_map_from_scratch():
    ict = ImprovedConsistencyTraining()
    model = train_on_gaussian(ict, n_steps=6000, lr=2e-3)
    assert largest_error(model, exact_map) < 0.05
    check_moments(ict, model)


@pytest.mark.slow
def test_ct_reaches_the_consistency_map_from_scratch():
    """From scratch. With 240 levels its own bias is 2.2% of STD."""
    ct = ConsistencyTraining(distance="l2", s0=10, s1=240, ema_decay=0.95)
    model = train_on_gaussian(ct, n_steps=8000, lr=1e-3)
    assert largest_error(model, exact_map) < 0.05
    check_moments(ct, model)


def ladder_error(model, n_levels, solver):
    """Largest error against the map that steps between the levels of a grid lead to."""
    levels = karras_levels(n_levels, SIGMA_MIN, SIGMA_MAX)
    slopes = dict(zip(levels.flip(0).tolist(), ladder_map(levels, solver).tolist(), strict=True))
    return largest_error(
        model, lambda x, sigma: MEAN + slopes[sigma[0].item()] * (x - MEAN), tuple(slopes)
    )


def test_steps_between_levels_lead_to_the_exact_map_as_the_levels_grow():
    """The errors that a few levels leave in the students: of first and of second order."""
    errors = {}
    for solver in ("euler", "heun"):
        for n in (18, 40, 80, 160):
            levels = karras_levels(n, SIGMA_MIN, SIGMA_MAX)
            at = levels.flip(0)
            exact = ((STD**2 + SIGMA_MIN**2) / (STD**2 + at**2)).sqrt()
            ratio = ladder_map(levels, solver) / exact
            errors[solver, n] = 2 * (ratio - 1).abs().max().item()
    assert errors["euler", 18] == pytest.approx(0.29, abs=0.01)
    assert errors["heun", 18] == pytest.approx(0.096, abs=0.003)
    assert errors["euler", 40] == pytest.approx(0.13, abs=0.01)
    assert errors["heun", 40] == pytest.approx(0.017, abs=0.002)
    assert errors["euler", 160] / errors["euler", 80] == pytest.approx(1 / 2, rel=0.05)
    assert errors["heun", 160] / errors["heun", 80] == pytest.approx(1 / 4, rel=0.05)


@cache
def distilled(solver):
    """A student of 18 levels."""
    cd = ConsistencyDistillation(n_levels=18, solver=solver, distance="l2")
    options = {"network": denoiser().network, "teacher": denoiser()}
    return train_on_gaussian(cd, n_steps=800, batch_size=256, **options)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_distillation_reaches_the_map_of_its_teachers_steps(solver):
    assert ladder_error(distilled(solver), 18, solver) < 0.05


def test_ct_reaches_the_map_of_eulers_steps():
    """A pair that shares its noise is a step of Euler's with the exact teacher, on average."""
    ct = ConsistencyTraining(n_levels=18, ema_decay=0.95, distance="l2")
    network = denoiser().network
    model = train_on_gaussian(ct, n_steps=2000, batch_size=512, network=network, lr=1e-3)
    assert ladder_error(model, 18, "euler") < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    "cd",
    [
        ConsistencyDistillation(n_levels=40, solver="heun", distance="l2"),
        ConsistencyDistillation(n_levels=200, solver="euler", distance="l2"),
    ],
    ids=lambda cd: cd.solver,
)
def test_distillation_reaches_the_consistency_map(cd):
    options = {"network": distilled("heun").network, "teacher": denoiser()}
    model = train_on_gaussian(cd, n_steps=4000, lr=1e-3, batch_size=512, **options)
    assert largest_error(model, exact_map) < 0.05
    check_moments(cd, model)


def test_energy_score_reaches_the_consistency_map_where_it_is_tuned():
    """At sigma_max, and at the levels of the several-step sampler; no others are trained."""
    objective = EnergyScore(**PIXELS)
    model = train_on_gaussian(objective, network=denoiser().network, lr=1e-3)
    assert largest_error(model, exact_map, (0.25, 0.3, 1.0, 4.0, SIGMA_MAX)) < 0.05
    check_moments(objective, model)


def test_energy_score_with_more_members_reaches_the_same_map():
    objective = EnergyScore(**PIXELS, n_members=4)
    network = denoiser().network
    model = train_on_gaussian(objective, network=network, lr=1e-3, batch_size=256)
    assert largest_error(model, exact_map, (SIGMA_MAX,)) < 0.05


def test_distributional_diffusion_draws_from_the_posterior_at_every_level():
    """p(x_clean | x_t) has the mean of the exact denoiser and the width s t / sqrt(s^2 + t^2)."""
    objective = Distributional(**PIXELS)
    model = train_on_gaussian(
        objective, network=PixelNetwork(n_latent=1), n_latent=1, n_steps=2500, batch_size=512
    )
    n, latent = 20_000, torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(n, 1, 1, 1)
    for level in LEVELS:
        sigma, spread = torch.full((n,), level), (STD**2 + level**2) ** 0.5
        for offset in (-2, 0, 2):
            x = torch.full((n, 1, 1, 1), MEAN + offset * spread)
            drawn = model(x, sigma, nothing, nothing[:, 0, 0], latent)
            mean = exact_denoiser(x, sigma)[0].item()
            assert drawn.mean().item() == pytest.approx(mean, abs=0.05 * STD)
            assert drawn.std().item() == pytest.approx(STD * level / spread, abs=0.05 * STD)
    check_moments(objective, model)
    check_moments(objective, model, 2)


def test_regression_is_the_mean():
    model = train_on_gaussian(Regression(), n_steps=800, batch_size=512)
    means = draw_samples(Regression(), model, torch.zeros(500, 1, 1, 1), (1, 1, 1))
    assert means.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert means.std().item() < 0.1 * STD  # the noise is ignored
