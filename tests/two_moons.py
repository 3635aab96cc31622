"""Two moons in the plane: data that no Gaussian describes, for whole trainings in seconds."""

from __future__ import annotations

import math

import torch
from gaussian_world import train
from torch import nn

#: Width of the moons, in units of their radius.
WIDTH = 0.1
#: Mean and standard deviation of the raw coordinates: those of two half circles around (0, 0) and
#: (1, 1/2), by integration over the angle.
_MEAN = (0.5, 0.25)
_STD = (
    math.sqrt(0.5 + 0.25 + WIDTH**2),
    math.sqrt(0.5 + 0.0625 - 1 / math.pi + WIDTH**2),
)


def two_moons(n, generator):
    """``n`` points of zero mean and unit standard deviation in each coordinate, shape (n, 2)."""
    angle = math.pi * torch.rand(n, generator=generator)
    lower = torch.rand(n, generator=generator) < 0.5
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    points = torch.stack([x, y], 1) + WIDTH * torch.randn(n, 2, generator=generator)
    return (points - torch.tensor(_MEAN)) / torch.tensor(_STD)


def energy_distance(a, b):
    """``2 E|a - b| - E|a - a'| - E|b - b'|`` of points (n, d) and (m, d), without bias.

    Zero for one distribution and positive for two (Szekely & Rizzo 2013, eq. 5); the estimate
    scatters around it by about 1 / n.
    """
    within = [torch.cdist(x, x).sum().item() / (len(x) * (len(x) - 1)) for x in (a, b)]
    return 2 * torch.cdist(a, b).mean().item() - sum(within)


def permuted_energy_distance(a, b, generator, *, n_permutations=100, quantile=0.99):
    """Quantile of the energy distance of ``a`` and ``b`` with their labels permuted.

    What two samples of one distribution, of these sizes, would not exceed.
    """
    pooled = torch.cat([a, b])
    orders = (torch.randperm(len(pooled), generator=generator) for _ in range(n_permutations))
    found = [energy_distance(pooled[o[: len(a)]], pooled[o[len(a) :]]) for o in orders]
    return torch.tensor(found).quantile(quantile).item()


class PointNetwork(nn.Module):
    """F for points, x of shape (B, 2, 1, 1): a small MLP of the point and the noise label.

    It also takes latent noise in ``n_latent`` channels behind the condition.
    """

    def __init__(self, width=128, n_latent=0):
        super().__init__()
        self.n_latent = n_latent
        self.layers = nn.Sequential(
            *(nn.Linear(8 + n_latent, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, 2),
        )

    def forward(self, x, c_noise, condition, parameters):
        waves = [(c_noise * f)[:, None] for f in (1.0, 2.0, 4.0)]
        label = torch.cat([w.sin() for w in waves] + [w.cos() for w in waves], 1)
        latent = condition.flatten(1)[:, condition.shape[1] - self.n_latent :]
        return self.layers(torch.cat([x.flatten(1), label, latent], 1)).view_as(x)


def train_on_two_moons(objective, *, network=None, **options):
    """Train on the moons; returns the averaged copy as a denoiser of points (B, 2, 1, 1).

    ``options`` as for `gaussian_world.train`: n_steps, batch_size, seed, lr.
    """

    def draw(n, generator):
        return two_moons(n, generator)[:, :, None, None]

    return train(objective, draw, network or PointNetwork, sigma_data=1.0, **options)
