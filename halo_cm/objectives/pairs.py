"""What the consistency objectives share: two points of one trajectory, and their distance.

loss = weight d(D(x_t; t), stop_gradient(D_target(x_r; r)))                t > r

The objectives differ in the levels t and r, in the weight, which is 1 or 1 / (t - r), in the
target, and in how x_r is found.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.distances import huber_constant, pseudo_huber, squared_l2
from halo_cm.objectives.base import Objective, Step, same_dropout

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class PairObjective(Objective):
    """Loss of a pair of noise levels; a subclass draws the pair."""

    sampler: ClassVar[str] = "consistency"
    #: Whether the weight of a pair is 1 / (t - r).
    over_gap: ClassVar[bool] = False

    distance: Literal["l2", "pseudo_huber"] = Field(
        "pseudo_huber", description="d: the squared vector norm, or the pseudo-Huber norm"
    )
    huber_scale: float = Field(0.00054, ge=0, description="c / sqrt(d) of the pseudo-Huber norm")

    @abstractmethod
    def pair(self, step: Step, n: int) -> tuple[Tensor, Tensor]:
        """Levels t > r, shapes (n,)."""

    def points(self, step: Step, batch: Batch, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """``x_t = x_clean + t noise`` and ``x_r = x_clean + r noise``, with the same noise."""
        x_clean, noise = batch.x_clean, step.noise_like(batch.x_clean)
        return x_clean + expand(t, x_clean) * noise, x_clean + expand(r, x_clean) * noise

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Weighted distance, averaged over samples.

        Divided by sqrt(d), as which the vector norm grows (its square by d): of order one for any
        number d of pixels.
        """
        t, r = self.pair(step, len(batch.x_clean))
        x_t, x_r = self.points(step, batch, t, r)
        target = step.frozen if step.target is None else step.target
        with same_dropout() as rewind:
            student = step.denoiser(x_t, t, batch.condition, batch.parameters)
            rewind()
            with torch.no_grad():
                goal = target(x_r, r, batch.condition, batch.parameters)
        d = batch.x_clean[0].numel()
        if self.distance == "l2":
            distance, size = squared_l2(student, goal), float(d)
        else:
            c = huber_constant(d, self.huber_scale)
            distance, size = pseudo_huber(student, goal, c), d**0.5
        return (distance / (t - r) if self.over_gap else distance).mean() / size
