"""Distributional diffusion (De Bortoli et al. 2025, arXiv:2502.02483).

A denoiser with latent noise, ``x_i = D(x_t; t, latent_i)``, draws from p(x_clean | x_t) where a
plain one predicts its mean. At every level t, members that share x_t and differ in their latents
alone are scored against x_clean with a proper score (`halo_cm.objectives.fair_scores`):

x_t  = x_clean + t noise
loss = mean_i |x_i - x_clean| - 1/2 mean_{i != j} |x_i - x_j|

Sampling in any number of steps is exact in the limit. The sampler is that of a consistency model:
x is drawn, noise of a lower level is added, x is drawn anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.levels import loguniform_levels, mix
from halo_cm.errors import ConfigError
from halo_cm.objectives.base import Step
from halo_cm.objectives.fair_scores import ScoredObjective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halo_cm.data.normalize import Batch


class Distributional(ScoredObjective):
    """Settings and samples of distributional diffusion; needs ``network.latent_channels``."""

    uses_latent: ClassVar[bool] = True

    name: Literal["distributional"] = "distributional"
    top_share: float = Field(
        0.4, ge=0, le=1, description="share at sigma_max, where every sample starts"
    )
    low: float = Field(
        0.05, gt=0, description="the other levels are log-uniform from here to sigma_max"
    )

    def members(self, step: Step, batch: Batch) -> Sequence[Tensor]:
        """Samples of p(x_clean | x_t), (B, C, H, W) each."""
        if not step.denoiser.n_latent:
            raise ConfigError("objective distributional: network.latent_channels must not be 0")
        m, x_clean = self.n_members, batch.x_clean
        t = self.levels(step, len(x_clean))
        shared = (x_clean + expand(t, x_clean) * step.noise_like(x_clean)).repeat(m, 1, 1, 1)
        # samples start from noise without a field below it, and each from its own
        own = step.sigma_max * step.noise_like(shared)
        at_top = expand(t == step.sigma_max, x_clean).repeat(m, 1, 1, 1)
        x_t = torch.where(at_top, own, shared)
        latent = step.noise_like(x_t[:, :1].expand(-1, step.denoiser.n_latent, -1, -1))
        condition = batch.condition.repeat(m, 1, 1, 1)
        x = step.denoiser(x_t, t.repeat(m), condition, batch.parameters.repeat(m, 1), latent)
        return x.chunk(m)

    def levels(self, step: Step, n: int) -> Tensor:
        """Noise levels, shape (n,)."""
        if self.low >= step.sigma_max:
            raise ConfigError(
                f"objective distributional: low = {self.low:g} must be below diffusion.sigma_max = "
                f"{step.sigma_max:g}"
            )
        t = loguniform_levels(n, self.low, step.sigma_max, step.generator)
        return mix(t, torch.full_like(t, step.sigma_max), self.top_share, step.generator)
