"""Shape of the networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from halo_cm.config.section import Count, Counts, Natural, Naturals, Section
from halo_cm.errors import ConfigError


class NetworkConfig(Section):
    """Shape of the U-Net."""

    patch_size: Literal[1, 2, 4, 8] = 4
    """Side of the patches that the stem folds into channels [pixels]."""
    channels: Annotated[Counts, Field(min_length=1)] = (64, 128)
    """Width of each level; every level halves the resolution of the one before."""
    blocks_per_level: Count = 1
    """Residual blocks in each level on the way down."""
    embedding_dimension: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Size of the embedding of noise level and parameters."""
    head_channels: Count = 16
    """Width of the head at full resolution."""
    attention_levels: Naturals = ()
    """Levels with self-attention, counted from 0 (the finest)."""
    latent_channels: Natural = 0
    """Maps of noise beside the condition, for objectives that draw several samples at a level."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations dropped in each block while training."""

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        beyond = [level for level in self.attention_levels if level >= len(self.channels)]
        if beyond:
            raise ValueError(
                f"attention_levels holds {beyond[0]}, but channels has {len(self.channels)} "
                f"levels: expected 0 to {len(self.channels) - 1}"
            )
        return self

    @property
    def stride(self) -> int:
        """Number by which the sides of the maps must be divisible [pixels]."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))

    def check_size(self, n_pixels: int) -> None:
        """Check that maps of this size can be halved as often as the network does.

        Parameters
        ----------
        n_pixels
            Side of the maps [pixels].

        Raises
        ------
        ConfigError
            If ``n_pixels`` is not a multiple of `stride`.
        """
        if n_pixels % self.stride:
            raise ConfigError(
                f"maps of {n_pixels} pixels do not fit the network: network.patch_size = "
                f"{self.patch_size} and {len(self.channels)} levels in network.channels need a "
                f"multiple of {self.stride}; use fewer levels or a smaller patch_size"
            )
