"""What a run needs to continue exactly where it stopped."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halo_cm.errors import CheckpointError
from halo_cm.training.checkpoint import (
    load_optimizer,
    optimizer_tensors,
    read_tensors,
    unflatten,
    write_tensors,
)
from halo_cm.training.validation import ValidationScore

logger = logging.getLogger(__name__)

_KIND = "training state"
_OPTIMIZER = "optimizer"


@dataclass(frozen=True)
class Position:
    """Where a run is; random numbers are functions of it.

    Attributes
    ----------
    phase_index, step
        The phase under way and the steps that it has taken; behind the last phase, where only the
        noise levels are left to choose, their number and 0.
    global_step
        Steps of all phases.
    best
        Lowest score of the validation so far.
    n_ranks
        Processes, each with noise of its own.
    precision
        What `mixed_precision` gave; empty in states of versions before.
    losses
        Loss of each step since the last line of the log, averaged over processes.
    cost
        What was spent so far (`halo_cm.training.cost.Cost`); empty in states of versions before.
    """

    phase_index: int
    step: int
    global_step: int
    best: ValidationScore | None
    n_ranks: int
    losses: tuple[float, ...]
    cost: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""


@dataclass(frozen=True)
class TrainingState:
    """A saved position with the weights, averages and optimiser at it."""

    position: Position
    tensors: Mapping[str, Tensor]

    def restore(
        self,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        n_ranks: int,
        precision: str,
    ) -> None:
        """Put everything back into the modules that `save` was given.

        Raises
        ------
        CheckpointError
            If the number of processes differs, with which the noise would differ.
        """
        if n_ranks != self.position.n_ranks:
            raise CheckpointError(
                f"this run was started with {self.position.n_ranks} process(es) and is continued "
                f"with {n_ranks}: set training.processes = {self.position.n_ranks}"
            )
        if self.position.precision not in ("", precision):
            logger.warning(
                "this run was started with precision %r and goes on with %r (training.precision = "
                '"auto" asks the processor): it will not end as an unbroken one',
                self.position.precision,
                precision,
            )
        for name, module in modules.items():
            module.load_state_dict(unflatten(self.tensors, name))
        load_optimizer(optimizer, unflatten(self.tensors, _OPTIMIZER))


def save(
    path: Path,
    position: Position,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Write the state of a run; between phases there is no optimiser."""
    parts = {name: module.state_dict() for name, module in modules.items()}
    if optimizer is not None:
        parts[_OPTIMIZER] = optimizer_tensors(optimizer)
    tensors = {f"{part}.{k}": v for part, content in parts.items() for k, v in content.items()}
    write_tensors(path, _KIND, tensors, asdict(position))


def load(path: Path) -> TrainingState | None:
    """State at ``path``, or None if there is none yet."""
    if not path.is_file():
        return None
    facts, tensors = read_tensors(path, _KIND)
    facts.setdefault("cost", {})  # versions before did not measure it
    facts.setdefault("precision", "")
    names = Position.__dataclass_fields__
    missing = [name for name in names if name not in facts]
    best = facts.get("best")
    if best is not None:
        parts = ValidationScore.__dataclass_fields__
        missing += [f"best.{name}" for name in parts if name not in best]
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}: another version of halo_cm wrote it; continue "
            "with that version, or train into another folder"
        )
    if best is not None:
        known = {name: best[name] for name in parts}
        found = ValidationScore(**{**known, "resamples": tuple(best["resamples"])})
        # versions before left the mass out: nothing can be compared with such a score
        complete = math.isclose(found.score, found.power + found.crps + found.mass, rel_tol=1e-6)
        facts["best"] = found if complete else None
    return TrainingState(Position(**{name: facts[name] for name in names}), tensors)
