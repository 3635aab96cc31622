"""Distances act on the vector norm of each sample."""

from __future__ import annotations

import math

import pytest
import torch

from halo_cm.diffusion.distances import huber_constant, pseudo_huber, squared_l2


def test_pseudo_huber_is_the_norm_for_large_and_the_square_for_small_differences():
    a = torch.zeros(2, 3, 4, 4)
    big, small = torch.full_like(a, 10.0), torch.full_like(a, 1e-4)
    norm = math.sqrt(48)
    torch.testing.assert_close(
        pseudo_huber(a, big, 0.03), torch.full((2,), 10 * norm), rtol=1e-3, atol=0
    )
    expected = (1e-4 * norm) ** 2 / (2 * 0.3)
    torch.testing.assert_close(
        pseudo_huber(a.double(), small.double(), 0.3),
        torch.full((2,), expected).double(),
        rtol=1e-3,
        atol=0,
    )
    torch.testing.assert_close(squared_l2(a, big), torch.full((2,), 4800.0))


@pytest.mark.parametrize("c", [0.0, 0.03])
def test_gradient_is_finite_where_the_pair_agrees(c):
    a = torch.ones(2, 3, 4, 4, requires_grad=True)
    pseudo_huber(a, torch.ones(2, 3, 4, 4), c).sum().backward()
    assert a.grad is not None and torch.equal(a.grad, torch.zeros_like(a))


def test_huber_constant_of_cifar():
    assert huber_constant(3 * 32 * 32) == pytest.approx(0.03, abs=1e-3)
