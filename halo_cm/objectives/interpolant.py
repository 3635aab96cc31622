"""Stochastic interpolant, flow matching on straight paths.

x_t  = (1 - t) x_0 + t x_clean,        t uniform
loss = |velocity_hat(x_t, t) - (x_clean - x_0)|^2

Albergo & Vanden-Eijnden 2023 (arXiv:2209.15571), Lipman et al. 2023 (arXiv:2210.02747, eq. 23). The
velocity comes from the one denoiser (`halo_cm.diffusion.interpolation`), so that the loss is
``|D - x_clean|^2 / (1 - t)^2``.

``x0_mode = "dm_copy"`` starts from the dark-matter field with noise on it, as BaryonBridge
(arXiv:2510.19224); without noise the map would be deterministic. The network sees that field too,
and a straight path adds no more than the known ``(1 - t) copy`` to x_t: given the network, samples
do not depend on the copy. What ``dm_copy`` changes is the amplitude of the noise, and with it the
noise levels that training and sampling spend their steps on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from halo_cm.diffusion.denoiser import expand
from halo_cm.diffusion.interpolation import Path, X0Mode
from halo_cm.objectives.base import Objective, Step

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


class Interpolant(Objective):
    """Settings and loss of an interpolant."""

    name: Literal["interpolant"] = "interpolant"
    x0_mode: X0Mode = Field("noise", description="start from noise, or from the DMO map and noise")
    x0_noise: float | None = Field(
        None, gt=0, description="amplitude of the noise on the DMO map, in normalised units"
    )
    solver: Literal["heun", "euler"] = Field("heun", description="solver of the flow")

    @model_validator(mode="after")
    def _noisy(self) -> Interpolant:
        if self.x0_mode == "dm_copy" and self.x0_noise is None:
            raise ValueError(
                'x0_mode = "dm_copy" needs x0_noise > 0: without noise every condition would have '
                "one sample"
            )
        if self.x0_mode == "noise" and self.x0_noise is not None:
            raise ValueError('x0_noise belongs to x0_mode = "dm_copy"; pure noise has amplitude 1')
        return self

    @property
    def sampler(self) -> str:  # type: ignore[override] # here it depends on a setting
        """The flow by the chosen solver."""
        return f"interpolant_{self.solver}"

    @property
    def sampler_settings(self) -> dict[str, Any]:
        """Where samples start."""
        return {"x0_mode": self.x0_mode, "x0_amplitude": self.x0_noise or 1.0}

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Squared error of the velocity, averaged over pixels and samples."""
        x_clean = batch.x_clean
        path = Path.of(**self.sampler_settings, sigma_max=step.sigma_max, condition=batch.condition)
        t = self.times(step, len(x_clean))
        x_0 = path.start(step.noise_like(x_clean))
        x_t = expand(1 - t, x_clean) * x_0 + expand(t, x_clean) * x_clean

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return step.denoiser(x, sigma, batch.condition, batch.parameters)

        return (path.velocity(denoise, x_t, t) - (x_clean - x_0)).square().mean()

    def times(self, step: Step, n: int) -> Tensor:
        """Uniform times, shape (n,), to where the noise has fallen to sigma_min.

        Beyond, the velocity is the difference of nearly equal numbers over 1 - t.
        """
        amplitude = self.x0_noise or 1.0
        u = torch.rand(n, generator=step.generator, device=step.generator.device)
        return u * amplitude / (amplitude + step.sigma_min)
