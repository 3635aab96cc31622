"""What the backbones share: patches go in, maps come out of a head at full resolution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from halo_cm.networks.blocks import (
    ResidualBlock,
    convolution,
    patchify,
    unpatchify,
    zero,
    zero_inputs,
)
from halo_cm.networks.embeddings import LevelEmbedding

if TYPE_CHECKING:
    from halo_cm.config.network import BackboneConfig


class PatchNetwork(nn.Module, ABC):
    """A network F of the denoiser that works on patches.

    The noisy fields, the condition maps and the distance from the centre are folded into patches;
    means of the noisy fields over large squares, and of the condition maps in rings around the
    centre, can enter the embedding beside the parameters; a backbone works on the patches; its
    output is unfolded and refined at full resolution beside the input, by `head_blocks` residual
    blocks that know the noise level and the parameters. Any size divisible by `stride` is accepted.
    The output starts at zero.

    A subclass builds its backbone after this and calls `_add_head` at the end.

    Parameters
    ----------
    n_fields, n_condition, n_parameters
        Channels of the fields and of the condition maps; conditioning numbers.
    shape
        Section of the configuration.
    dims
        2 or 3 spatial dimensions.
    width
        Channels behind the stem.
    kernel
        Side of the convolutions that enter and leave the backbone [patches].
    """

    def __init__(
        self,
        n_fields: int,
        n_condition: int,
        n_parameters: int,
        shape: BackboneConfig,
        *,
        dims: int,
        width: int,
        kernel: int,
    ) -> None:
        super().__init__()
        self.dims, self.kernel = dims, kernel
        self.patch_size, self.stride = shape.patch_size, shape.stride
        self.n_fields, self.n_known = n_fields, n_fields + n_condition
        self.n_latent = shape.latent_channels
        # the last one is the distance from the centre
        self.n_input = self.n_known + self.n_latent + 1
        self.noise_blocks, self.condition_rings = shape.noise_blocks, shape.condition_rings
        n_means = n_fields * shape.noise_blocks**dims + n_condition * shape.condition_rings
        self.embedding = LevelEmbedding(n_parameters, shape.embedding_dimension, n_means)
        self.stem = convolution(dims, self.n_input * self.patch_size**dims, width, kernel)

    def _add_head(self, width: int, shape: BackboneConfig) -> None:
        """Add what follows the backbone, which puts out ``width`` channels."""
        folded, head_channels = self.patch_size**self.dims, shape.head_channels
        self.unfold = convolution(self.dims, width, head_channels * folded, self.kernel)
        self.head = convolution(self.dims, head_channels + self.n_input, head_channels)
        self.refine = nn.ModuleList(
            ResidualBlock(self.dims, head_channels, head_channels, shape.embedding_dimension)
            for _ in range(shape.head_blocks)
        )
        self.output = zero(convolution(self.dims, head_channels, self.n_fields))
        # without effect until an objective draws latent noise and trains what enters
        end, first = self.n_known + self.n_latent, head_channels + self.n_known
        zero_inputs(self.stem, self.n_known * folded, end * folded)
        zero_inputs(self.head, first, first + self.n_latent)

    @abstractmethod
    def backbone(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map the patches (B, width, H / patch, W / patch), given the embedding (B, E)."""

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor, parameters: Tensor) -> Tensor:
        """Evaluate F.

        Parameters
        ----------
        x
            Scaled noisy fields, shape (B, n_fields, H, W).
        c_noise
            Noise label, shape (B,).
        condition, parameters
            Normalised maps (B, n_condition, H, W), behind them the channels of latent noise that
            ``shape.latent_channels`` asks for, and numbers (B, n_parameters).

        Raises
        ------
        ValueError
            If a side of the maps is not divisible by the stride.
        """
        if any(side % self.stride for side in x.shape[2:]):
            raise ValueError(
                f"maps of {tuple(x.shape[2:])} pixels cannot be divided as this network does: "
                f"every side must be a multiple of {self.stride}"
            )
        full = torch.cat([x, condition, centre_distance(x)], 1)
        embedding = self.embedding(c_noise, parameters, *self._means(x, condition))
        h = self.backbone(self.stem(patchify(full, self.patch_size)), embedding)
        h = unpatchify(self.unfold(h), self.patch_size)
        h = self.head(torch.cat([h, full], 1))
        for block in self.refine:
            h = block(h, embedding)
        return self.output(functional.silu(h))

    def _means(self, x: Tensor, condition: Tensor) -> list[Tensor]:
        """Means that enter the embedding, shape (B, ...) each."""
        means = []
        if self.noise_blocks:
            means.append(block_means(x, self.noise_blocks))
        if self.condition_rings:
            maps = condition[:, : self.n_known - self.n_fields]
            means.append(ring_means(maps, self.condition_rings))
        return means


def inner_weights(network: nn.Module) -> list[nn.Parameter]:
    """Weights of two or more axes between the first and the last layer.

    Those that make the embedding, or scales and shifts of it, are left out too.
    """
    outer = {"embedding", "modulation", "stem", "output"}
    named = network.named_parameters()
    return [p for name, p in named if p.ndim > 1 and not outer & set(name.split("."))]


def block_means(x: Tensor, n: int) -> Tensor:
    """Means over n blocks along each side, of unit variance for white noise, (B, C n^dims).

    One-step samplers that are trained on proper scores need few numbers of noise that reach all
    layers to draw what a whole field has in common (as in FGN, arXiv:2506.10772). Structure of the
    fields stands out of the noise by up to the root of the pixels of a block: asinh compresses it.
    """
    pool = functional.adaptive_avg_pool2d if x.ndim == 4 else functional.adaptive_avg_pool3d
    pixels = x[0, 0].numel() / n ** (x.ndim - 2)
    return torch.asinh(pool(x, n) * math.sqrt(pixels)).flatten(1)


def ring_means(x: Tensor, n: int) -> Tensor:
    """Means in n rings around the centre of the maps, shape (B, C n).

    Norms inside the network take the amplitude out of a map, and with it part of what tells the
    mass and the concentration of the halo; the embedding scales and shifts every layer.
    The radii are in geometric sequence from the innermost pixels to the edge; a ring is a Gaussian
    in the logarithm of the radius, of which each interval has the same weight.
    """
    distance = centre_distance(x)[0].flatten()
    # half a pixel for one at the very centre; all rings of a map of one pixel are alike
    log_radius = distance.clamp(min=1 / max(x.shape[2:])).log()  # of the edge: 0
    innermost = log_radius.min().clamp(max=-0.1)
    centres = innermost * torch.linspace(1, 0, n, device=x.device, dtype=x.dtype)
    width = -innermost / max(n - 1, 1)
    exponent = ((log_radius - centres[:, None]) / width).square() / 2 + (x.ndim - 2) * log_radius
    return (x.flatten(2) @ torch.softmax(-exponent, 1).T).flatten(1)


def centre_distance(like: Tensor) -> Tensor:
    """Distance of each pixel from the centre in half-widths, shape (B, 1, ...).

    Cutouts are centred on haloes; the eight symmetries of the square leave this map unchanged.
    """
    axes = [
        (torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2) * (2 / n)
        for n in like.shape[2:]
    ]
    squares = [a.square() for a in torch.meshgrid(*axes, indexing="ij")]
    distance = torch.stack(squares).sum(0).sqrt()
    return distance.expand(len(like), 1, *distance.shape)
