"""Every objective on two moons: samples in one and in two steps against the truth."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from gaussian_world import draw_samples
from two_moons import (
    PointNetwork,
    energy_distance,
    permuted_energy_distance,
    train_on_two_moons,
    two_moons,
)

from halo_cm.objectives.cd import ConsistencyDistillation
from halo_cm.objectives.ct import ConsistencyTraining
from halo_cm.objectives.denoising import Denoising
from halo_cm.objectives.distributional import Distributional
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.objectives.energy_score import EnergyScore
from halo_cm.objectives.ict import ImprovedConsistencyTraining
from halo_cm.objectives.regression import Regression

N = 1000
#: Points have one patch, which holds both coordinates, and no power spectrum.
POINTS = {"physical": False, "power_weight": 0.0, "patch_scales": ((1, 1),)}


def truth(seed=0):
    return two_moons(N, torch.Generator().manual_seed(seed))


@cache
def limit():
    """What two samples of the truth exceed once in a hundred times."""
    generator = torch.Generator().manual_seed(3)
    return permuted_energy_distance(truth(1), truth(2), generator, n_permutations=200)


def distance(objective, model, n_steps=None):
    """Energy distance of samples from the truth."""
    points = draw_samples(objective, model, torch.zeros(N, 1, 1, 1), (2, 1, 1), n_steps)
    return energy_distance(points.flatten(1), truth())


@cache
def denoiser():
    """The warm-up and the teacher."""
    return train_on_two_moons(Denoising(), n_steps=3000, batch_size=512)


def test_the_limit_tells_the_moons_from_a_gaussian_of_their_moments():
    points = truth(4)
    gaussian = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov())
    torch.manual_seed(0)
    assert energy_distance(points, truth()) < limit() < 0.01
    assert energy_distance(gaussian.sample((N,)), truth()) > 2 * limit()


def test_energy_score_from_scratch():
    objective = EnergyScore(**POINTS)
    model = train_on_two_moons(objective, n_steps=1000, batch_size=512)
    assert distance(objective, model, 1) < limit()
    assert distance(objective, model, 2) < limit()


def test_regression_knows_the_mean_alone():
    model = train_on_two_moons(Regression(), n_steps=400, batch_size=512)
    points = draw_samples(Regression(), model, torch.zeros(N, 1, 1, 1), (2, 1, 1)).flatten(1)
    assert points.abs().max() < 0.2  # both coordinates of the moons have zero mean
    assert distance(Regression(), model) > 20 * limit()


@pytest.mark.slow
def test_denoising_in_many_steps():
    assert distance(Denoising(), denoiser(), 40) < limit()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "n_steps"),
    [
        (ConsistencyTraining(s0=10, s1=160, ema_decay=0.95), 6000),
        (EasyConsistencyTuning(q=2.0, n_stages=8), 5000),
        (ConsistencyDistillation(n_levels=40, solver="heun"), 3000),
        (EnergyScore(**POINTS), 2000),
        (EnergyScore(**POINTS, n_members=4), 2000),
    ],
    ids=["ct", "ect", "cd", "energy_score", "energy_score of 4"],
)
def test_from_a_denoiser(objective, n_steps):
    teacher = denoiser() if objective.uses_teacher else None
    options = {"network": denoiser().network, "teacher": teacher, "batch_size": 512, "lr": 1e-3}
    model = train_on_two_moons(objective, n_steps=n_steps, **options)
    assert distance(objective, model, 1) < limit()
    assert distance(objective, model, 2) < limit()


@pytest.mark.slow
def test_distillation_with_eulers_steps():
    """Their error falls with the number of levels, and the path to the data grows: so in turn."""
    network = denoiser().network
    for n_levels in (20, 40, 80, 160):
        cd = ConsistencyDistillation(n_levels=n_levels, solver="euler")
        options = {"network": network, "teacher": denoiser(), "batch_size": 512, "lr": 1e-3}
        model = train_on_two_moons(cd, n_steps=1200, **options)
        network = model.network
    assert distance(cd, model, 1) < limit()
    assert distance(cd, model, 2) < limit()


@pytest.mark.slow
def test_ict_from_scratch():
    ict = ImprovedConsistencyTraining()
    model = train_on_two_moons(ict, n_steps=6000, batch_size=512, lr=2e-3)
    assert distance(ict, model, 1) < limit()
    assert distance(ict, model, 2) < limit()


@pytest.mark.slow
def test_distributional_diffusion_from_scratch():
    objective = Distributional(**POINTS)
    network = PointNetwork(n_latent=2)
    model = train_on_two_moons(objective, network=network, n_latent=2, n_steps=5000, batch_size=512)
    assert distance(objective, model, 1) < limit()
    assert distance(objective, model, 2) < limit()
