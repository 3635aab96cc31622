"""Scalings that turn a network into a denoiser with an exact boundary (Karras et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scalings:
    """The four functions of the noise level in ``D = c_skip x + c_out F(c_in x, c_noise)``."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def scalings(sigma: Tensor, sigma_data: float, boundary: float) -> Scalings:
    """Scalings with ``D(x; boundary) = x`` (Song et al. 2023, arXiv:2303.01469, appendix C).

    Parameters
    ----------
    sigma
        Noise levels, any shape, positive.
    sigma_data
        Standard deviation of the normalised training targets.
    boundary
        Level at which D is the identity: sigma_min for a consistency model; 0 gives the scalings
        of Karras et al. (2022, table 1).
    """
    total = sigma**2 + sigma_data**2
    return Scalings(
        c_skip=sigma_data**2 / ((sigma - boundary) ** 2 + sigma_data**2),
        c_out=(sigma - boundary) * sigma_data / torch.sqrt(total),
        c_in=1 / torch.sqrt(total),
        c_noise=torch.log(sigma) / 4,
    )
