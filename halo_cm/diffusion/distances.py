"""Distances between a prediction and its target, on the vector norm of each sample."""

from __future__ import annotations

import math

from torch import Tensor


def squared_l2(a: Tensor, b: Tensor) -> Tensor:
    """Squared vector norm |a - b|^2 of each sample, shape (B,)."""
    return (a - b).flatten(1).square().sum(1)


def pseudo_huber(a: Tensor, b: Tensor, c: float) -> Tensor:
    """``sqrt(|a - b|^2 + c^2) - c`` of each sample, shape (B,) (Song & Dhariwal 2023, eq. 8).

    With c = 0 this is the vector norm; its gradient at a = b is then taken as zero.
    """
    squared = squared_l2(a, b)
    if c == 0:
        # the tiny floor only keeps the gradient finite at a = b
        return (squared + 1e-24).sqrt()
    return (squared + c**2).sqrt() - c


def huber_constant(n_elements: int, scale: float = 0.00054) -> float:
    """``c = 0.00054 sqrt(d)`` for d output elements (Song & Dhariwal 2023, section 3.3)."""
    return scale * math.sqrt(n_elements)
