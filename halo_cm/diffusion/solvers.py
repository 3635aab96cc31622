"""Samplers: functions of (denoise, x, levels), where ``denoise(x, sigma)`` is D with its condition.

The probability-flow ODE is ``dx/dsigma = (x - D(x; sigma)) / sigma`` (Karras et al. 2022, eq. 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


def euler(denoise: Denoise, x: Tensor, levels: Tensor) -> Tensor:
    """First-order steps down the levels; NFE = len(levels) - 1."""
    for t, r in pairwise(levels):
        slope = (x - denoise(x, t.expand(len(x)))) / t
        x = x + (r - t) * slope
    return x


def heun(denoise: Denoise, x: Tensor, levels: Tensor) -> Tensor:
    """Second-order steps (Karras et al. 2022, algorithm 1), then D at the last level.

    The last level is sigma_min > 0, where what is left of the noise is removed by one more
    evaluation in place of the final Euler step to zero: NFE = 2 len(levels) - 1.

    Parameters
    ----------
    denoise
        ``denoise(x, sigma)`` with ``sigma`` of shape (B,).
    x
        Noise at the first level, shape (B, C, H, W).
    levels
        Falling noise levels.
    """
    for t, r in pairwise(levels):
        slope = (x - denoise(x, t.expand(len(x)))) / t
        x_euler = x + (r - t) * slope
        slope_end = (x_euler - denoise(x_euler, r.expand(len(x)))) / r
        x = x + (r - t) * (slope + slope_end) / 2
    return denoise(x, levels[-1].expand(len(x)))


def consistency(
    denoise: Denoise, levels: Tensor, noise: Iterator[Tensor], sigma_min: float
) -> Tensor:
    """Multistep consistency sampling (Song et al. 2023, algorithm 1); NFE = len(levels).

    Parameters
    ----------
    levels
        Falling noise levels; the first is sigma_max, the only one of a one-step sample.
    noise
        One standard normal tensor (B, C, H, W) for every level.
    sigma_min
        Level at which D is the identity.
    """
    x = denoise_first(denoise, levels[0], next(noise))
    for level in levels[1:]:
        x = x + (level**2 - sigma_min**2).sqrt() * next(noise)
        x = denoise(x, level.expand(len(x)))
    return x


def denoise_first(denoise: Denoise, sigma: Tensor, noise: Tensor) -> Tensor:
    """One-step sample ``D(sigma_max noise; sigma_max)``."""
    return denoise(sigma * noise, sigma.expand(len(noise)))
