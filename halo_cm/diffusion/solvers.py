"""Solvers: how samples are drawn with a denoiser, as functions of (denoise, x or noise, levels).

``denoise(x, sigma)`` is D with its condition, ``sigma`` of shape (B,). The probability-flow ODE is
``dx/dsigma = (x - D(x; sigma)) / sigma`` (Karras et al. 2022, arXiv:2206.00364, eq. 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

from halo_cm.diffusion.denoiser import expand

Denoise = Callable[[Tensor, Tensor], Tensor]
#: Velocity dx/dt of (x, t), with t of shape (B,).
Velocity = Callable[[Tensor, Tensor], Tensor]


def euler_step(denoise: Denoise, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """One first-order step from levels t to r, shapes (B,)."""
    at, to = expand(t, x), expand(r, x)
    slope = (x - denoise(x, t)) / at
    return x + (to - at) * slope


def heun_step(denoise: Denoise, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """One second-order step from levels t to r > 0, shapes (B,); two evaluations."""
    at, to = expand(t, x), expand(r, x)
    slope = (x - denoise(x, t)) / at
    x_euler = x + (to - at) * slope
    slope_end = (x_euler - denoise(x_euler, r)) / to
    return x + (to - at) * (slope + slope_end) / 2


def euler(denoise: Denoise, x: Tensor, levels: Tensor) -> Tensor:
    """First-order steps down the levels, then D at the last one; NFE = len(levels).

    Parameters are those of `heun`.
    """
    for t, r in pairwise(levels):
        x = euler_step(denoise, x, t.expand(len(x)), r.expand(len(x)))
    return denoise(x, levels[-1].expand(len(x)))


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
        x = heun_step(denoise, x, t.expand(len(x)), r.expand(len(x)))
    return denoise(x, levels[-1].expand(len(x)))


def dpm(denoise: Denoise, x: Tensor, levels: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2), then D at the last level.

    With alpha = 1 and lambda = -ln sigma, a step from t to r has ``h = ln(t / r)`` and

        x_r = (r / t) x_t + (1 - r / t) (D_t + h / (2 h_before) (D_t - D_before)),

    which is of second order at one evaluation a step; the first step, with nothing before it, is
    of first order. NFE = len(levels). Parameters are those of `heun`.
    """
    clean = denoise(x, levels[0].expand(len(x)))
    before, h_before = clean, None
    for t, r in pairwise(levels):
        h = (t / r).log()
        ahead = clean if h_before is None else clean + h / (2 * h_before) * (clean - before)
        x = (r / t) * x + (1 - r / t) * ahead
        before, h_before = clean, h
        clean = denoise(x, r.expand(len(x)))
    return clean


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


def ancestral(denoise: Denoise, levels: Tensor, noise: Iterator[Tensor]) -> Tensor:
    """Ancestral sampling of a variational diffusion model; NFE = len(levels) - 1.

    A step draws from ``q(z_s | z_t, x = D)`` (Kingma et al. 2021, arXiv:2107.00630, eq. 32 to 34).
    For ``y = z / alpha = x + sigma noise`` with ``sigma = e^(gamma / 2)`` and
    ``c = -expm1(gamma_s - gamma_t) = 1 - sigma_s^2 / sigma_t^2`` it is

        y_s = (1 - c) y_t + c D(y_t; sigma_t) + sigma_s sqrt(c) noise.

    The first z is standard normal, so that y begins at ``sqrt(1 + sigma^2) noise``. The result is
    the mean of the reconstruction, ``z_0 / alpha_0``, with the noise of the last level on it.

    Parameters
    ----------
    levels
        Falling noise levels ``e^(gamma / 2)``.
    noise
        One standard normal tensor (B, C, H, W) for every level.
    """
    y = (1 + levels[0] ** 2).sqrt() * next(noise)
    for t, s in pairwise(levels):
        c = 1 - (s / t) ** 2
        clean = denoise(y, t.expand(len(y)))
        y = (1 - c) * y + c * clean + s * c.sqrt() * next(noise)
    return y


def flow_euler(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """First-order steps along ``dx/dt = velocity(x, t)``; NFE = len(times) - 1.

    Parameters are those of `flow_heun`.
    """
    for t, after in pairwise(times):
        x = x + (after - t) * velocity(x, t.expand(len(x)))
    return x


def flow_heun(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Second-order steps along ``dx/dt = velocity(x, t)``; NFE = 2 len(times) - 3.

    The last step is of first order: the velocity of an interpolant is not defined at its end.

    Parameters
    ----------
    velocity
        Called with x and times of shape (B,).
    x
        State at the first time, shape (B, C, H, W).
    times
        Rising times.
    """
    for t, after in pairwise(times[:-1]):
        slope = velocity(x, t.expand(len(x)))
        slope_end = velocity(x + (after - t) * slope, after.expand(len(x)))
        x = x + (after - t) * (slope + slope_end) / 2
    return flow_euler(velocity, x, times[-2:])
