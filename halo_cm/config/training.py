"""Phases of a training, and its validation."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from halo_cm.config.section import Count, FilePath, Natural, Positive, Section


class PhaseConfig(Section):
    """One phase of the training: what is minimised, and for how long."""

    objective: dict[str, Any]
    """Name of the objective and its settings, ``{ name = "ect", q = 4.0 }``."""
    steps: Count | None = None
    """Length [optimiser steps]; either this or ``epochs``."""
    epochs: Count | None = None
    """Length [passes over the training split]; either this or ``steps``."""
    learning_rate: Positive = 1e-3
    """Learning rate after the warm-up."""
    batch_size: Count | None = None
    """Cutouts per step over all processes; ``training.batch_size`` if absent."""
    ema_half_life: Positive = 0.05
    """Half-life of the weights' moving average [share of the phase's steps]."""
    decay_share: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of the phase, at its end, over which the learning rate falls to zero."""
    validate_every: Count | None = None
    """Steps between validations; ``validation.every`` if absent."""
    optimizer: Literal["muon", "adamw", "radam"] = "muon"
    """Optimiser; `halo_cm.training.muon` says which weights Muon takes and why."""
    reference: bool = False
    """A model to compare with: the next phase starts from the weights that this one started from,
    and the model of the run is never taken from it."""

    @field_validator("objective")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("name"), str):
            raise ValueError('expected a table with a name, such as { name = "ect" }')
        return value

    @model_validator(mode="after")
    def _check(self) -> PhaseConfig:
        if (self.steps is None) == (self.epochs is None):
            found = "neither" if self.steps is None else "both"
            raise ValueError(f"expected exactly one of steps and epochs, found {found}")
        return self

    def n_steps(self, n_cutouts: int, batch_size: int) -> int:
        """Length of the phase in optimiser steps.

        Parameters
        ----------
        n_cutouts
            Cutouts in the training split.
        batch_size
            Cutouts per step over all processes.
        """
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 0) * n_cutouts / batch_size))


class TrainingConfig(Section):
    """Phases and what they share."""

    phases: Annotated[tuple[PhaseConfig, ...], Field(strict=False, min_length=1)]
    """The phases in order; each starts from the averaged weights of the one before."""
    start: FilePath | None = None
    """Model file whose weights the first phase starts from, of the same network or of one without
    `network.condition_rings`."""
    start_data: Literal["same", "other"] = "same"
    """Whether `start` was trained on this run's data; if not, its statistics may differ."""
    batch_size: Count = 32
    """Cutouts per step over all processes."""
    processes: Count | Literal["auto"] = "auto"
    """Training processes; ``"auto"`` takes one per core, or one for a GPU."""
    precision: Literal["no", "bf16", "auto"] = "no"
    """Mixed precision of `accelerate`; auto: bf16 where the processor or GPU computes in it."""
    compile: bool = False
    """Compile the network (torch.compile): minutes at the start of each phase, and on a CPU a C++
    compiler, for faster steps."""
    warmup_steps: Natural = 50
    """Steps over which the learning rate rises at the start of each phase."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient."""
    log_every: Count = 20
    """Steps between lines of the log."""
    checkpoint_every: Count = 200
    """Steps between saved training states."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs the extra ``tensorboard``)."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.phases[-1].reference:
            raise ValueError(
                f"phases.{len(self.phases) - 1}.reference = true, but the last phase makes the "
                "model of the run: put references before it"
            )
        if self.start_data == "other" and self.start is None:
            raise ValueError('start_data = "other" says what `start` was trained on: give start')
        if self.processes == "auto":
            return self
        named = {"batch_size": self.batch_size}
        for index, phase in enumerate(self.phases):
            if phase.batch_size is not None:
                named[f"phases.{index}.batch_size"] = phase.batch_size
        for name, size in named.items():
            if size % self.processes:
                raise ValueError(
                    f"{name} = {size} must be divisible by processes = {self.processes}"
                )
        return self

    def batch_size_of(self, phase: PhaseConfig) -> int:
        """Cutouts per step of a phase, over all processes."""
        return phase.batch_size or self.batch_size


class ValidationConfig(Section):
    """Sampled validation, which chooses the model of the run."""

    every: Count = 200
    """Steps between validations."""
    n_cutouts: Count = 64
    """Cutouts of the validation split that are sampled."""
    n_members: Annotated[int, Field(ge=2)] = 4
    """Samples of each of them."""
