"""Noise schedules of variational diffusion models."""

from __future__ import annotations

import pytest
import torch

from halo_cm.diffusion.schedules import make_schedule, schedule_levels


def bent(name):
    """A schedule as training may leave it."""
    schedule = make_schedule(name, -13.3, 5.0, free_ends=name == "learned_linear")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in schedule.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return schedule


@pytest.mark.parametrize("name", ["fixed_linear", "learned_linear", "learned_nn"])
def test_gamma_rises_from_end_to_end_and_its_slope_is_its_derivative(name):
    schedule, t = bent(name), torch.linspace(0, 1, 1001).double()
    schedule = schedule.double()
    t.requires_grad_(True)
    u, slope, _ = schedule(t)
    assert u[0].item() == pytest.approx(0) and u[-1].item() == pytest.approx(1)
    assert (u.diff() > 0).all()
    if u.grad_fn is not None:
        (derivative,) = torch.autograd.grad(u.sum(), t)
        torch.testing.assert_close(slope, derivative)


def test_the_network_begins_close_to_linear_and_does_not_stay_so():
    t = torch.linspace(0, 1, 101)
    for schedule, low, high in (
        (make_schedule("learned_nn", -13.3, 13.3, free_ends=False), 0, 0.03),
        (bent("learned_nn"), 0.03, 1),
    ):
        distance = (schedule(t).u - t).abs().max().item()
        assert low <= distance < high


def test_a_fresh_schedule_is_the_same_everywhere():
    first, second = (make_schedule("learned_nn", -13.3, 5.0, free_ends=True) for _ in range(2))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_levels_fall_along_gamma():
    schedule = make_schedule("fixed_linear", -13.3, 5.0, free_ends=False)
    levels = schedule_levels(schedule, 10)
    torch.testing.assert_close(2 * levels.log(), torch.linspace(5, -13.3, 11))
    assert not schedule_levels(bent("learned_nn"), 10).requires_grad


def test_mixed_precision_leaves_gamma_exact():
    schedule, t = bent("learned_nn"), torch.linspace(0, 1, 11)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = schedule(t)
    torch.testing.assert_close(mixed.u, schedule(t).u)
    torch.testing.assert_close(mixed.slope, schedule(t).slope)
