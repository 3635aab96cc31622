"""Shape of the networks: a section for each backbone, with only the settings that it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from halo_cm.config.section import Count, Counts, Natural, Naturals, Section
from halo_cm.errors import ConfigError


class BackboneConfig(Section):
    """What all backbones share."""

    backbone: str
    """What works on the patches."""
    patch_size: Literal[1, 2, 4, 8] = 4
    """Side of the patches that the stem folds into channels [pixels]."""
    embedding_dimension: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Size of the embedding of noise level and parameters."""
    head_channels: Count = 16
    """Width of the head at full resolution."""
    head_blocks: Natural = 0
    """Residual blocks of this width at full resolution, under the embedding, before the output;
    without dropout."""
    noise_blocks: Natural = 0
    """Squares along each side whose mean noisy fields enter the embedding, so that noise can move a
    field as a whole; 0 leaves them out."""
    condition_rings: Natural = 0
    """Rings around the centre whose mean condition maps enter the embedding, so that all layers
    know mass and concentration of the halo; 0 leaves them out. Of many, those next to the centre,
    where pixels are few, repeat each other."""
    latent_channels: Natural = 0
    """Maps of noise beside the condition, for objectives that draw several samples at a level."""

    @property
    def stride(self) -> int:
        """Number by which the sides of the maps must be divisible [pixels]."""
        return int(self.patch_size)

    @property
    def stride_settings(self) -> str:
        """Settings that `stride` comes from, for messages."""
        return f"network.patch_size = {self.patch_size}"

    def check_size(self, n_pixels: int) -> None:
        """Check that maps of this size can be divided as the network does.

        Parameters
        ----------
        n_pixels
            Side of the maps [pixels].

        Raises
        ------
        ConfigError
            If ``n_pixels`` is not a multiple of `stride` and of ``noise_blocks``.
        """
        if n_pixels % self.stride:
            raise ConfigError(
                f"maps of {n_pixels} pixels do not fit the network: the side must be a multiple of "
                f"{self.stride} for {self.stride_settings}; make these smaller"
            )
        if self.noise_blocks and n_pixels % self.noise_blocks:
            raise ConfigError(
                f"maps of {n_pixels} pixels cannot be divided into network.noise_blocks = "
                f"{self.noise_blocks} squares along each side; choose a divisor of {n_pixels}"
            )


class UNetConfig(BackboneConfig):
    """Shape of the U-Net."""

    backbone: Literal["unet"] = "unet"
    """Convolutions on patches, at several resolutions."""
    channels: Annotated[Counts, Field(min_length=1)] = (64, 128)
    """Width of each level; every level halves the resolution of the one before."""
    blocks_per_level: Count = 1
    """Residual blocks in each level on the way down."""
    attention_levels: Naturals = ()
    """Levels with self-attention, counted from 0 (the finest)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations dropped in each block while training."""

    @model_validator(mode="after")
    def _check(self) -> UNetConfig:
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

    @property
    def stride_settings(self) -> str:
        """Settings that `stride` comes from, for messages."""
        return f"{super().stride_settings} and {len(self.channels)} levels in network.channels"


class DiTConfig(BackboneConfig):
    """Shape of the diffusion transformer."""

    backbone: Literal["dit"] = "dit"
    """Attention among all patches, at one resolution."""
    width: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    """Numbers that describe a patch."""
    depth: Count = 6
    """Blocks of attention and MLP."""
    n_heads: Count = 4
    """Attention heads, which share the width."""
    mlp_ratio: Count = 4
    """Hidden width of the MLPs over ``width``."""

    @model_validator(mode="after")
    def _check(self) -> DiTConfig:
        if self.width % self.n_heads:
            raise ValueError(f"width = {self.width} must be divisible by n_heads = {self.n_heads}")
        return self


def _backbone(section: Any) -> str:
    """Backbone that a table or a section names; a table without the key means the U-Net."""
    if isinstance(section, BackboneConfig):
        return section.backbone
    return str(section.get("backbone", "unet")) if isinstance(section, Mapping) else "unet"


NetworkConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[DiTConfig, Tag("dit")],
    Discriminator(_backbone),
]
"""Shape of the network, by the key ``backbone``."""
