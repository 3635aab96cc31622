"""The posterior mean: ``E[x_clean | condition]`` by least squares, a floor for every generator.

It is the denoiser at sigma_max alone, where the noisy field tells nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from halo_cm.objectives.base import Objective, Step

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class Regression(Objective):
    """Settings and loss of the regression to the posterior mean."""

    sampler: ClassVar[Literal["heun", "consistency"]] = "consistency"
    boundary: ClassVar[Literal["zero", "sigma_min"]] = "sigma_min"

    name: Literal["regression"] = "regression"

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Squared error of the map at sigma_max, fed with zeros in place of noise."""
        nothing = torch.zeros_like(batch.x_clean)
        sigma = torch.full((len(nothing),), step.sigma_max, device=nothing.device)
        mean = step.denoiser(nothing, sigma, batch.condition, batch.parameters)
        return (mean - batch.x_clean).square().mean()
