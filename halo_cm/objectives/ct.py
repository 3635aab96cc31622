"""Consistency training (Song et al. 2023, arXiv:2303.01469, algorithm 3).

x_t = x_clean + t noise,  x_r = x_clean + r noise          (t > r adjacent, the same noise)
loss = d(D(x_t; t), stop_gradient(D_target(x_r; r)))

with N(k) levels, and a target that follows the student with decay mu(k).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from halo_cm.diffusion.levels import adjacent_pairs, ct_discretization, ct_target_decay
from halo_cm.objectives.base import Step
from halo_cm.objectives.pairs import PairObjective


class ConsistencyTraining(PairObjective):
    """Settings and pairs of consistency training."""

    uses_target: ClassVar[bool] = True

    name: Literal["ct"] = "ct"
    s0: int = Field(2, ge=2, description="levels at the start")
    s1: int = Field(150, ge=2, description="levels at the end (plus one)")
    n_levels: int | None = Field(None, ge=2, description="a fixed number of levels instead")
    mu0: float = Field(0.9, gt=0, lt=1, description="target EMA decay at s0 levels")
    ema_decay: float | None = Field(None, ge=0, lt=1, description="a fixed target decay instead")

    @model_validator(mode="after")
    def _rising(self) -> ConsistencyTraining:
        if self.s1 < self.s0:
            raise ValueError(f"s1 ({self.s1}) must not be below s0 ({self.s0})")
        return self

    def pair(self, step: Step, n: int) -> tuple[Tensor, Tensor]:
        """Adjacent levels, each pair as often as any other."""
        levels = step.grid(self.discretization(step.progress))
        return adjacent_pairs(levels, n, step.generator)

    def discretization(self, progress: float) -> int:
        """N(k)."""
        return self.n_levels or ct_discretization(progress, self.s0, self.s1)

    def target_decay(self, progress: float) -> float:
        """mu(k)."""
        if self.ema_decay is not None:
            return self.ema_decay
        return ct_target_decay(self.discretization(progress), self.s0, self.mu0)
