"""Consistency training (Song et al. 2023, arXiv:2303.01469, algorithm 3).

x_t = x_clean + t noise,  x_r = x_clean + r noise          (t > r adjacent, the same noise)
loss = d(D(x_t; t), stop_gradient(D_target(x_r; r)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.distances import huber_constant, pseudo_huber, squared_l2
from halo_cm.diffusion.levels import ct_discretization, ct_target_decay, karras_levels
from halo_cm.objectives.base import Objective, Step, same_dropout

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class ConsistencyTraining(Objective):
    """Settings and loss of consistency training."""

    sampler: ClassVar[Literal["heun", "consistency"]] = "consistency"
    uses_target: ClassVar[bool] = True

    name: Literal["ct"] = "ct"
    s0: int = Field(2, ge=2, description="levels at the start")
    s1: int = Field(150, ge=2, description="levels at the end (plus one)")
    n_levels: int | None = Field(None, ge=2, description="a fixed number of levels instead")
    mu0: float = Field(0.9, gt=0, lt=1, description="target EMA decay at s0 levels")
    ema_decay: float | None = Field(None, ge=0, lt=1, description="a fixed target decay instead")
    distance: Literal["l2", "pseudo_huber"] = "pseudo_huber"

    @model_validator(mode="after")
    def _rising(self) -> ConsistencyTraining:
        if self.s1 < self.s0:
            raise ValueError(f"s1 ({self.s1}) must not be below s0 ({self.s0})")
        return self

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Distance of the pair, averaged over samples."""
        x_clean = batch.x_clean
        t, r = self.pair(step, len(x_clean))
        noise = step.noise_like(x_clean)
        x_t, x_r = x_clean + expand(t, x_clean) * noise, x_clean + expand(r, x_clean) * noise
        target = step.target or step.frozen
        with same_dropout() as rewind:
            student = step.denoiser(x_t, t, batch.condition, batch.parameters)
            rewind()
            with torch.no_grad():
                goal = target(x_r, r, batch.condition, batch.parameters)
        return self._distance(student, goal).mean() / x_clean[0].numel() ** self._norm_power

    def pair(self, step: Step, n: int) -> tuple[Tensor, Tensor]:
        """Adjacent levels t > r, shapes (n,); the lowest pair ends at sigma_min."""
        levels = karras_levels(
            self.discretization(step.progress), step.sigma_min, step.sigma_max, step.rho
        ).to(step.generator.device)
        i = torch.randint(
            len(levels) - 1, (n,), generator=step.generator, device=step.generator.device
        )
        return levels[i], levels[i + 1]

    def discretization(self, progress: float) -> int:
        """N(k)."""
        return self.n_levels or ct_discretization(progress, self.s0, self.s1)

    def target_decay(self, progress: float) -> float:
        """mu(k)."""
        if self.ema_decay is not None:
            return self.ema_decay
        return ct_target_decay(self.discretization(progress), self.s0, self.mu0)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.distance == "l2":
            return squared_l2(a, b)
        return pseudo_huber(a, b, huber_constant(a[0].numel()))

    @property
    def _norm_power(self) -> float:
        """The vector norm grows as sqrt(d), its square as d: keep the loss of order one."""
        return 1.0 if self.distance == "l2" else 0.5
