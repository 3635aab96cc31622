"""Initial conditions: Gaussian density modes and second-order Lagrangian displacements (2LPT)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from halo_cm.universe.cosmology import (
    expansion_rate,
    growth_factor,
    growth_rate,
    second_order_growth,
)


def wavenumbers(n: int, boxsize: float) -> tuple[Tensor, Tensor, Tensor]:
    """Wavenumbers of an (n, n, n) real transform [h/Mpc], shapes that broadcast together."""
    full = 2 * math.pi / boxsize * n * torch.fft.fftfreq(n)
    half = 2 * math.pi / boxsize * n * torch.fft.rfftfreq(n)
    return full.view(-1, 1, 1), full.view(1, -1, 1), half.view(1, 1, -1)


def largest_wavenumber(n: int, boxsize: float) -> float:
    """Wavenumber up to which the linear spectrum of an (n, n, n) lattice must be known [h/Mpc].

    Its corners are sqrt(3) times as far as its Nyquist wavenumber.
    """
    return 1.01 * math.sqrt(3) * math.pi * n / boxsize


def gradient_factors(n: int, boxsize: float) -> tuple[Tensor, Tensor, Tensor]:
    """Factors i k of a derivative; zero at the Nyquist wavenumber, whose sign is ambiguous."""
    nyquist = math.pi * n / boxsize
    kx, ky, kz = (
        1j * torch.where(k.abs() < nyquist * (1 - 1e-6), k, 0.0) for k in wavenumbers(n, boxsize)
    )
    return kx, ky, kz


def density_modes(
    noise: NDArray[np.float32], boxsize: float, k: NDArray[np.float64], power: NDArray[np.float64]
) -> Tensor:
    """Fourier modes of the linear overdensity today.

    Parameters
    ----------
    noise
        White noise of unit variance, shape (n, n, n).
    boxsize
        Side of the box [Mpc/h].
    k, power
        Linear power spectrum [h/Mpc], [(Mpc/h)^3].

    Returns
    -------
    Tensor
        Modes whose ``irfftn`` is the overdensity, shape (n, n, n // 2 + 1).
    """
    n = noise.shape[0]
    kx, ky, kz = wavenumbers(n, boxsize)
    k_squared = kx**2 + ky**2 + kz**2
    k_squared[0, 0, 0] = 1.0
    log_k = 0.5 * np.log(k_squared.numpy())
    amplitude = np.exp(0.5 * np.interp(log_k, np.log(k), np.log(power))) * (n / boxsize) ** 1.5
    modes = torch.fft.rfftn(torch.from_numpy(noise)) * torch.from_numpy(amplitude).float()
    modes[0, 0, 0] = 0.0
    return modes


def lagrangian_displacements(modes: Tensor, boxsize: float) -> tuple[Tensor, Tensor]:
    """First- and second-order displacement fields for D = 1 and D2 = 1.

    The first is -grad phi1 with laplace phi1 = delta; the second is grad phi2 with laplace phi2 =
    sum_{i<j} (phi1,ii phi1,jj - phi1,ij^2) (Bouchet et al. 1995; Scoccimarro 1998, appendix D).

    Parameters
    ----------
    modes
        Modes of the overdensity, shape (n, n, n // 2 + 1).
    boxsize
        Side of the box [Mpc/h].

    Returns
    -------
    first, second
        Displacements [Mpc/h], shape (n, n, n, 3).
    """
    n = modes.shape[0]
    k = wavenumbers(n, boxsize)
    inverse_laplace = -1.0 / (k[0] ** 2 + k[1] ** 2 + k[2] ** 2)
    inverse_laplace[0, 0, 0] = 0.0
    gradient = gradient_factors(n, boxsize)

    def inverse(field: Tensor) -> Tensor:
        return torch.fft.irfftn(field, s=(n, n, n))

    phi = modes * inverse_laplace
    first = torch.stack([inverse(-g * phi) for g in gradient], -1)
    diagonal = [inverse(-(q**2) * phi) for q in k]
    source = diagonal[0] * diagonal[1] + diagonal[0] * diagonal[2] + diagonal[1] * diagonal[2]
    del diagonal
    for i, j in ((0, 1), (0, 2), (1, 2)):
        source -= inverse(gradient[i] * gradient[j] * phi) ** 2
    phi = torch.fft.rfftn(source) * inverse_laplace
    second = torch.stack([inverse(g * phi) for g in gradient], -1)
    return first, second


def initial_particles(
    modes: Tensor, boxsize: float, a: float, omega_m: float
) -> tuple[Tensor, Tensor]:
    """Particles at scale factor ``a``, displaced from a lattice to second order.

    x = q - D grad phi1 + D2 grad phi2 and p = a^2 E(a) dx/d ln a, that is p = a^2 dx/dt / H0.

    Parameters
    ----------
    modes
        Modes of the linear overdensity today, shape (n, n, n // 2 + 1).
    boxsize
        Side of the box [Mpc/h].
    a
        Scale factor.
    omega_m
        Matter density today.

    Returns
    -------
    positions, momenta
        Comoving positions in [0, boxsize) and momenta [Mpc/h], shape (n^3, 3).
    """
    n = modes.shape[0]
    first, second = lagrangian_displacements(modes, boxsize)
    d1, f1 = growth_factor(a, omega_m), growth_rate(a, omega_m)
    d2, f2 = second_order_growth(a, omega_m)
    sites = (torch.arange(n) + 0.5) * (boxsize / n)
    lattice = torch.stack(torch.meshgrid(sites, sites, sites, indexing="ij"), -1)
    positions = lattice.add_(first, alpha=d1).add_(second, alpha=d2)
    momenta = first.mul_(f1 * d1).add_(second, alpha=f2 * d2)
    momenta *= a**2 * expansion_rate(a, omega_m)
    return positions.view(-1, 3).remainder_(boxsize), momenta.view(-1, 3)
