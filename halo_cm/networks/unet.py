"""U-Net on patches with a light head at full resolution: most work is done where it is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from halo_cm.networks.blocks import (
    BlockOptions,
    ResidualBlock,
    convolution,
    group_norm,
    patchify,
    unpatchify,
    zero,
    zero_inputs,
)
from halo_cm.networks.embeddings import LevelEmbedding

if TYPE_CHECKING:
    from halo_cm.config.network import NetworkConfig


class UNet(nn.Module):
    """The network F of the denoiser (after Ronneberger et al. 2015; Dhariwal & Nichol 2021).

    The noisy fields, the condition maps and the distance from the centre are folded into patches;
    a U-Net works on the patches; its output is unfolded and refined at full resolution beside the
    input. Any size divisible by `stride` is accepted.

    Parameters
    ----------
    n_fields, n_condition, n_parameters
        Channels of the fields and of the condition maps; conditioning numbers.
    shape
        Widths, patch size and the like: see `halo_cm.config.network.NetworkConfig`.
    dims
        2 or 3 spatial dimensions.
    """

    def __init__(
        self,
        n_fields: int,
        n_condition: int,
        n_parameters: int,
        shape: NetworkConfig,
        dims: int = 2,
    ) -> None:
        super().__init__()
        channels, n_embedding = shape.channels, shape.embedding_dimension
        n_known, n_latent = n_fields + n_condition, shape.latent_channels
        n_input = n_known + n_latent + 1  # the last one is the distance from the centre
        folded = shape.patch_size**dims
        self.patch_size, self.stride = shape.patch_size, shape.stride
        self.embedding = LevelEmbedding(n_parameters, n_embedding)

        def block(n_in: int, n_out: int, level: int, resample: str | None = None) -> ResidualBlock:
            attends = level in shape.attention_levels and resample is None
            options = BlockOptions(resample, max(1, n_out // 32) if attends else 0, shape.dropout)
            return ResidualBlock(dims, n_in, n_out, n_embedding, options)

        width = channels[0]
        self.stem = convolution(dims, n_input * folded, width)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self._takes_skip: list[bool] = []  # of the blocks on the way up
        skips = [width]
        for level, n_out in enumerate(channels):
            if level:
                self.down.append(block(width, width, level, "down"))
                skips.append(width)
            for _ in range(shape.blocks_per_level):
                self.down.append(block(width, n_out, level))
                width = n_out
                skips.append(width)
        self.middle = block(width, width, len(channels) - 1)
        for level, n_out in reversed(list(enumerate(channels))):
            for _ in range(shape.blocks_per_level + 1):
                self.up.append(block(width + skips.pop(), n_out, level))
                self._takes_skip.append(True)
                width = n_out
            if level:
                self.up.append(block(width, width, level, "up"))
                self._takes_skip.append(False)
        self.norm = group_norm(width)
        self.unfold = convolution(dims, width, shape.head_channels * folded)
        self.head = convolution(dims, shape.head_channels + n_input, shape.head_channels)
        self.output = zero(convolution(dims, shape.head_channels, n_fields))
        # without effect until an objective draws latent noise and trains what enters
        first = shape.head_channels + n_known
        zero_inputs(self.stem, n_known * folded, (n_known + n_latent) * folded)
        zero_inputs(self.head, first, first + n_latent)

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
                f"maps of {tuple(x.shape[2:])} pixels cannot be halved as often as this network "
                f"does: every side must be a multiple of {self.stride}"
            )
        embedding = self.embedding(c_noise, parameters)
        full = torch.cat([x, condition, centre_distance(x)], 1)
        h = self.stem(patchify(full, self.patch_size))
        skips = [h]
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for block, takes_skip in zip(self.up, self._takes_skip, strict=True):
            if takes_skip:
                h = torch.cat([h, skips.pop()], 1)
            h = block(h, embedding)
        h = unpatchify(self.unfold(functional.silu(self.norm(h))), self.patch_size)
        h = functional.silu(self.head(torch.cat([h, full], 1)))
        return self.output(h)


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
