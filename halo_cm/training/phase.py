"""One phase of a training under way: its objective, its optimiser, its copies of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from halo_cm.config.training import PhaseConfig
    from halo_cm.diffusion.denoiser import Denoiser
    from halo_cm.objectives.base import Objective


@dataclass
class Phase:
    """One phase under way.

    Attributes
    ----------
    index, config
        Its place in the list of phases, and its settings.
    objective, optimizer
        What is minimised, and by what.
    n_steps, batch_size, validate_every
        Steps, cutouts per step over all processes, steps between validations.
    student, schedule
        Network and noise schedule as `accelerate` prepared them.
    target, teacher
        Networks that the objective learns from: a slow copy of the student, a frozen denoiser.
    base
        The weights before a reference, which the next phase starts from.
    """

    index: int
    config: PhaseConfig
    objective: Objective
    n_steps: int
    batch_size: int
    validate_every: int
    student: torch.nn.Module
    schedule: torch.nn.Module | None
    target: torch.nn.Module | None
    teacher: Denoiser | None
    base: torch.nn.Module | None
    optimizer: Any

    @property
    def name(self) -> str:
        """Name of the objective."""
        return self.objective.name

    @property
    def copies(self) -> dict[str, torch.nn.Module]:
        """Copies of weights that a saved state must hold, beside the student and its average."""
        named = {"target": self.target, "teacher": self.teacher, "base": self.base}
        return {name: module for name, module in named.items() if module is not None}
