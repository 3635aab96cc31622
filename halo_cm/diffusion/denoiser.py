"""The denoiser D(x; sigma): a scaled network; at every level of a consistency model, its map."""

from __future__ import annotations

from torch import Tensor, nn

from halo_cm.diffusion.preconditioning import scalings


class Denoiser(nn.Module):
    """``D(x; sigma) = c_skip x + c_out F(c_in x, c_noise, condition, parameters)``.

    Parameters
    ----------
    network
        F, called as ``network(x, c_noise, condition, parameters)``.
    sigma_data
        Standard deviation of the normalised training targets.
    boundary
        Noise level at which D is exactly the identity: sigma_min for a consistency map; 0 for a
        plain denoiser (Karras et al. 2022), which must still remove the noise at sigma_min.
    """

    def __init__(self, network: nn.Module, sigma_data: float, boundary: float) -> None:
        super().__init__()
        self.network, self.sigma_data, self.boundary = network, sigma_data, boundary

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor, parameters: Tensor) -> Tensor:
        """Denoised field.

        Parameters
        ----------
        x
            Noisy fields, shape (B, C, H, W).
        sigma
            Noise levels, shape (B,).
        condition, parameters
            Normalised, shapes (B, S, H, W) and (B, P).
        """
        s = scalings(sigma, self.sigma_data, self.boundary)
        prediction = self.network(expand(s.c_in, x) * x, s.c_noise, condition, parameters)
        return expand(s.c_skip, x) * x + expand(s.c_out, x) * prediction


def boundary_level(sampler: str, sigma_min: float) -> float:
    """Level at which D is the identity: sigma_min of a consistency map, 0 of a plain denoiser."""
    return sigma_min if sampler == "consistency" else 0.0


def expand(level: Tensor, like: Tensor) -> Tensor:
    """Append axes to a tensor of shape (B,) until it broadcasts against ``like``."""
    return level.view(-1, *[1] * (like.ndim - 1))
