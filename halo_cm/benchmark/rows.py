"""What a benchmark compares: one row for each model and step count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from halo_cm.containers import Cutouts, FloatArray

#: (cutouts (N), members R, seed) -> mass per pixel [Msun/h], shape (N, R, C, H, W).
Generate = Callable[[Cutouts, int, int], FloatArray]

#: How members are scored: as an ensemble (fair CRPS), as the one possible prediction (absolute
#: error, which is its CRPS), or as one exact draw. Exact draws X, X' and the truth Y share one
#: distribution, so that their fair CRPS, E|X - Y| - E|X - X'| / 2, is E|X - Y| / 2: one suffices.
Scoring = Literal["ensemble", "deterministic", "exact_draw"]


@dataclass(frozen=True)
class Row:
    """One model and step count to be evaluated.

    Attributes
    ----------
    name, n_sampling_steps, nfe
        Name of the model, its steps and its network evaluations a field; None where there are none.
    generate
        Makes R samples for each cutout. It is called with parts of the test split, and with a seed
        that differs between parts.
    kind
        ``"floor"`` for what a good model must beat.
    scoring
        ``"deterministic"`` if there is only one possible prediction, as a posterior mean.
    members
        Samples for each halo, if not as many as for the other rows; 1 unless an ensemble.
    training_core_seconds
        Processor time of the training [s], if it is known.
    """

    name: str
    n_sampling_steps: int | None
    nfe: int | None
    generate: Generate
    kind: Literal["model", "floor"] = "model"
    scoring: Scoring = "ensemble"
    members: int | None = None
    training_core_seconds: float | None = None

    @property
    def label(self) -> str:
        """Name for figures and tables, with the number of steps."""
        return row_label(self.name, self.n_sampling_steps)

    def n_members(self, default: int) -> int:
        """Samples for each halo."""
        if self.scoring != "ensemble":
            return 1
        return default if self.members is None else self.members


def row_label(name: str, n_sampling_steps: int | None) -> str:
    """Name for figures and tables: ``"consistency, 2 steps"``."""
    if n_sampling_steps is None:
        return name
    return f"{name}, {n_sampling_steps} step{'s' if n_sampling_steps > 1 else ''}"
