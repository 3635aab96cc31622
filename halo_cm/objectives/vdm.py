"""Variational diffusion model (Kingma et al. 2021, arXiv:2107.00630).

z    = alpha x_clean + sigma_v noise,         gamma(t) = -ln(alpha^2 / sigma_v^2)
loss = 0.5 gamma'(t) |noise - noise_hat|^2                      diffusion, t uniform (eq. 17)
     + KL(q(z_1 | x) || N(0, 1))                                prior
     - E ln p(x | z_0),  p(x | z_0) = N(z_0 / alpha_0, e^gamma_0)        reconstruction

Since ``z / alpha = x_clean + sigma noise`` with ``sigma = e^(gamma / 2)``, the one denoiser gives
``noise_hat = (z / alpha - D(z / alpha; sigma)) / sigma``.

The sum bounds ``-ln p(x)`` of the normalised fields, a density: in bits per dimension it can be
negative, and it is compared with the differential entropy. Where pixels repeat a value exactly
(empty star pixels) that has no lower limit, and the bound falls with gamma_0: compare models at
equal gamma_0, and leave the ends fixed.

Between fixed ends the bound does not depend on gamma(t) (section 5.1). The shape u(t) of the
learned network therefore minimises the variance of the loss, through the expectation of its
square, as in appendix I.2: ``d(L^2) = 2 L dL``, so that the gradient of each sample that reaches u
is scaled by its L. Free ends maximise the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.schedules import ScheduleName
from halo_cm.objectives.base import Objective, Step

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch

_GAMMA_MAX = {"fixed_linear": 5.0, "learned_linear": 13.3, "learned_nn": 13.3}


@dataclass(frozen=True)
class Bound:
    """Terms of the variational bound, each in bits per dimension.

    Attributes
    ----------
    diffusion, prior, reconstruction
        Scalars, averaged over the batch.
    """

    diffusion: Tensor
    prior: Tensor
    reconstruction: Tensor

    @property
    def total(self) -> Tensor:
        """Bound on the negative log-density."""
        return self.diffusion + self.prior + self.reconstruction


class VariationalDiffusion(Objective):
    """Settings and loss of a variational diffusion model."""

    sampler: ClassVar[str] = "ancestral"

    name: Literal["vdm"] = "vdm"
    schedule: ScheduleName = Field("fixed_linear", description="how gamma(t) rises")
    gamma_min: float = Field(-13.3, description="gamma(0), little noise")
    gamma_max: float | None = Field(
        None, description="gamma(1); 5 of the fixed schedule and 13.3 of the learned ones if absent"
    )
    free_ends: bool | None = Field(
        None, description="train both ends too: always of learned_linear, never of fixed_linear"
    )

    @model_validator(mode="after")
    def _consistent(self) -> VariationalDiffusion:
        if self._gamma_max <= self.gamma_min:
            raise ValueError(
                f"gamma_max ({self._gamma_max:g}) must be above gamma_min ({self.gamma_min:g})"
            )
        if self.free_ends is not None and self.schedule != "learned_nn":
            raise ValueError(
                f'free_ends belongs to schedule = "learned_nn": the ends of {self.schedule} are '
                f"{'all that it trains' if self.schedule == 'learned_linear' else 'fixed'}"
            )
        return self

    @property
    def sampler_settings(self) -> dict[str, Any]:
        """The schedule, which the emulator builds and keeps."""
        return {
            "schedule": self.schedule,
            "gamma_min": self.gamma_min,
            "gamma_max": self._gamma_max,
            "free_ends": self.schedule == "learned_linear" or bool(self.free_ends),
        }

    @property
    def _gamma_max(self) -> float:
        return _GAMMA_MAX[self.schedule] if self.gamma_max is None else self.gamma_max

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """The bound, in bits per dimension."""
        return self.bound(step, batch).total

    @torch.no_grad()
    def bits_per_dimension(self, step: Step, batch: Batch) -> Bound:
        """The terms of the bound for a report, with less scatter than those of the loss."""
        return self.bound(step, batch, known_noise=True)

    def bound(self, step: Step, batch: Batch, *, known_noise: bool = False) -> Bound:
        """Estimate of the bound, with one time and one noise for each sample.

        Parameters
        ----------
        step, batch
            As for every loss.
        known_noise
            Use ``E noise^2 = 1`` as a control variate: what remains scatters less where D leaves
            the noise in the field.
        """
        x_clean, log_2 = batch.x_clean, math.log(2)
        t = antithetic_times(len(x_clean), step.generator)
        u, slope, (gamma_0, gamma_1) = _schedule(step)(t)
        sigma = ((gamma_0 + (gamma_1 - gamma_0) * u) / 2).exp()

        noise = step.noise_like(x_clean)
        y = x_clean + expand(sigma, x_clean) * noise  # z / alpha
        denoised = step.denoiser(y, sigma, batch.condition, batch.parameters)
        noise_hat = (y - denoised) / expand(sigma, x_clean)
        error = _mean((noise - noise_hat) ** 2)
        if known_noise:
            sigma_data = step.denoiser.sigma_data
            error = error - sigma_data**2 / (sigma_data**2 + sigma**2) * (_mean(noise**2) - 1)
        diffusion = 0.5 * (gamma_1 - gamma_0) * slope * error
        _minimise_variance(diffusion, u, slope)
        return Bound(
            diffusion=diffusion.mean() / log_2,
            prior=prior(gamma_1, x_clean).mean() / log_2,
            reconstruction=0.5 * (math.log(2 * math.pi) + gamma_0 + 1) / log_2,
        )


def antithetic_times(n: int, generator: torch.Generator) -> Tensor:
    """Evenly spread times with one random offset, each uniform in [0, 1), shape (n,) (I.1)."""
    u = torch.rand((), generator=generator, device=generator.device)
    return (u + torch.arange(n, device=generator.device) / n) % 1


def prior(gamma_1: Tensor, x_clean: Tensor) -> Tensor:
    """KL of ``q(z_1 | x)`` to a standard normal, per dimension [nats], shape (B,)."""
    variance, signal = torch.sigmoid(gamma_1), torch.sigmoid(-gamma_1)
    return 0.5 * (signal * _mean(x_clean**2) + variance - 1 - logsigmoid(gamma_1))


def _schedule(step: Step) -> nn.Module:
    schedule = step.denoiser.schedule
    if schedule is None:
        raise ValueError("a variational diffusion model needs a denoiser with a schedule")
    return schedule


def _minimise_variance(losses: Tensor, *shape: Tensor) -> None:
    """Scale the gradients that reach the shape of the schedule by each sample's loss (I.2)."""
    share = losses.detach() / losses.detach().mean()
    for x in shape:
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * share)


def _mean(x: Tensor) -> Tensor:
    """Over all but the batch."""
    return x.flatten(1).mean(1)
