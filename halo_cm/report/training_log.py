"""Reads the training log, one JSON object a line, into curves."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhaseCurve:
    """One phase of a training: losses and validation scores against step.

    Attributes
    ----------
    name
        Name of the objective.
    step, loss
        Shapes (n,); finished steps, counted through all phases, and the mean loss of the steps
        since the line before.
    validation_step, score
        Sampled validation metric, shapes (m,), lower is better.
    kept
        Steps at which the weights became the run's model, shape (l,); the last one is the model of
        the run. Empty for logs of versions that did not write it.
    """

    name: str
    step: FloatArray
    loss: FloatArray
    validation_step: FloatArray
    score: FloatArray
    kept: FloatArray

    @property
    def end(self) -> float:
        """Last step with a loss or a validation."""
        return float(max([self.step[-1], *self.validation_step[-1:]]))


def read_training_log(path: str | Path) -> tuple[PhaseCurve, ...]:
    """Curves of each phase, in the order of training.

    Steps that a resumed training repeated count with their last values. A last line that was cut
    off when a job was killed is left out with a warning.

    Raises
    ------
    DataError
        If the file is missing, a line is not JSON or lacks a key, or no step was logged.
    """
    path = Path(path)
    losses: dict[tuple[int, int], float] = {}
    scores: dict[tuple[int, int], float] = {}
    kept: dict[tuple[int, int], float] = {}
    names: dict[int, str] = {}
    for number, record in _records(path):
        if "candidate" in record:
            continue  # noise levels that were tried after the training
        try:
            phase = int(record["phase_index"])
            place = (phase, int(record["global_step"]))
            names.setdefault(phase, str(record["phase"]))
            if "loss" in record:
                losses[place] = float(record["loss"])
            else:
                scores[place] = float(record["validation"]["score"])
                kept.pop(place, None)
                if record.get("kept"):
                    kept[place] = scores[place]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: {record} is not a line of a training log: {error!r}"
            ) from error
    if not losses:
        raise DataError(f"{path} holds no training step: was the training started?")
    return tuple(
        PhaseCurve(
            names[phase],
            *_column(losses, phase),
            *_column(scores, phase),
            _column(kept, phase)[0],
        )
        for phase in sorted({phase for phase, _ in losses})
    )


def _records(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: train the model first") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            logger.warning("%s: the last line is cut off and left out", path)
    return records


def _column(values: Mapping[tuple[int, int], float], phase: int) -> tuple[FloatArray, FloatArray]:
    chosen = sorted((step, value) for (index, step), value in values.items() if index == phase)
    table = np.array(chosen, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
