"""A Gaussian world in which the exact denoiser and consistency map are known."""

from __future__ import annotations

import copy
from itertools import pairwise
from types import SimpleNamespace

import torch
from torch import nn

from halo_cm.config.sampling import DiffusionConfig, SamplingConfig
from halo_cm.diffusion.denoiser import Denoiser, expand
from halo_cm.diffusion.preconditioning import scalings
from halo_cm.diffusion.samplers import make_sampler
from halo_cm.objectives.base import Step
from halo_cm.training.ema import ema_decay, lerp_weights

MEAN, STD = 0.5, 0.8
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0


class PixelNetwork(nn.Module):
    """F for single pixels: a small MLP of the scaled field and the noise label, and latent noise.

    With ``n_latent = 1`` the noise is added with an amplitude that the MLP gives.
    """

    def __init__(self, width=64, n_latent=0):
        super().__init__()
        self.n_latent = n_latent
        self.layers = nn.Sequential(
            *(nn.Linear(8, width), nn.SiLU()),
            *(nn.Linear(width, width), nn.SiLU()),
            nn.Linear(width, 2 + n_latent),
        )

    def forward(self, x, c_noise, condition, parameters):
        waves = [(c_noise * f)[:, None] for f in (1.0, 2.0, 4.0)]
        label = torch.cat([w.sin() for w in waves] + [w.cos() for w in waves], 1)
        shape = x.shape
        label = label[:, :, None, None].expand(-1, -1, *shape[2:])
        features = torch.cat([x, c_noise.view(-1, 1, 1, 1).expand_as(x), label], 1)
        slope, offset, *gain = self.layers(features.movedim(1, -1)).movedim(-1, 1).split(1, 1)
        latent = condition[:, condition.shape[1] - self.n_latent :]
        return slope * x + offset + (gain[0] * latent if gain else 0)


def exact_map(x, sigma):
    s = sigma.view(-1, 1, 1, 1)
    return MEAN + (x - MEAN) * ((STD**2 + SIGMA_MIN**2) / (STD**2 + s**2)).sqrt()


def exact_denoiser(x, sigma):
    return MEAN + (x - MEAN) * STD**2 / (STD**2 + sigma.view(-1, 1, 1, 1) ** 2)


class ExactMap(nn.Module):
    """F for which D is the exact consistency map."""

    boundary, exact = SIGMA_MIN, staticmethod(exact_map)

    def forward(self, x_in, c_noise, condition, parameters):
        sigma = (4 * c_noise).exp()
        s = scalings(sigma, STD, self.boundary)
        c_in, c_skip, c_out = (expand(c, x_in) for c in (s.c_in, s.c_skip, s.c_out))
        x = x_in / c_in
        return (self.exact(x, sigma) - c_skip * x) / c_out.clamp(min=1e-9)


class ExactDenoiser(ExactMap):
    """F for which the plain D is the exact denoiser."""

    boundary, exact = 0.0, staticmethod(exact_denoiser)


def ladder_map(levels, solver):
    """The map at each of the falling levels that one ODE step between neighbours leads to.

    What distillation with a few levels, and consistency training with Euler's steps, converge to:
    the exact map but for the errors of the steps. Slopes of x - MEAN, shape (N,), sigma_min first.
    """
    slopes = [1.0]
    for r, t in pairwise(levels.flip(0).tolist()):
        before, after = t / (STD**2 + t**2), r / (STD**2 + r**2)  # (x - D) / sigma over x - MEAN
        factor = 1 + (r - t) * before
        if solver == "heun":
            factor = 1 + (r - t) * (before + after * factor) / 2
        slopes.append(slopes[-1] * factor)
    return torch.tensor(slopes)


def largest_error(model, exact, levels=(0.01, 0.1, 0.5, 2.0, 10.0, 80.0)):
    """Largest error over the central 95% of the noisy data at each level, in units of STD."""
    worst = 0.0
    for level in levels:
        spread = (STD**2 + level**2) ** 0.5
        x = MEAN + spread * torch.linspace(-2, 2, 41).view(-1, 1, 1, 1)
        sigma = torch.full((41,), level)
        nothing = torch.zeros(41, 1)
        error = (model(x, sigma, x, nothing) - exact(x, sigma)).abs().max().item()
        worst = max(worst, error / STD)
    return worst


def batch_of(x_clean):
    nothing = torch.zeros(len(x_clean), 1)
    return SimpleNamespace(
        x_clean=x_clean, condition=x_clean, parameters=nothing, rows=torch.arange(len(x_clean))
    )


def make_step(network, boundary, generator, *, target=None, sigma_data=STD, n_latent=0, **more):
    """A step; ``more`` may hold progress, frozen, teacher and schedule."""
    denoiser = Denoiser(network, sigma_data, boundary, n_latent, more.pop("schedule", None))
    return Step(
        denoiser=denoiser,
        frozen=more.pop("frozen", denoiser),
        target=None if target is None else Denoiser(target, sigma_data, boundary, n_latent),
        normalization=None,
        sigma_min=SIGMA_MIN,
        sigma_max=SIGMA_MAX,
        rho=7.0,
        sampling_levels={2: (0.3,), 4: (4.0, 1.0, 0.25)},
        progress=more.pop("progress", 0.0),
        generator=generator,
        teacher=more.pop("teacher", None),
        **more,
    )


def train_on_gaussian(objective, *, network=None, **options):
    """Train a small network on the Gaussian; returns its averaged copy as a denoiser."""

    def draw(n, generator):
        return MEAN + STD * torch.randn(n, 1, 1, 1, generator=generator)

    return train(objective, draw, network or PixelNetwork, sigma_data=STD, **options)


def train(
    objective, draw, network, *, sigma_data, teacher=None, n_latent=0, n_steps=1500,
    batch_size=1024, seed=0, lr=3e-3,
):  # fmt: skip
    """Train a network (or a fresh one, of a class) on ``draw(n, generator)``, (n, C, H, W)."""
    torch.manual_seed(seed)
    network = (
        copy.deepcopy(network).requires_grad_(True) if isinstance(network, nn.Module) else network()
    )
    target = copy.deepcopy(network) if objective.uses_target else None
    sampler = sampler_of(objective)
    settings = (sigma_data, sampler.boundary, n_latent, sampler.make_schedule())
    student = Denoiser(network, *settings)
    average = copy.deepcopy(student)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 2 * (1 - step / n_steps))
        context = make_step(
            *(network, sampler.boundary, generator),
            target=target,
            progress=step / n_steps,
            sigma_data=sigma_data,
            teacher=teacher,
            n_latent=n_latent,
            schedule=student.schedule,
        )
        loss = objective.loss(context, batch_of(draw(batch_size, generator)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lerp_weights(average, student, ema_decay(step, 0.05 * n_steps))
        if target is not None:
            lerp_weights(target, network, objective.target_decay(step / n_steps))
    return average.requires_grad_(False)


def sampler_of(objective):
    """How samples are drawn from what an objective trains, with the default settings."""
    diffusion = DiffusionConfig(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)
    return make_sampler(objective.sampler, diffusion, SamplingConfig(), objective.sampler_settings)


def draw_samples(objective, model, condition, shape, n_steps=None, *, seed=1):
    """Samples of a trained denoiser as the emulator draws them, shape (B, *shape)."""
    sampler, n = sampler_of(objective), len(condition)
    n_steps = n_steps or sampler.default_steps
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.randn(n, *shape, generator=generator) for _ in range(sampler.n_draws(n_steps)))
    levels, nothing = sampler.levels(n_steps, model.schedule), torch.zeros(n, 1)

    def denoise(x, sigma):
        latent = torch.randn(n, model.n_latent, *shape[1:], generator=generator)
        return model(x, sigma, condition, nothing, latent)

    with torch.no_grad():
        return sampler.sample(denoise, noise, levels, condition)
