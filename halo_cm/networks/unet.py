"""U-Net on patches: most work is done where it is cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from halo_cm.networks.blocks import BlockOptions, ResidualBlock, group_norm
from halo_cm.networks.patch_network import PatchNetwork

if TYPE_CHECKING:
    from halo_cm.config.network import UNetConfig


class UNet(PatchNetwork):
    """The U-Net (after Ronneberger et al. 2015; Dhariwal & Nichol 2021).

    Parameters
    ----------
    n_fields, n_condition, n_parameters
        Channels of the fields and of the condition maps; conditioning numbers.
    shape
        Widths, patch size and the like.
    dims
        2 or 3 spatial dimensions.
    """

    def __init__(
        self,
        n_fields: int,
        n_condition: int,
        n_parameters: int,
        shape: UNetConfig,
        dims: int = 2,
    ) -> None:
        channels, width = shape.channels, shape.channels[0]
        super().__init__(
            n_fields, n_condition, n_parameters, shape, dims=dims, width=width, kernel=3
        )

        def block(n_in: int, n_out: int, level: int, resample: str | None = None) -> ResidualBlock:
            attends = level in shape.attention_levels and resample is None
            options = BlockOptions(resample, max(1, n_out // 32) if attends else 0, shape.dropout)
            return ResidualBlock(dims, n_in, n_out, shape.embedding_dimension, options)

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
        self._add_head(width, shape)

    def backbone(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Down to the coarsest level and up again, beside what was kept on the way."""
        skips = [h]
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        for block, takes_skip in zip(self.up, self._takes_skip, strict=True):
            if takes_skip:
                h = torch.cat([h, skips.pop()], 1)
            h = block(h, embedding)
        return functional.silu(self.norm(h))
