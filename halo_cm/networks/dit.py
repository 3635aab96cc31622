"""Diffusion transformer on patches: attention among all of them, at one resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from halo_cm.networks.blocks import zero
from halo_cm.networks.patch_network import PatchNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halo_cm.config.network import DiTConfig

#: Added to the variance in the norms (Peebles & Xie 2022, their code).
_EPSILON = 1e-6
#: Longest wavelength of the position embedding over its shortest (Vaswani et al. 2017).
_WAVELENGTHS = 10_000.0


class DiT(PatchNetwork):
    """The DiT with adaLN-Zero (Peebles & Xie 2022, arXiv:2212.09748).

    In place of the linear decoder of the paper the patches go through the head at full resolution
    that all backbones share.

    Parameters
    ----------
    n_fields, n_condition, n_parameters
        Channels of the fields and of the condition maps; conditioning numbers.
    shape
        Width, depth, heads and the like.
    dims
        2 or 3 spatial dimensions.
    """

    def __init__(
        self,
        n_fields: int,
        n_condition: int,
        n_parameters: int,
        shape: DiTConfig,
        dims: int = 2,
    ) -> None:
        width = shape.width
        super().__init__(
            n_fields, n_condition, n_parameters, shape, dims=dims, width=width, kernel=1
        )
        self.blocks = nn.ModuleList(
            DiTBlock(width, shape.n_heads, shape.mlp_ratio, shape.embedding_dimension)
            for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(width, _EPSILON, elementwise_affine=False)
        self.modulation = zero(nn.Linear(shape.embedding_dimension, 2 * width))
        nn.init.xavier_uniform_(self.stem.get_parameter("weight").flatten(1))
        nn.init.zeros_(self.stem.get_parameter("bias"))
        self._add_head(width, shape)

    def backbone(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Let all patches attend to each other."""
        batch, width, *size = h.shape
        tokens = h.flatten(2).transpose(1, 2) + position_embedding(size, width, like=h)
        for block in self.blocks:
            tokens = block(tokens, embedding)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, -1)
        tokens = modulate(self.norm(tokens), shift, scale)
        return tokens.transpose(1, 2).reshape(batch, width, *size)


class DiTBlock(nn.Module):
    """Attention, then an MLP, both scaled, shifted and gated by the embedding (adaLN-Zero).

    The gates start at zero, and the block as the identity.

    Parameters
    ----------
    width, heads
        Numbers that describe a token, and heads that share them.
    mlp_ratio
        Hidden width of the MLP over ``width``.
    n_embedding
        Length of the embedding.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int, n_embedding: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, _EPSILON, elementwise_affine=False)
        self.qkv = _linear(width, 3 * width)
        self.project = _linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, _EPSILON, elementwise_affine=False)
        self.mlp = nn.Sequential(
            _linear(width, mlp_ratio * width),
            nn.GELU(approximate="tanh"),
            _linear(mlp_ratio * width, width),
        )
        self.modulation = zero(nn.Linear(n_embedding, 6 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map tokens (B, N, width), given the embedding (B, n_embedding), to the same shape."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(embedding)[
            :, None
        ].chunk(6, -1)
        x = x + gate * self._attend(modulate(self.norm_attention(x), shift, scale))
        return x + gate_mlp * self.mlp(modulate(self.norm_mlp(x), shift_mlp, scale_mlp))

    def _attend(self, x: Tensor) -> Tensor:
        batch, n_tokens, width = x.shape
        qkv = self.qkv(x).view(batch, n_tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.project(out.transpose(1, 2).reshape(x.shape))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x (1 + scale) + shift`` for tokens (B, N, width) and a shift and scale (B, 1, width)."""
    return torch.addcmul(shift, x, 1 + scale)


def position_embedding(size: Sequence[int], width: int, like: Tensor) -> Tensor:
    """Fixed sines and cosines of the position (Vaswani et al. 2017), an equal share of each axis.

    Positions are counted from the centre, where the halo is, in patches: it keeps its embedding
    in maps of another size.

    Parameters
    ----------
    size
        Patches along each axis.
    width
        Length of the embedding; what the axes cannot share equally is zero.
    like
        Gives the device and the type.

    Returns
    -------
    Tensor
        Shape (product of ``size``, width), the last axis of ``size`` running fastest.
    """
    n_waves = width // (2 * len(size))
    steps = torch.arange(n_waves, device=like.device, dtype=torch.float32) / n_waves
    axes = [torch.arange(n, device=like.device, dtype=torch.float32) - (n - 1) / 2 for n in size]
    features = []
    for position in torch.meshgrid(*axes, indexing="ij"):
        phase = position.flatten()[:, None] * _WAVELENGTHS**-steps
        features += [phase.sin(), phase.cos()]
    embedding = torch.cat(features, 1)
    return functional.pad(embedding, (0, width - embedding.shape[1])).to(like.dtype)


def _linear(n_in: int, n_out: int) -> nn.Linear:
    """Layer that starts as all layers of the paper's code do."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
