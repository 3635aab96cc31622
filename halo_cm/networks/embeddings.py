"""Embedding of the noise level and the conditioning parameters into one vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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
    """Vector of shape (B, dimension) made from the noise level and the parameters.

    Parameters
    ----------
    n_parameters
        Conditioning numbers per sample.
    dimension
        Length of the embedding.
    """

    def __init__(self, n_parameters: int, dimension: int, n_frequencies: int = 16) -> None:
        super().__init__()
        self.fourier = FourierFeatures(n_frequencies)
        self.mlp = nn.Sequential(
            nn.Linear(2 * n_frequencies + n_parameters, dimension),
            nn.SiLU(),
            nn.Linear(dimension, dimension),
            nn.SiLU(),
        )

    def forward(self, c_noise: Tensor, parameters: Tensor) -> Tensor:
        """Embed ``c_noise`` (B,) and normalised ``parameters`` (B, P)."""
        return self.mlp(torch.cat([self.fourier(c_noise), parameters], 1))
