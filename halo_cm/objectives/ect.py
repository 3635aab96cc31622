"""Easy consistency tuning (Geng et al. 2024, arXiv:2406.14548), from a denoiser's weights.

ln t ~ N(p_mean, p_std^2)
r    = t (1 - q^-(stage+1) (1 + k sigmoid(-b t)))            the pair tightens stage by stage
loss = (sqrt(|D(x_t; t) - stop_gradient(D(x_r; r))|^2 + c^2) - c) / (t - r)
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.diffusion.levels import lognormal_levels, mix
from halo_cm.objectives.base import Step
from halo_cm.objectives.pairs import PairObjective


class EasyConsistencyTuning(PairObjective):
    """Settings and pairs of easy consistency tuning."""

    over_gap: ClassVar[bool] = True

    name: Literal["ect"] = "ect"
    p_mean: float = Field(0.0, description="mean of ln(t / sigma_data)")
    p_std: float = Field(1.8, gt=0, description="standard deviation of ln(t / sigma_data)")
    top_share: float = Field(
        0.1, ge=0, le=1, description="share of pairs at t = sigma_max, where one-step samples start"
    )
    q: float = Field(4.0, gt=1, description="factor by which the gap shrinks each stage")
    k: float = Field(8.0, ge=0, description="widening of the gap at low noise")
    b: float = Field(1.0, gt=0, description="steepness of that widening")
    n_stages: int = Field(4, ge=1, description="stages of equal length")

    def pair(self, step: Step, n: int) -> tuple[Tensor, Tensor]:
        """Levels t > r, shapes (n,).

        r stops at sigma_min, where D is the identity and the target is the data (plus sigma_min
        of noise): the published r = 0.
        """
        low = 1.5 * step.sigma_min
        mean = self.p_mean + math.log(step.denoiser.sigma_data)
        t = lognormal_levels(n, mean, self.p_std, low, step.sigma_max, step.generator)
        t = mix(t, torch.full_like(t, step.sigma_max), self.top_share, step.generator)
        return t, (t * (1 - self.gap(t, step.progress))).clamp(min=step.sigma_min)

    def gap(self, t: Tensor, progress: float) -> Tensor:
        """(t - r) / t in the stage of ``progress``; values above 1 mean r = sigma_min."""
        stage = min(int(progress * self.n_stages), self.n_stages - 1)
        return self.q ** -(stage + 1) * (1 + self.k * torch.sigmoid(-self.b * t))
