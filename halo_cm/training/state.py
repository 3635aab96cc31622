"""What a run needs to continue exactly where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from halo_cm.errors import CheckpointError
from halo_cm.training.checkpoint import (
    load_optimizer,
    optimizer_tensors,
    read_tensors,
    unflatten,
    write_tensors,
)

if TYPE_CHECKING:
    from halo_cm.training.loop import Phase, Trainer

_KIND = "training state"


@dataclass(frozen=True)
class TrainingState:
    """Weights, averages and optimiser at a step; random numbers are functions of the step."""

    phase_index: int
    step: int
    global_step: int
    best_score: float | None
    n_ranks: int
    tensors: dict[str, Tensor]

    def restore(self, trainer: Trainer, phase: Phase) -> int:
        """Put everything back and return the step to go on with.

        Raises
        ------
        CheckpointError
            If the number of processes differs, with which the noise would differ.
        """
        if trainer.n_ranks != self.n_ranks:
            raise CheckpointError(
                f"this run was started with {self.n_ranks} processes and is continued with "
                f"{trainer.n_ranks}: set training.processes = {self.n_ranks}"
            )
        trainer.network.load_state_dict(unflatten(self.tensors, "network"))
        trainer.average.denoiser.network.load_state_dict(unflatten(self.tensors, "average"))
        if phase.target is not None:
            phase.target.load_state_dict(unflatten(self.tensors, "target"))
        load_optimizer(phase.optimizer, unflatten(self.tensors, "optimizer"))
        return self.step


def save(path: Path, trainer: Trainer, phase: Phase, step: int) -> None:
    """Write the state after ``step`` steps of ``phase``."""
    parts: dict[str, dict[str, Tensor]] = {
        "network": trainer.network.state_dict(),
        "average": trainer.average.denoiser.network.state_dict(),
        "target": {} if phase.target is None else phase.target.state_dict(),
        "optimizer": optimizer_tensors(phase.optimizer),
    }
    tensors = {f"{part}.{k}": v for part, content in parts.items() for k, v in content.items()}
    facts = {
        "phase_index": phase.index,
        "step": step,
        "global_step": trainer.global_step,
        "best_score": trainer.best_score,
        "n_ranks": trainer.n_ranks,
    }
    write_tensors(path, _KIND, tensors, facts)


def load(path: Path) -> TrainingState | None:
    """State at ``path``, or None if there is none yet."""
    if not path.is_file():
        return None
    facts, tensors = read_tensors(path, _KIND)
    names = ("phase_index", "step", "global_step", "best_score", "n_ranks")
    return TrainingState(**{name: facts[name] for name in names}, tensors=tensors)
