"""Building blocks shared by the networks, in two or three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_POOLINGS = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


def convolution(dims: int, n_in: int, n_out: int, width: int = 3) -> nn.Module:
    """Convolution that keeps the size."""
    return _CONVOLUTIONS[dims](n_in, n_out, width, padding=width // 2)


def zero(module: nn.Module) -> nn.Module:
    """Start a layer at zero, so that its branch adds nothing at first."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


@torch.no_grad()
def zero_inputs(layer: nn.Module, first: int, last: int) -> None:
    """Start with no effect of the inputs ``first`` to ``last - 1`` of a layer."""
    weight = layer.get_parameter("weight")
    weight[:, first:last] = 0


def group_norm(channels: int, per_group: int = 8) -> nn.GroupNorm:
    """Group normalisation with about ``per_group`` channels in each group."""
    groups = max(1, channels // per_group)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


@dataclass(frozen=True)
class BlockOptions:
    """Variants of a residual block.

    Attributes
    ----------
    resample
        ``"down"`` halves the resolution at the entrance, ``"up"`` doubles it.
    heads
        Attention heads behind the convolutions; 0 for none.
    dropout
        Share of activations dropped before the second convolution.
    """

    resample: str | None = None
    heads: int = 0
    dropout: float = 0.0


class ResidualBlock(nn.Module):
    """Two convolutions, the second under a scale and shift from the embedding (adaptive norm).

    Parameters
    ----------
    dims
        2 or 3.
    n_in, n_out, n_embedding
        Channels of the input, of the output and of the embedding.
    options
        Resampling, attention and dropout.
    """

    def __init__(
        self,
        dims: int,
        n_in: int,
        n_out: int,
        n_embedding: int,
        options: BlockOptions = BlockOptions(),
    ) -> None:
        super().__init__()
        self.dims, self.resample = dims, options.resample
        self.norm_in = group_norm(n_in)
        self.conv_in = convolution(dims, n_in, n_out)
        self.modulation = nn.Linear(n_embedding, 2 * n_out)
        self.norm_out = group_norm(n_out)
        self.dropout = nn.Dropout(options.dropout)
        self.conv_out = zero(convolution(dims, n_out, n_out))
        self.skip = convolution(dims, n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.attention = (
            SelfAttention(dims, n_out, options.heads) if options.heads else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, n_in, ...) to (B, n_out, ...)."""
        h = functional.silu(self.norm_in(x))
        if self.resample is not None:
            h, x = self._resample(h), self._resample(x)
        h = self.conv_in(h)
        scale, shift = self.modulation(embedding).view(len(h), -1, *[1] * self.dims).chunk(2, 1)
        h = functional.silu(torch.addcmul(shift, self.norm_out(h), 1 + scale))
        h = self.conv_out(self.dropout(h))
        return self.attention(self.skip(x) + h)

    def _resample(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return _POOLINGS[self.dims](x, 2)
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class SelfAttention(nn.Module):
    """Multi-head self-attention over all pixels, added to its input."""

    def __init__(self, dims: int, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = convolution(dims, channels, 3 * channels, 1)
        self.project = zero(convolution(dims, channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, channels, ...)."""
        batch, channels = x.shape[:2]
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, -1)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        out = functional.scaled_dot_product_attention(q, k, v)
        return x + self.project(out.transpose(-1, -2).reshape(x.shape))


def patchify(x: Tensor, patch: int) -> Tensor:
    """Fold patches into channels: (B, C, H, W) -> (B, C patch^2, H/patch, W/patch); 3D alike."""
    batch, channels, *size = x.shape
    if patch == 1:
        return x
    dims = len(size)
    split = [n for s in size for n in (s // patch, patch)]
    x = x.reshape(batch, channels, *split)
    coarse, fine = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    x = x.permute(0, 1, *fine, *coarse)
    return x.reshape(batch, channels * patch**dims, *[s // patch for s in size])


def unpatchify(x: Tensor, patch: int) -> Tensor:
    """Inverse of `patchify`."""
    batch, channels, *size = x.shape
    if patch == 1:
        return x
    dims = len(size)
    x = x.reshape(batch, channels // patch**dims, *[patch] * dims, *size)
    order = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    return x.permute(0, 1, *order).reshape(
        batch, channels // patch**dims, *[s * patch for s in size]
    )
