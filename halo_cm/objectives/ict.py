"""Improved consistency training (Song & Dhariwal 2023, arXiv:2310.14189).

p(i) ~ erf((ln t - p_mean) / (sqrt(2) p_std)) - erf((ln r - p_mean) / (sqrt(2) p_std))
loss = (sqrt(|D(x_t; t) - stop_gradient(D(x_r; r))|^2 + c^2) - c) / (t - r),  c = 0.00054 sqrt(d)

for the adjacent levels t > r of a grid that doubles: N(k) = 11, 21, 41, ..., 1281. The target is
the student itself; no network lags behind it.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from halo_cm.diffusion.levels import adjacent_pairs, ict_discretization, ict_probabilities
from halo_cm.objectives.base import Step
from halo_cm.objectives.pairs import PairObjective


class ImprovedConsistencyTraining(PairObjective):
    """Settings and pairs of improved consistency training.

    The published P_mean = -1.1 belongs to images of sigma_data = 0.5. Levels are relative to the
    data here: -1.1 - ln(0.5) = -0.41 is the same distribution of sigma / sigma_data.
    """

    over_gap: ClassVar[bool] = True

    name: Literal["ict"] = "ict"
    s0: int = Field(10, ge=1, description="levels at the start (plus one)")
    s1: int = Field(1280, ge=1, description="levels at the end (plus one)")
    p_mean: float = Field(-0.41, description="mean of ln(sigma / sigma_data)")
    p_std: float = Field(2.0, gt=0, description="standard deviation of ln(sigma / sigma_data)")

    @model_validator(mode="after")
    def _rising(self) -> ImprovedConsistencyTraining:
        if self.s1 < self.s0:
            raise ValueError(f"s1 ({self.s1}) must not be below s0 ({self.s0})")
        return self

    def pair(self, step: Step, n: int) -> tuple[Tensor, Tensor]:
        """Adjacent levels, as often as a log-normal falls between them."""
        levels = step.grid(ict_discretization(step.progress, self.s0, self.s1))
        mean = self.p_mean + math.log(step.denoiser.sigma_data)
        return adjacent_pairs(
            levels, n, step.generator, ict_probabilities(levels, mean, self.p_std)
        )
