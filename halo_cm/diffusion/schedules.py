"""Noise schedules of variational diffusion models: gamma(t) = -ln SNR, rising with t in [0, 1].

    gamma(t) = gamma_0 + (gamma_1 - gamma_0) u(t),      u(0) = 0, u(1) = 1, u rising

For ``z = alpha x + sigma_v noise`` with alpha^2 + sigma_v^2 = 1, gamma = -ln(alpha^2 / sigma_v^2),
and ``z / alpha = x + e^(gamma / 2) noise`` (Kingma et al. 2021, arXiv:2107.00630, section 3).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

ScheduleName = Literal["fixed_linear", "learned_linear", "learned_nn"]

#: Hidden units of the monotone network (the paper has 1024, for the same smooth curves).
_WIDTH = 64
#: Steepness of its units at the start, in units of 1 / t.
_STEEPNESS = 12.0


class Shape(NamedTuple):
    """What a schedule gives for times t.

    Attributes
    ----------
    u, slope
        u(t) and du/dt, of the shape of t.
    ends
        (gamma_0, gamma_1), shape (2,).
    """

    u: Tensor
    slope: Tensor
    ends: Tensor


class LinearSchedule(nn.Module):
    """``u = t``.

    Parameters
    ----------
    gamma_min, gamma_max
        Ends of gamma.
    free_ends
        Whether training moves them.
    """

    ends: Tensor

    def __init__(self, gamma_min: float, gamma_max: float, *, free_ends: bool) -> None:
        super().__init__()
        ends = torch.tensor([gamma_min, gamma_max])
        if free_ends:
            self.ends = nn.Parameter(ends)
        else:
            self.register_buffer("ends", ends)

    def forward(self, t: Tensor) -> Shape:
        """Shape of the schedule at times t in [0, 1]."""
        return Shape(t, torch.ones_like(t), self.ends)


class MonotoneSchedule(LinearSchedule):
    """A monotone network (Kingma et al. 2021, appendix H), which begins close to linear.

    ``g(t) = w t + sum_j v_j sigmoid(a_j t + b_j)`` with positive w, v and a, scaled to run from 0
    to 1. Its derivative is written out, so that one backward pass trains everything.
    """

    def __init__(self, gamma_min: float, gamma_max: float, *, free_ends: bool) -> None:
        super().__init__(gamma_min, gamma_max, free_ends=free_ends)
        steepness = torch.full((_WIDTH,), _STEEPNESS)
        self.linear = nn.Parameter(_inverse_softplus(torch.ones(())))
        self.height = nn.Parameter(_inverse_softplus(torch.full((_WIDTH,), 1 / _WIDTH)))
        self.steepness = nn.Parameter(_inverse_softplus(steepness))
        self.offset = nn.Parameter(-steepness * torch.linspace(0, 1, _WIDTH))

    def forward(self, t: Tensor) -> Shape:
        """Shape of the schedule at times t in [0, 1]."""
        (first, _), (last, _) = (self._curve(x) for x in (t.new_zeros(1), t.new_ones(1)))
        g, slope = self._curve(t)
        return Shape((g - first) / (last - first), slope / (last - first), self.ends)

    def _curve(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """g and dg/dt; products and sums alone, which mixed precision leaves in float32."""
        linear, height, steepness = (
            softplus(x) for x in (self.linear, self.height, self.steepness)
        )
        unit = torch.sigmoid(steepness * t[..., None] + self.offset)
        g = linear * t + (height * unit).sum(-1)
        return g, linear + (height * steepness * unit * (1 - unit)).sum(-1)


def make_schedule(
    schedule: ScheduleName, gamma_min: float, gamma_max: float, *, free_ends: bool
) -> LinearSchedule:
    """The schedule called ``schedule``, fresh.

    Parameters
    ----------
    schedule
        ``"fixed_linear"``, ``"learned_linear"`` (the ends are trained) or ``"learned_nn"``.
    gamma_min, gamma_max
        Ends of gamma, where training starts.
    free_ends
        Whether training moves the ends.
    """
    kind = MonotoneSchedule if schedule == "learned_nn" else LinearSchedule
    return kind(gamma_min, gamma_max, free_ends=free_ends)


@torch.no_grad()
def schedule_levels(schedule: nn.Module, n_steps: int) -> Tensor:
    """Falling noise levels ``e^(gamma / 2)`` at n_steps + 1 even times, shape (n_steps + 1,)."""
    device: Any = next(iter(schedule.state_dict().values())).device
    u, _, ends = schedule(torch.linspace(1, 0, n_steps + 1, device=device))
    return ((ends[0] + (ends[1] - ends[0]) * u) / 2).exp()


def _inverse_softplus(x: Tensor) -> Tensor:
    return x + torch.log(-torch.expm1(-x))
