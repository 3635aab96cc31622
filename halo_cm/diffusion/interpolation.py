"""The straight path of an interpolant, and its velocity from the one denoiser.

    x_t      = (1 - t) x_0 + t x_clean          x_0 = copy + amplitude noise
    velocity = dx_t / dt = x_clean - x_0

``copy`` is known (it is zero, or made from the condition), so that

    y = (x_t - (1 - t) copy) / t = x_clean + sigma noise,      sigma = amplitude (1 - t) / t
    velocity_hat = (D(y; sigma) - x_t) / (1 - t).

Towards t = 0 sigma grows without bound; above sigma_max, where the field is lost in noise, y is
given the noise of sigma_max (1% of the path at amplitude 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from halo_cm.diffusion.denoiser import expand

if TYPE_CHECKING:
    from halo_cm.diffusion.solvers import Denoise

X0Mode = Literal["noise", "dm_copy"]


@dataclass(frozen=True)
class Path:
    """Where interpolants start, and how they move.

    Attributes
    ----------
    copy
        Known part of the start, broadcasting against (B, C, H, W).
    amplitude
        Of the noise in the start, in units of the normalised targets.
    sigma_max
        Largest noise level that D is asked for.
    """

    copy: Tensor
    amplitude: float
    sigma_max: float

    @classmethod
    def of(cls, x0_mode: X0Mode, x0_amplitude: float, sigma_max: float, condition: Tensor) -> Path:
        """From nothing but noise, or from the DMO map of the field of view in every channel.

        Parameters
        ----------
        x0_mode
            ``"noise"``, or ``"dm_copy"`` as BaryonBridge (arXiv:2510.19224).
        x0_amplitude, sigma_max
            See the class.
        condition
            Normalised maps, shape (B, S, H, W); the first is the field of view.
        """
        field_of_view = condition[:, :1]
        copy = field_of_view if x0_mode == "dm_copy" else field_of_view.new_zeros(())
        return cls(copy, x0_amplitude, sigma_max)

    def start(self, noise: Tensor) -> Tensor:
        """x_0 for standard normal noise of shape (B, C, H, W)."""
        return self.copy + self.amplitude * noise

    def velocity(self, denoise: Denoise, x: Tensor, t: Tensor) -> Tensor:
        """Velocity at x (B, C, H, W) and times t < 1, shape (B,)."""
        sigma = (self.amplitude * (1 - t) / t).clamp(max=self.sigma_max)
        left = expand(1 - t, x)
        # sigma / (amplitude (1 - t)) is 1 / t, until sigma stops at sigma_max
        y = expand(sigma, x) / (self.amplitude * left) * (x - left * self.copy)
        return (denoise(y, sigma) - x) / left
