"""Exponential moving averages of weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def lerp_weights(average: nn.Module, network: nn.Module, decay: float) -> None:
    """``average <- decay average + (1 - decay) network``, after the optimiser's step."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def ema_decay(step: int, half_life: float) -> float:
    """Decay of the sampling average at ``step`` of a phase.

    A pure function of the step, so that resuming repeats it. Early steps average over a tenth of
    what has passed, which lets the average leave the weights that the phase started from.

    Parameters
    ----------
    step
        Steps taken in this phase, from 0.
    half_life
        Steps after which a contribution has halved.
    """
    return min(0.5 ** (1 / half_life), (1 + step) / (10 + step))
