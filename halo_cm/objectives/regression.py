"""The posterior mean: ``E[x_clean | condition]`` by least squares, a floor for every generator.

It is denoising at sigma_max alone, where the noisy field tells nothing: the network learns to
ignore it, and a one-step sample is the posterior mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from halo_cm.objectives.base import Objective, Step

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class Regression(Objective):
    """Settings and loss of the regression to the posterior mean."""

    sampler: ClassVar[Literal["heun", "consistency"]] = "consistency"

    name: Literal["regression"] = "regression"

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Squared error of the one-step map."""
        x_clean = batch.x_clean
        noise = step.sigma_max * step.noise_like(x_clean)
        sigma = x_clean.new_full((len(x_clean),), step.sigma_max)
        mean = step.denoiser(noise, sigma, batch.condition, batch.parameters)
        return (mean - x_clean).square().mean()
