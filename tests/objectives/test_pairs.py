"""What the consistency objectives compare: the pair of levels, its target, its weight."""

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
    ExactDenoiser,
    ExactMap,
    batch_of,
    make_step,
)
from torch import nn

from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.diffusion.distances import huber_constant, pseudo_huber, squared_l2
from halo_cm.diffusion.levels import ict_probabilities, karras_levels
from halo_cm.objectives.cd import ConsistencyDistillation
from halo_cm.objectives.ct import ConsistencyTraining
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.objectives.ict import ImprovedConsistencyTraining

CLASSES = (
    ConsistencyTraining,
    ImprovedConsistencyTraining,
    EasyConsistencyTuning,
    ConsistencyDistillation,
)
every_objective = pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
every_distance = pytest.mark.parametrize("distance", ["l2", "pseudo_huber"])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def teacher():
    return Denoiser(ExactDenoiser(), STD, 0.0)


@every_distance
@every_objective
def test_the_exact_map_beats_its_neighbours(kind, distance):
    """The pair loss must be smaller at the exact map than at a perturbed student."""

    class Off(ExactMap):
        def forward(self, *args):
            return super().forward(*args) + 0.1

    objective = kind(distance=distance)
    x_clean = MEAN + STD * torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(5))
    losses = []
    for network in (ExactMap(), Off()):
        generator = torch.Generator().manual_seed(6)
        fixed = Denoiser(ExactMap(), STD, SIGMA_MIN)
        step = make_step(
            *(network, SIGMA_MIN, generator),
            target=ExactMap(),
            progress=1.0,
            frozen=fixed,
            teacher=teacher(),
        )
        losses.append(objective.loss(step, batch_of(x_clean)).item())
    assert losses[0] < losses[1]


@pytest.mark.parametrize(
    "objective",
    [
        ConsistencyTraining(n_levels=18),
        ImprovedConsistencyTraining(s0=16),
        EasyConsistencyTuning(),
        ConsistencyDistillation(n_levels=18, solver="euler"),
        ConsistencyDistillation(n_levels=18, solver="heun"),
    ],
    ids=lambda o: o.name,
)
def test_a_point_mass_makes_the_pair_one_step_of_the_ode(objective, generator):
    """For data at one point the ODE is a straight line to it: what the loss compares lies on it."""
    seen = []

    def point(x, sigma, condition, parameters):
        seen.append((x, sigma.view(-1, 1, 1, 1)))
        return torch.full_like(x, 0.3)

    def oracle(x, sigma, condition, parameters):
        return torch.full_like(x, 0.3)

    point.sigma_data = STD
    step = replace(
        make_step(nn.Identity(), SIGMA_MIN, generator),
        denoiser=point,
        frozen=point,
        teacher=oracle,
    )
    loss = objective.loss(step, batch_of(torch.full((64, 1, 2, 2), 0.3)))
    assert abs(loss.item()) < 1e-6  # the exact map of a point mass
    (x_t, t), (x_r, r) = seen
    assert (t > r).all() and len(t.unique()) > 5
    assert ((x_t - 0.3) / t).std().item() == pytest.approx(1, rel=0.2)
    slope = (x_t - 0.3) / t  # of the probability-flow ODE
    torch.testing.assert_close(x_t + (r - t) * slope, x_r, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "objective",
    [ConsistencyTraining(n_levels=18), ConsistencyDistillation(n_levels=18)],
    ids=lambda o: o.name,
)
def test_every_pair_down_to_sigma_min_is_drawn(objective, generator):
    t, r = objective.pair(make_step(nn.Identity(), SIGMA_MIN, generator), 5000)
    assert (t > r).all()
    assert len(t.unique()) == 17 and t.max() == SIGMA_MAX
    assert r.min().item() == pytest.approx(SIGMA_MIN)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_ict_draws_pairs_relative_to_the_data(sigma_data, generator):
    """With sigma_data = 0.5 they are the published ones: P_mean = -1.1, P_std = 2."""
    objective = ImprovedConsistencyTraining()
    step = make_step(nn.Identity(), SIGMA_MIN, generator, sigma_data=sigma_data)
    t, _ = objective.pair(step, 60_000)
    levels = karras_levels(11, SIGMA_MIN, SIGMA_MAX)
    mean = {0.5: -1.1, 1.0: -0.41}[sigma_data]
    expected = ict_probabilities(levels, mean, 2.0)
    which = (levels[:, None] == t).int().argmax(0)
    counts = torch.bincount(which, minlength=10) / len(t)
    torch.testing.assert_close(counts, expected.float(), rtol=0, atol=0.01)


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


@every_distance
@every_objective
def test_the_loss_is_the_weighted_distance_of_the_pair(kind, distance, generator):
    """Read back from what the networks were given, in the units of the papers but for 1 / d."""
    objective = kind(distance=distance)
    seen = {}

    def network(name, scale):
        def evaluate(x, sigma, condition, parameters):
            seen[name] = (scale * x, sigma)
            return scale * x

        evaluate.sigma_data = STD
        return evaluate

    step = replace(
        make_step(nn.Identity(), SIGMA_MIN, generator, teacher=teacher()),
        denoiser=network("student", 0.7),
        frozen=network("goal", 0.5),
        target=network("goal", 0.5),
    )
    loss = objective.loss(step, batch_of(torch.randn(32, 2, 4, 4, generator=generator)))
    (a, t), (b, r) = seen["student"], seen["goal"]
    weight = 1 / (t - r) if objective.name in ("ict", "ect") else torch.ones(32)
    if distance == "l2":
        expected = (weight * squared_l2(a, b)).mean() / 32
    else:
        expected = (weight * pseudo_huber(a, b, huber_constant(32))).mean() / 32**0.5
    torch.testing.assert_close(loss, expected)


@every_objective
def test_student_and_target_share_their_dropout_mask(kind, generator):
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
    step = make_step(
        *(network, SIGMA_MIN, generator), target=copy.deepcopy(network), teacher=teacher()
    )
    kind().loss(step, batch_of(torch.randn(16, 1, 4, 4))).backward()
    assert len(Dropped.seen) == 2 and torch.equal(*Dropped.seen)
    Dropped.seen.clear()


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 1), ("heun", 2)])
def test_distillation_steps_along_the_teachers_ode(solver, evaluations, generator):
    """For Gaussian data a step is a product, here written out by hand."""
    cd = ConsistencyDistillation(n_levels=18, solver=solver)
    calls = []

    def counted(x, sigma, condition, parameters):
        calls.append(sigma)
        return teacher()(x, sigma, condition, parameters)

    step = make_step(nn.Identity(), SIGMA_MIN, generator, teacher=counted)
    batch = batch_of(MEAN + STD * torch.randn(64, 1, 1, 1, generator=generator))
    t, r = cd.pair(step, 64)
    x_t, x_r = cd.points(step, batch, t, r)
    assert len(calls) == evaluations and torch.equal(calls[0], t)
    a, b = t / (STD**2 + t**2), r / (STD**2 + r**2)  # (x - D) / sigma = sigma (x - m) / (...)
    factor = 1 + (r - t) * a
    if solver == "heun":
        assert torch.equal(calls[1], r)
        factor = 1 + (r - t) * (a + b * factor) / 2
    expected = MEAN + factor.view(-1, 1, 1, 1) * (x_t - MEAN)
    torch.testing.assert_close(x_r, expected, rtol=1e-4, atol=1e-4)


def test_distillation_without_a_teacher_is_an_error(generator):
    step = make_step(nn.Identity(), SIGMA_MIN, generator)
    with pytest.raises(ValueError, match="needs a teacher"):
        ConsistencyDistillation().loss(step, batch_of(torch.zeros(2, 1, 1, 1)))


def test_the_memory_of_a_distillation_target_goes_geometrically_from_start_to_end():
    fixed = ConsistencyDistillation(ema_decay=0.95)
    assert [fixed.target_decay(p) for p in (0, 0.5, 1)] == [0.95] * 3
    rising = ConsistencyDistillation(ema_decay=0.9, ema_decay_end=0.999)
    assert [rising.target_decay(p) for p in (0, 0.5, 1)] == pytest.approx([0.9, 0.99, 0.999])


@every_objective
def test_curricula_are_pure_functions_of_the_progress(kind):
    """What a resumed run draws at a step does not depend on how it came there."""
    objective = kind()
    pairs = []
    for _ in range(2):
        step = make_step(nn.Identity(), SIGMA_MIN, torch.Generator().manual_seed(4), progress=0.6)
        pairs.append(objective.pair(step, 100))
    assert torch.equal(pairs[0][0], pairs[1][0]) and torch.equal(pairs[0][1], pairs[1][1])
