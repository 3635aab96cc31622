"""Embedding of noise level, conditioning parameters and coarse noise into one vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from halo_cm.networks.blocks import zero_inputs


class FourierFeatures(nn.Module):
    """Sines and cosines of a scalar at geometrically spaced frequencies (Vaswani et al. 2017).

    ``c_noise = ln(sigma) / 4`` spans about [-1.6, 1.1]: the slowest wave has a period of 8, so
    that the map is injective, the fastest resolves steps of a few per cent in sigma.
    """

    frequencies: Tensor

    def __init__(self, n_frequencies: int = 16) -> None:
        super().__init__()
        octaves = torch.linspace(-3, 3, n_frequencies)
        self.register_buffer("frequencies", 2 * math.pi * 2**octaves, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of shape (B, 2 n_frequencies) of ``x`` of shape (B,)."""
        phase = x[:, None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], 1)


class LevelEmbedding(nn.Module):
    """Vector of shape (B, dimension) made from the noise level and numbers of each sample.

    Parameters
    ----------
    n_parameters
        Conditioning numbers per sample.
    dimension
        Length of the embedding.
    n_more
        Further numbers per sample, without effect until they are trained.
    """

    def __init__(
        self, n_parameters: int, dimension: int, n_more: int = 0, n_frequencies: int = 16
    ) -> None:
        super().__init__()
        self.fourier = FourierFeatures(n_frequencies)
        known = 2 * n_frequencies + n_parameters
        first = nn.Linear(known + n_more, dimension)
        zero_inputs(first, known, known + n_more)
        self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(dimension, dimension), nn.SiLU())

    def forward(self, c_noise: Tensor, parameters: Tensor, *more: Tensor) -> Tensor:
        """Embed ``c_noise`` (B,), normalised ``parameters`` (B, P) and ``more`` (B, ...)."""
        return self.mlp(torch.cat([self.fourier(c_noise), parameters, *more], 1))
