"""Noise levels: grids, curricula and the distributions that training draws from."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor


def karras_levels(n_levels: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Falling grid from sigma_max to sigma_min, shape (n_levels,) (Karras et al. 2022, eq. 5).

    Raises
    ------
    ValueError
        If fewer than two levels are asked for.
    """
    if n_levels < 2:
        raise ValueError(f"a level grid needs at least 2 levels, found {n_levels}")
    ramp = torch.linspace(0, 1, n_levels, dtype=torch.float64)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (first + ramp * (last - first)) ** rho
    levels[0], levels[-1] = sigma_max, sigma_min  # exact ends, free of rounding
    return levels.float()


def ct_discretization(progress: float, s0: int = 2, s1: int = 150) -> int:
    """N(k) of consistency training (Song et al. 2023, appendix C); progress = k / K."""
    inside = progress * ((s1 + 1) ** 2 - s0**2) + s0**2
    return math.ceil(math.sqrt(inside) - 1) + 1


def ct_target_decay(n_levels: int, s0: int = 2, mu0: float = 0.9) -> float:
    """mu(k) of the target network (Song et al. 2023, appendix C), with the paper's N(k).

    The authors' code uses N(k) - 1 here, which gives .81 in place of .90 at the start.
    """
    return math.exp(s0 * math.log(mu0) / n_levels)


def ict_discretization(progress: float, s0: int = 10, s1: int = 1280) -> int:
    """N(k) of improved consistency training: 11, 21, 41, ..., 1281 in stages of equal length.

    ``N(k) = min(s0 2^floor(k / K'), s1) + 1``, ``K' = K / (log2 floor(s1 / s0) + 1)`` (Song &
    Dhariwal 2023, arXiv:2310.14189, section 3.4). The paper rounds K' down to whole steps; in terms
    of the progress k / K alone it is not rounded.
    """
    n_stages = math.log2(s1 // s0) + 1
    return min(s0 * 2 ** math.floor(progress * n_stages), s1) + 1


def ict_probabilities(levels: Tensor, mean: float, std: float) -> Tensor:
    """Probability of each adjacent pair of a level grid (Song & Dhariwal 2023, section 3.5).

    ``p(t, r) ~ erf((ln t - mean) / (sqrt(2) std)) - erf((ln r - mean) / (sqrt(2) std))``: the mass
    that ``ln sigma ~ N(mean, std^2)`` has between the two levels.

    Parameters
    ----------
    levels
        Falling, shape (N,).
    mean, std
        Of ln sigma.

    Returns
    -------
    Tensor
        Shape (N - 1,), double precision; entry i belongs to ``levels[i]`` and ``levels[i + 1]``.
    """
    cdf = torch.erf((levels.double().log() - mean) / (math.sqrt(2) * std))
    mass = cdf[:-1] - cdf[1:]
    return mass / mass.sum()


def adjacent_pairs(
    levels: Tensor, n: int, generator: Generator, probabilities: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pairs t > r of neighbours in a level grid, shapes (n,); the lowest pair ends at sigma_min.

    Parameters
    ----------
    levels
        Falling, shape (N,), on the device of the generator.
    n
        Pairs to draw.
    generator
        Source of the random numbers.
    probabilities
        Of each pair, shape (N - 1,); all alike if None.
    """
    if probabilities is None:
        i = torch.randint(len(levels) - 1, (n,), generator=generator, device=generator.device)
    else:
        i = torch.multinomial(probabilities, n, replacement=True, generator=generator)
    return levels[i], levels[i + 1]


def lognormal_levels(
    n: int, mean: float, std: float, low: float, high: float, generator: Generator
) -> Tensor:
    """``ln sigma ~ N(mean, std^2)`` restricted to [low, high] by inversion, shape (n,).

    The restriction redistributes the tails inside the range; clamping would pile them up at its
    ends.
    """
    cdf_low, cdf_high = (_normal_cdf((math.log(x) - mean) / std) for x in (low, high))
    u = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
    z = torch.special.ndtri(cdf_low + u * (cdf_high - cdf_low))
    return torch.exp(mean + std * z).clamp(low, high).float()


def loguniform_levels(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """``ln sigma`` uniform in [ln low, ln high], shape (n,)."""
    u = torch.rand(n, generator=generator, device=generator.device)
    return torch.exp(math.log(low) + u * math.log(high / low)).clamp(low, high)


def mix(first: Tensor, second: Tensor, share: float, generator: Generator) -> Tensor:
    """Each entry from ``second`` with probability ``share``, else from ``first``."""
    u = torch.rand(len(first), generator=generator, device=generator.device)
    return torch.where(u < share, second, first)


def _normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))
