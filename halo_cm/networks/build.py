"""From a section of the configuration to the network that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from halo_cm.config.network import DiTConfig
from halo_cm.networks.dit import DiT
from halo_cm.networks.unet import UNet

if TYPE_CHECKING:
    from halo_cm.config.network import NetworkConfig
    from halo_cm.networks.patch_network import PatchNetwork


def build_network(
    n_fields: int, n_condition: int, n_parameters: int, shape: NetworkConfig, dims: int = 2
) -> PatchNetwork:
    """Network with fresh weights.

    Parameters
    ----------
    n_fields, n_condition, n_parameters
        Channels of the fields and of the condition maps; conditioning numbers.
    shape
        Backbone and its settings.
    dims
        2 or 3 spatial dimensions.
    """
    kind = DiT if isinstance(shape, DiTConfig) else UNet
    network = kind(n_fields, n_condition, n_parameters, shape, dims)  # type: ignore[arg-type]
    # channels last in memory: a third faster on a CPU without bfloat16, level on one with it
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    return network.to(memory_format=layout)  # type: ignore[call-overload]
