"""Denoising score matching (Karras et al. 2022): the warm-up, the teacher, the many-step baseline.

loss = w(sigma) |D(x_clean + sigma noise; sigma) - x_clean|^2
w    = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.levels import lognormal_levels, loguniform_levels, mix
from halo_cm.errors import ConfigError
from halo_cm.objectives.base import Objective, Step

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class Denoising(Objective):
    """Settings and loss of denoising pre-training."""

    sampler: ClassVar[Literal["heun", "consistency"]] = "heun"

    name: Literal["denoising"] = "denoising"
    p_mean: float = Field(-0.5, description="mean of ln(sigma / sigma_data)")
    p_std: float = Field(1.5, gt=0, description="standard deviation of ln(sigma / sigma_data)")
    high_share: float = Field(
        0.1, ge=0, le=1, description="share of levels drawn log-uniformly in [high_from, sigma_max]"
    )
    high_from: float = Field(2.0, gt=0, description="lower end of the high levels")

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Weighted squared error, averaged over pixels and samples."""
        x_clean, sigma_data = batch.x_clean, step.denoiser.sigma_data
        sigma = expand(self.levels(step, len(x_clean)), x_clean)
        noisy = x_clean + sigma * step.noise_like(x_clean)
        denoised = step.denoiser(noisy, sigma.flatten(), batch.condition, batch.parameters)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        return (weight * (denoised - x_clean) ** 2).mean()

    def levels(self, step: Step, n: int) -> Tensor:
        """Noise levels, shape (n,).

        The log-normal practically never reaches sigma_max, where every sampler starts; a share of
        the levels is drawn up to it.
        """
        if self.high_from >= step.sigma_max:
            raise ConfigError(
                f"objective denoising: high_from = {self.high_from:g} must be below "
                f"diffusion.sigma_max = {step.sigma_max:g}"
            )
        mean = self.p_mean + math.log(step.denoiser.sigma_data)
        body = lognormal_levels(n, mean, self.p_std, step.sigma_min, step.sigma_max, step.generator)
        high = loguniform_levels(n, self.high_from, step.sigma_max, step.generator)
        return mix(body, high, self.high_share, step.generator)
