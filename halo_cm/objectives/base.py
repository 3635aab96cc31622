"""What an objective is: settings that are validated, and a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from halo_cm.diffusion.levels import karras_levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halo_cm.data.normalize import Batch, Normalization
    from halo_cm.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Step:
    """What a loss may use beside the batch.

    Attributes
    ----------
    denoiser
        The student, whose gradient is taken.
    frozen
        The same weights without gradient, for targets that stop it.
    target
        Slow copy of the student that an objective with a `target_decay` asks for, else None.
    normalization
        For losses on physical fields.
    sigma_min, sigma_max, rho
        Range and spacing of the noise levels.
    sampling_levels
        Levels after sigma_max of each number of sampling steps.
    progress
        k / K: the share of the phase that is done.
    generator
        Source of every random number of this step.
    teacher
        Frozen plain denoiser that an objective with `uses_teacher` learns from, else None.
    """

    denoiser: Denoiser
    frozen: Denoiser
    target: Denoiser | None
    normalization: Normalization
    sigma_min: float
    sigma_max: float
    rho: float
    sampling_levels: Mapping[int, tuple[float, ...]]
    progress: float
    generator: torch.Generator
    teacher: Denoiser | None = None

    def grid(self, n_levels: int) -> Tensor:
        """Falling noise levels from sigma_max to sigma_min, shape (n_levels,)."""
        levels = karras_levels(n_levels, self.sigma_min, self.sigma_max, self.rho)
        return levels.to(self.generator.device)

    def noise_like(self, x: Tensor) -> Tensor:
        """Standard normal tensor of the shape of ``x``."""
        return torch.randn(x.shape, generator=self.generator, device=x.device, dtype=x.dtype)


class Objective(BaseModel):
    """Base class of the objectives; a subclass is one file with its settings and its loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: How samples are drawn from what this objective trains, see `halo_cm.diffusion.samplers`.
    sampler: ClassVar[str]
    #: Whether a slow copy of the student is needed, see `target_decay`.
    uses_target: ClassVar[bool] = False
    #: Whether a frozen plain denoiser is needed: the weights that the phase starts from, or those
    #: of the file that the setting ``teacher`` names.
    uses_teacher: ClassVar[bool] = False
    #: Whether the network is given latent noise, while training and in every sample.
    uses_latent: ClassVar[bool] = False

    name: str

    @property
    def sampler_settings(self) -> dict[str, Any]:
        """What the sampler needs to know of these settings, JSON-able."""
        return {}

    @abstractmethod
    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Scalar loss of a batch."""

    def target_decay(self, progress: float) -> float:
        """EMA decay of the target network after each step, if `uses_target`."""
        raise AttributeError(f"objective {self.name!r} has no target network ({progress=})")


@contextmanager
def same_dropout() -> Iterator[Callable[[], None]]:
    """Let student and target see the same dropout masks: call the yielded function between them."""
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

    def rewind() -> None:
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    yield rewind
