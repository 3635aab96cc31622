"""The denoiser D(x; sigma): a scaled network; at every level of a consistency model, its map."""

from __future__ import annotations

import torch
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
    n_latent
        Channels of latent noise that the network takes behind the condition.
    schedule
        Noise schedule of a variational diffusion model: trained, averaged and saved beside the
        network, used by its loss and its sampler.
    """

    def __init__(
        self,
        network: nn.Module,
        sigma_data: float,
        boundary: float,
        n_latent: int = 0,
        schedule: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.sigma_data, self.boundary = network, sigma_data, boundary
        self.n_latent, self.schedule = n_latent, schedule

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        condition: Tensor,
        parameters: Tensor,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Denoised field.

        Parameters
        ----------
        x
            Noisy fields, shape (B, C, H, W).
        sigma
            Noise levels, shape (B,).
        condition, parameters
            Normalised, shapes (B, S, H, W) and (B, P).
        latent
            Standard normal noise of shape (B, n_latent, H, W) that tells samples with the same x
            apart; zeros if None.
        """
        if self.n_latent:
            if latent is None:
                latent = x.new_zeros(len(x), self.n_latent, *x.shape[2:])
            condition = torch.cat([condition, latent], 1)
        s = scalings(sigma, self.sigma_data, self.boundary)
        prediction = self.network(expand(s.c_in, x) * x, s.c_noise, condition, parameters)
        return expand(s.c_skip, x) * x + expand(s.c_out, x) * prediction


def expand(level: Tensor, like: Tensor) -> Tensor:
    """Append axes to a tensor of shape (B,) until it broadcasts against ``like``."""
    return level.view(-1, *[1] * (like.ndim - 1))
