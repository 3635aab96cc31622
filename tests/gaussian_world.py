"""A Gaussian world in which the exact denoiser and consistency map are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn

from halo_cm.diffusion.denoiser import Denoiser, boundary_level
from halo_cm.objectives.base import Step

MEAN, STD = 0.5, 0.8
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


class PixelNetwork(nn.Module):
    """F for single pixels: a small MLP of the scaled field and the noise label."""

    def __init__(self, width=64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x, c_noise, condition, parameters):
        waves = [(c_noise * f)[:, None] for f in (1.0, 2.0, 4.0)]
        label = torch.cat([w.sin() for w in waves] + [w.cos() for w in waves], 1)
        shape = x.shape
        label = label[:, :, None, None].expand(-1, -1, *shape[2:])
        features = torch.cat([x, c_noise.view(-1, 1, 1, 1).expand_as(x), label], 1)
        slope, offset = self.layers(features.movedim(1, -1)).movedim(-1, 1).chunk(2, 1)
        return slope * x + offset


def exact_map(x, sigma):
    s = sigma.view(-1, 1, 1, 1)
    return MEAN + (x - MEAN) * ((STD**2 + SIGMA_MIN**2) / (STD**2 + s**2)).sqrt()


def exact_denoiser(x, sigma):
    return MEAN + (x - MEAN) * STD**2 / (STD**2 + sigma.view(-1, 1, 1, 1) ** 2)


def batch_of(x_clean):
    nothing = torch.zeros(len(x_clean), 1)
    return SimpleNamespace(
        x_clean=x_clean, condition=x_clean, parameters=nothing, rows=torch.arange(len(x_clean))
    )


def make_step(network, boundary, generator, *, target=None, progress=0.0, frozen=None):
    scale = math.sqrt(STD**2)
    denoiser = Denoiser(network, scale, boundary)
    return Step(
        denoiser=denoiser,
        frozen=frozen or denoiser,
        target=None if target is None else Denoiser(target, scale, boundary),
        normalization=None,
        sigma_min=SIGMA_MIN,
        sigma_max=SIGMA_MAX,
        rho=7.0,
        sampling_levels={2: (0.5,), 4: (4.0, 1.0, 0.25)},
        progress=progress,
        generator=generator,
    )


def train_on_gaussian(objective, *, n_steps=1500, batch_size=1024, seed=0, network=None, lr=3e-3):
    """Train a small network; returns its averaged copy as a denoiser."""
    import copy

    from halo_cm.training.ema import ema_decay, lerp_weights

    torch.manual_seed(seed)
    network = network or PixelNetwork()
    average = copy.deepcopy(network)
    target = copy.deepcopy(network) if objective.uses_target else None
    boundary = boundary_level(objective.sampler, SIGMA_MIN)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2 * (1 - step / n_steps))
        x_clean = MEAN + STD * torch.randn(batch_size, 1, 1, 1, generator=generator)
        context = make_step(network, boundary, generator, target=target, progress=step / n_steps)
        loss = objective.loss(context, batch_of(x_clean))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lerp_weights(average, network, ema_decay(step, 0.05 * n_steps))
        if target is not None:
            lerp_weights(target, network, objective.target_decay(step / n_steps))
    return Denoiser(average.requires_grad_(False), STD, boundary)
