"""Energy-score tuning of the one-step map (fair scores; Gneiting & Raftery 2007).

At sigma_max a consistency model is a one-step generator ``x = D(sigma_max noise; sigma_max)``. Its
samples of a condition are scored against the truth (`halo_cm.objectives.fair_scores`). Consistency
models tuned on CRPS: Swift (arXiv:2509.25631).

Tuning sigma_max alone leaves the lower levels behind, and more steps then make samples worse. A
share of the batches therefore scores the sample of the several-step sampler: earlier evaluations
without gradient, the last one at a lower level with it. Another share may be consistency training
(`halo_cm.objectives.ect`) of low levels on noisy true fields, whose gradient pulls every sample to
its own target; that of a score of two members, of a single pixel, moves the nearer one alone.

Every process draws for its own part of a batch, so that with several processes a step can mix both.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.objectives.base import Step
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.objectives.fair_scores import ScoredObjective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halo_cm.data.normalize import Batch
    from halo_cm.diffusion.denoiser import Denoiser


#: Consistency training of low levels: most t lie in 0.02-1. In the first half of a phase r is
#: sigma_min for t < 0.5, which is denoising by a norm; in the second r = 0.7 t.
LOW_LEVELS = EasyConsistencyTuning(
    p_mean=-2.0,
    p_std=1.0,
    top_share=0.0,
    q=4.0,
    k=8.0,
    b=1.0,
    n_stages=2,
    distance="pseudo_huber",
    huber_scale=0.00054,
)


class EnergyScore(ScoredObjective):
    """Settings and samples of energy-score tuning."""

    name: Literal["energy_score"] = "energy_score"
    multistep_share: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of the scored batches that tune a later step of the sampler",
    )
    consistency_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the batches that are consistency training of low levels instead",
    )

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Scores of the members, or the loss of `LOW_LEVELS` on as many fields, a scalar.

        As many, ``n_members`` of each cutout, because a compiled network is compiled for one size.
        """
        if self.consistency_share:
            u = torch.rand((), generator=step.generator, device=step.generator.device)
            if u < self.consistency_share:
                return LOW_LEVELS.loss(step, replace(batch, **self._stacked(batch)))
        return super().loss(step, batch)

    def members(self, step: Step, batch: Batch) -> Sequence[Tensor]:
        """Independent samples of each condition, (B, C, H, W) each."""
        like, condition, parameters = self._stacked(batch).values()

        def evaluate(denoiser: Denoiser, x: Tensor, level: float) -> Tensor:
            return denoiser(x, like.new_full((len(like),), level), condition, parameters)

        x, level = step.sigma_max * step.noise_like(like), step.sigma_max
        with torch.no_grad():
            for lower in self.rollout(step):
                clean = evaluate(step.frozen, x, level)
                x = clean + math.sqrt(lower**2 - step.sigma_min**2) * step.noise_like(like)
                level = lower
        return evaluate(step.denoiser, x, level).chunk(self.n_members)

    def _stacked(self, batch: Batch) -> dict[str, Tensor]:
        """What the network sees of each cutout ``n_members`` times: (B, ...) to (m B, ...)."""
        names = ("x_clean", "condition", "parameters")
        return {name: torch.cat([getattr(batch, name)] * self.n_members) for name in names}

    def rollout(self, step: Step) -> tuple[float, ...]:
        """Levels below sigma_max that this batch's samples pass; the last one gets the gradient."""
        schedules = [levels for _, levels in sorted(step.sampling_levels.items())]
        u, which, depth = torch.rand(3, generator=step.generator, device=step.generator.device)
        if not schedules or u >= self.multistep_share:
            return ()
        levels = schedules[int(which * len(schedules))]
        return levels[: 1 + int(depth * len(levels))]
