"""Muon: the orthogonal factor, an independent implementation, and where it is used."""

from __future__ import annotations

import math

import pytest
import torch

from halo_cm.config.network import DiTConfig, UNetConfig
from halo_cm.config.training import PhaseConfig
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.diffusion.schedules import make_schedule
from halo_cm.networks.build import build_network
from halo_cm.networks.patch_network import inner_weights
from halo_cm.training.checkpoint import load_optimizer, optimizer_tensors
from halo_cm.training.muon import Muon, orthogonal
from halo_cm.training.schedule import make_optimizer


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (12, 12)])
def test_singular_vectors_stay_and_singular_values_go_near_one(shape):
    matrix = random(*shape)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = u.mT @ orthogonal(matrix) @ vt.mT
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-3)
    large = found.diagonal()[s > 0.02 * s.norm()]
    assert large.numel() >= 5
    assert ((large > 0.65) & (large < 1.25)).all()


@pytest.mark.parametrize("shape", [(6, 50), (50, 6)])
def test_iterating_in_the_gram_matrix_is_iterating_the_matrix(shape):
    matrix = random(*shape).double()
    x = matrix if shape[0] < shape[1] else matrix.mT
    x = x / x.norm()
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    expected = x if shape[0] < shape[1] else x.mT
    torch.testing.assert_close(orthogonal(matrix), expected)


def test_the_scale_of_a_gradient_does_not_matter_and_zeros_stay():
    matrix = random(4, 9)
    for scale in (1e-12, 1e-24, 1e-35, 1e30):
        torch.testing.assert_close(orthogonal(scale * matrix), orthogonal(matrix))
    assert orthogonal(1e-42 * matrix).abs().max() < 1.3  # below the range of float32
    assert (orthogonal(torch.zeros(3, 5)) == 0).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_steps_are_those_of_torch():
    ours, theirs = (torch.nn.Parameter(random(8, 20)) for _ in range(2))
    muon = Muon([ours], [torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
    reference = torch.optim.Muon(
        [theirs], lr=0.01, momentum=0.9, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    start = ours.detach().clone()
    for step in range(4):
        gradient = random(8, 20, seed=step + 1)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        reference.step()
    moved = (ours - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # theirs iterates in bfloat16


def test_everything_else_takes_the_steps_of_adamw():
    ours, theirs = (torch.nn.Parameter(random(7)) for _ in range(2))
    muon = Muon([torch.nn.Parameter(random(3, 4))], [ours], lr=0.1, betas=(0.9, 0.99))
    reference = torch.optim.AdamW([theirs], lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(3):
        ours.grad, theirs.grad = random(7, seed=step), random(7, seed=step)
        muon.step()
        reference.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (6, 4, 3, 3, 3)])
def test_a_kernel_is_a_matrix_of_outputs_and_its_step_has_the_size_of_adamw(shape):
    kernel = torch.nn.Parameter(torch.zeros(shape))
    muon = Muon([kernel], [torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    kernel.grad = random(*shape)
    expected = orthogonal(kernel.grad.flatten(1))
    muon.step()
    size = 0.01 * 0.2 * math.sqrt(math.prod(shape[1:]))
    torch.testing.assert_close(kernel.detach().flatten(1), -size * expected)
    assert kernel.detach().square().mean().sqrt() == pytest.approx(0.002, rel=0.2)


def test_a_state_that_was_saved_continues_as_if_it_had_not_been():
    def make():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2))
        inner = [layer.weight for layer in model]
        return model, Muon(inner, [layer.bias for layer in model], lr=0.05)

    def train(model, optimizer, steps):
        for step in steps:
            model(random(5, 4, seed=step)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    whole, optimizer = make()
    train(whole, optimizer, range(6))
    first, before = make()
    train(first, before, range(3))
    second, after = make()
    second.load_state_dict(first.state_dict())
    load_optimizer(after, optimizer_tensors(before))
    train(second, after, range(3, 6))
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, second.state_dict()[name])


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        (UNetConfig(), 2),
        (UNetConfig(), 3),
        (UNetConfig(attention_levels=(1,)), 2),
        (DiTConfig(), 2),
    ],
    ids=["unet", "unet-3d", "attention", "dit"],
)
def test_the_inner_weights_are_most_of_a_network_and_neither_end(shape, dims):
    network = build_network(3, 4, 6, shape, dims)
    inner = inner_weights(network)
    names = {id(p): name for name, p in network.named_parameters()}
    found = {names[id(p)] for p in inner}
    assert all(p.ndim > 1 for p in inner)
    assert not {"stem.weight", "output.weight"} & found
    assert not [n for n in found if "embedding" in n or "modulation" in n]
    assert {"unfold.weight", "head.weight"} <= found
    matrices = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert sum(p.numel() for p in inner) > 0.5 * matrices


def test_a_quadratic_of_a_matrix_falls_to_its_minimum():
    target = random(6, 10)
    weights, bias = torch.nn.Parameter(torch.zeros(6, 10)), torch.nn.Parameter(torch.zeros(6))
    optimizer = Muon([weights], [bias], lr=0.3)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.3 * (1 - step / 200)
        ((weights - target).square().sum() + (bias - 1).square().sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (weights - target).norm() < 0.05 * target.norm()
    assert (bias - 1).abs().max() < 0.05


@pytest.mark.parametrize("kind", ["muon", "adamw", "radam"])
def test_every_weight_of_a_denoiser_is_trained_once(kind):
    shape = UNetConfig(channels=(8, 16), patch_size=2, embedding_dimension=16)
    schedule = make_schedule("learned_nn", -12.0, 9.0, free_ends=True)
    denoiser = Denoiser(build_network(3, 4, 6, shape), 1.0, 0.0, 0, schedule)
    phase = {"objective": {"name": "vdm"}, "steps": 1, "optimizer": kind, "learning_rate": 0.01}
    optimizer = make_optimizer(PhaseConfig.model_validate(phase), denoiser)
    taken = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(taken) == len(set(taken))
    assert set(taken) == {id(p) for p in denoiser.parameters()}
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.9, 0.99), 0.0)
    schedule_weights = {id(p) for p in denoiser.schedule.parameters()}
    assert schedule_weights
    if kind == "muon":
        assert not schedule_weights & {id(p) for p in optimizer.param_groups[1]["params"]}
