"""Samplers: what a model must know to be sampled, one small class for each way.

A sampler holds settings alone; the algorithms are functions of `halo_cm.diffusion.solvers`. Its
name and its `settings` are written into the model file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from halo_cm.config.sampling import DiffusionConfig, SamplingConfig
from halo_cm.diffusion import solvers
from halo_cm.diffusion.interpolation import Path, X0Mode
from halo_cm.diffusion.levels import karras_levels
from halo_cm.diffusion.schedules import ScheduleName, make_schedule, schedule_levels
from halo_cm.diffusion.solvers import Denoise, Velocity
from halo_cm.errors import ConfigError


@dataclass(frozen=True)
class Sampler(ABC):
    """Base of the samplers; a subclass adds the settings that its objective chose.

    Attributes
    ----------
    diffusion, sampling
        Range of the noise levels, and default numbers of steps.
    """

    diffusion: DiffusionConfig
    sampling: SamplingConfig

    #: Written into model files.
    name: ClassVar[str]
    #: Smallest number of steps.
    least_steps: ClassVar[int] = 1

    @property
    @abstractmethod
    def default_steps(self) -> int:
        """Steps where none are asked for."""

    @property
    def boundary(self) -> float:
        """Noise level at which D is the identity; 0 of all but consistency maps."""
        return 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """What `make_sampler` needs beside the configuration, JSON-able."""
        own = [field.name for field in fields(self) if field.name not in ("diffusion", "sampling")]
        return {name: getattr(self, name) for name in own}

    def make_schedule(self) -> nn.Module | None:
        """Fresh noise schedule that the model carries, if it carries one."""
        return None

    def check_steps(self, n_steps: int) -> None:
        """Raise a ConfigError if a sample cannot be drawn in ``n_steps`` steps."""
        if n_steps < self.least_steps:
            raise ConfigError(
                f"n_sampling_steps must be at least {self.least_steps} for a {self.name} sampler, "
                f"found {n_steps}"
            )

    @abstractmethod
    def levels(self, n_steps: int, schedule: nn.Module | None) -> Tensor:
        """Falling noise levels of an ``n_steps`` sample (of an interpolant: rising times).

        Parameters
        ----------
        n_steps
            Number of steps, checked before.
        schedule
            What `make_schedule` gave, trained.
        """

    def nfe(self, n_steps: int) -> int:
        """Network evaluations of an ``n_steps`` sample."""
        return n_steps

    def n_draws(self, n_steps: int) -> int:
        """Noise tensors that one sample consumes."""
        return 1

    @abstractmethod
    def sample(
        self, denoise: Denoise, noise: Iterator[Tensor], levels: Tensor, condition: Tensor
    ) -> Tensor:
        """Normalised samples, one for each condition.

        Parameters
        ----------
        denoise
            ``denoise(x, sigma)``, D with its condition.
        noise
            `n_draws` standard normal tensors of shape (B, C, H, W).
        levels
            From `levels`, on the device of the noise.
        condition
            Normalised maps (B, S, H, W), from which an interpolant may start.
        """


class Consistency(Sampler):
    """One or a few evaluations of a consistency map."""

    name = "consistency"

    @property
    def default_steps(self) -> int:
        """Steps where none are asked for."""
        return self.sampling.n_sampling_steps

    @property
    def boundary(self) -> float:
        """sigma_min."""
        return self.diffusion.sigma_min

    def check_steps(self, n_steps: int) -> None:
        """Raise a ConfigError if there are no levels for this number of steps."""
        super().check_steps(n_steps)
        known_steps = self.sampling.known_steps(self.diffusion)
        if n_steps not in known_steps:
            known = ", ".join(map(str, known_steps))
            raise ConfigError(
                f"n_sampling_steps = {n_steps}: this model has noise levels for {known} steps; "
                f"choose one of these or add sampling.levels.{n_steps} to its config"
            )

    def levels(self, n_steps: int, schedule: nn.Module | None) -> Tensor:
        """sigma_max and the chosen levels."""
        chosen = self.sampling.all_levels(self.diffusion)[n_steps] if n_steps > 1 else ()
        return torch.tensor([self.diffusion.sigma_max, *chosen])

    def n_draws(self, n_steps: int) -> int:
        """Fresh noise for every step."""
        return n_steps

    def sample(
        self, denoise: Denoise, noise: Iterator[Tensor], levels: Tensor, condition: Tensor
    ) -> Tensor:
        """Multistep consistency sampling."""
        return solvers.consistency(denoise, levels, noise, self.diffusion.sigma_min)


class _DenoiserOde(Sampler):
    """The probability-flow ODE of a plain denoiser, from sigma_max to sigma_min and to zero."""

    least_steps = 2
    solver: ClassVar[staticmethod[[Denoise, Tensor, Tensor], Tensor]]

    @property
    def default_steps(self) -> int:
        """Steps where none are asked for."""
        return self.sampling.n_heun_steps

    def levels(self, n_steps: int, schedule: nn.Module | None) -> Tensor:
        """Levels of Karras et al. (2022)."""
        diffusion = self.diffusion
        return karras_levels(n_steps, diffusion.sigma_min, diffusion.sigma_max, diffusion.rho)

    def sample(
        self, denoise: Denoise, noise: Iterator[Tensor], levels: Tensor, condition: Tensor
    ) -> Tensor:
        """Follow the ODE from noise at the first level."""
        return self.solver(denoise, levels[0] * next(noise), levels)


class Heun(_DenoiserOde):
    """Second order, two evaluations a step."""

    name = "heun"
    solver = staticmethod(solvers.heun)

    def nfe(self, n_steps: int) -> int:
        """Two evaluations between levels, one at the last."""
        return 2 * n_steps - 1


class Euler(_DenoiserOde):
    """First order."""

    name = "euler"
    solver = staticmethod(solvers.euler)


class Dpm(_DenoiserOde):
    """DPM-Solver++(2M): second order, one evaluation a step."""

    name = "dpm"
    solver = staticmethod(solvers.dpm)


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Ancestral sampling of a variational diffusion model, down its own noise schedule.

    Attributes
    ----------
    schedule, gamma_min, gamma_max, free_ends
        See `halo_cm.diffusion.schedules.make_schedule`.
    """

    schedule: ScheduleName
    gamma_min: float
    gamma_max: float
    free_ends: bool

    name = "ancestral"

    @property
    def default_steps(self) -> int:
        """Steps where none are asked for."""
        return self.sampling.n_vdm_steps

    def make_schedule(self) -> nn.Module:
        """Fresh schedule of the model."""
        return make_schedule(
            self.schedule, self.gamma_min, self.gamma_max, free_ends=self.free_ends
        )

    def levels(self, n_steps: int, schedule: nn.Module | None) -> Tensor:
        """``e^(gamma(t) / 2)`` at even times."""
        if schedule is None:
            raise ValueError("an ancestral sampler needs the schedule of its model")
        return schedule_levels(schedule, n_steps)

    def n_draws(self, n_steps: int) -> int:
        """The start, and fresh noise for every step."""
        return n_steps + 1

    def sample(
        self, denoise: Denoise, noise: Iterator[Tensor], levels: Tensor, condition: Tensor
    ) -> Tensor:
        """Draw from one conditional after another."""
        return solvers.ancestral(denoise, levels, noise)


@dataclass(frozen=True)
class _Interpolant(Sampler):
    """The flow of an interpolant in t, from x_0 at 0 to the data at 1.

    Attributes
    ----------
    x0_mode, x0_amplitude
        See `halo_cm.diffusion.interpolation.Path`.
    """

    x0_mode: X0Mode
    x0_amplitude: float

    solver: ClassVar[staticmethod[[Velocity, Tensor, Tensor], Tensor]]

    @property
    def default_steps(self) -> int:
        """Steps where none are asked for."""
        return self.sampling.n_interpolant_steps

    def levels(self, n_steps: int, schedule: nn.Module | None) -> Tensor:
        """Even times from 0 to 1."""
        return torch.linspace(0, 1, n_steps + 1)

    def sample(
        self, denoise: Denoise, noise: Iterator[Tensor], levels: Tensor, condition: Tensor
    ) -> Tensor:
        """Follow the flow from a start that may hold the DMO map."""
        path = Path.of(self.x0_mode, self.x0_amplitude, self.diffusion.sigma_max, condition)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return path.velocity(denoise, x, t)

        return self.solver(velocity, path.start(next(noise)), levels)


class InterpolantEuler(_Interpolant):
    """First order."""

    name = "interpolant_euler"
    solver = staticmethod(solvers.flow_euler)


class InterpolantHeun(_Interpolant):
    """Second order, two evaluations a step but for the last."""

    name = "interpolant_heun"
    solver = staticmethod(solvers.flow_heun)

    def nfe(self, n_steps: int) -> int:
        """Two evaluations a step, one in the last."""
        return 2 * n_steps - 1


_KINDS: tuple[type[Sampler], ...] = (
    *(Consistency, Heun, Euler, Dpm),
    *(Ancestral, InterpolantEuler, InterpolantHeun),
)
SAMPLERS = {kind.name: kind for kind in _KINDS}


def make_sampler(
    name: str, diffusion: DiffusionConfig, sampling: SamplingConfig, settings: Mapping[str, Any]
) -> Sampler:
    """The sampler called ``name``; of a plain denoiser, the one that ``sampling`` chooses.

    Parameters
    ----------
    name
        One of `SAMPLERS`.
    diffusion, sampling
        Sections of the configuration.
    settings
        What the objective adds, or what a model file holds: `Sampler.settings`.

    Raises
    ------
    ConfigError
        If there is no such sampler.
    """
    kind = SAMPLERS.get(name)
    if kind is None:
        raise ConfigError(f"unknown sampler {name!r}, expected one of {', '.join(SAMPLERS)}")
    if issubclass(kind, _DenoiserOde):
        kind = SAMPLERS[sampling.denoiser_solver]
    return kind(diffusion, sampling, **settings)
