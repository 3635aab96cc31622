"""Noise levels of several-step samples, chosen on validation data.

The family is small, because the score of samples is noisy: the levels of a model and geometric
sequences between ends of which one is shifted from its own by a factor of two (of one level alone,
also by its root; of more than four steps, the last level alone, because they are dear). Every
candidate is scored on the same noise, and one of them takes the place of the model's own levels
only if it is better by `CLEAR_GAIN`, about the noise of the score on 64 cutouts x 4 samples
(docs/training.md).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from halo_cm.errors import ConfigError
from halo_cm.training.checkpoint import MODEL_KIND, read_tensors, write_tensors
from halo_cm.training.validation import Validator

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from halo_cm.containers import Cutouts
    from halo_cm.emulator import Emulator

    Levels = tuple[float, ...]

#: Numbers of steps whose levels are chosen.
CHOSEN_STEPS = (2, 4, 8)
#: Smaller gains of the score are noise.
CLEAR_GAIN = 0.01
#: Factors on (first level, last level) of the model's own.
_LAST_SHIFTED = ((1.0, 2.0), (1.0, 0.5))
_SHIFTS = (*_LAST_SHIFTED, (2.0, 1.0), (0.5, 1.0))
_SHIFTS_OF_ONE = (0.5, math.sqrt(0.5), math.sqrt(2), 2.0)


@dataclass(frozen=True)
class Candidate:
    """Levels after sigma_max for ``n_steps`` steps."""

    n_steps: int
    levels: tuple[float, ...]


@dataclass(frozen=True)
class LevelChoice:
    """What a search found.

    Attributes
    ----------
    scores
        Validation score of every candidate, lower is better; the first one of each number of steps
        holds the levels that the model had.
    """

    scores: Mapping[Candidate, float]

    @property
    def levels(self) -> dict[int, tuple[float, ...]]:
        """Best levels for each number of steps: the model's own unless another is clearly better.

        Equal scores are decided by the order of the candidates.
        """
        chosen: dict[int, tuple[float, ...]] = {}
        for own in self._own():
            rivals = [c for c in self.scores if c.n_steps == own.n_steps]
            best = min(rivals, key=lambda c: self.scores[c])
            clear = self.scores[own] - self.scores[best] > CLEAR_GAIN
            chosen[own.n_steps] = best.levels if clear else own.levels
        return chosen

    def as_dict(self) -> dict[str, Any]:
        """For the description of a model: score of the chosen levels and of those before."""
        found = self.levels
        return {
            str(own.n_steps): {
                "levels": list(found[own.n_steps]),
                "score": self.scores[Candidate(own.n_steps, found[own.n_steps])],
                "score_before": self.scores[own],
            }
            for own in self._own()
        }

    def _own(self) -> list[Candidate]:
        first: dict[int, Candidate] = {}
        for candidate in self.scores:
            first.setdefault(candidate.n_steps, candidate)
        return list(first.values())


class LevelSearch:
    """The candidates for a model, and their scores.

    Parameters
    ----------
    emulator
        A consistency model.
    validator
        Scores samples.
    steps
        Numbers of steps, each 2 or more, for which the model has levels.

    Raises
    ------
    ConfigError
        If the model is sampled in another way or knows no such number of steps.
    """

    def __init__(self, emulator: Emulator, validator: Validator, steps: Sequence[int]) -> None:
        if emulator.sampler.name != "consistency":
            raise ConfigError(
                f"levels are chosen for consistency models, this one is sampled by "
                f"{emulator.sampler.name}"
            )
        self._emulator, self._validator = emulator, validator
        known = emulator.config.sampling.known_steps(emulator.config.diffusion)
        unknown = [n for n in steps if n < 2 or n not in known]
        if unknown:
            raise ConfigError(
                f"steps {unknown}: the model has levels for {', '.join(map(str, known[1:]))} steps;"
                " choose among these or add sampling.levels"
            )
        self.candidates = [c for n in steps for c in candidates(emulator, n)]

    def score(self, candidate: Candidate) -> float:
        """Validation score of the model at these levels; the model keeps its own."""
        trial = copy.copy(self._emulator)  # the same weights
        levels = {candidate.n_steps: candidate.levels}
        trial.use_sampling(trial.config.sampling.with_levels(levels))
        return self._validator.score(trial, candidate.n_steps).score


def candidates(emulator: Emulator, n_steps: int) -> list[Candidate]:
    """The model's own levels for ``n_steps`` steps, then the other members of the family."""
    diffusion = emulator.config.diffusion
    own = emulator.config.sampling.all_levels(diffusion)[n_steps]
    family: list[Levels]
    if n_steps == 2:
        family = [_geometric(own[0] * a, own[0] * a, 1) for a in _SHIFTS_OF_ONE]
    else:
        shifts = _SHIFTS if n_steps <= 4 else _LAST_SHIFTED
        family = [_geometric(own[0] * a, own[-1] * b, n_steps - 1) for a, b in shifts]
    allowed = [
        levels
        for levels in family
        if diffusion.sigma_min < levels[-1] <= levels[0] < diffusion.sigma_max
        and all(b < a for a, b in pairwise(levels))
    ]
    return [Candidate(n_steps, levels) for levels in dict.fromkeys([own, *allowed])]


def choose_levels(
    emulator: Emulator,
    cutouts: Cutouts,
    *,
    steps: Sequence[int] = CHOSEN_STEPS,
    n_cutouts: int = 64,
    n_members: int = 4,
    seed: int = 0,
) -> LevelChoice:
    """Search the noise levels of a trained consistency model on validation data.

    Parameters
    ----------
    emulator
        From `ModelManager.load`; it is not changed.
    cutouts
        Of a split that is neither trained nor tested on, with targets.
    steps
        Numbers of steps to choose levels for.
    n_cutouts, n_members
        Cutouts used and samples drawn for each; the noise of the score falls with both.
    seed
        Of the samples.

    Returns
    -------
    LevelChoice
        `store_levels` puts it into the model file.

    Raises
    ------
    ConfigError
        If the model is no consistency model, or knows no such number of steps.
    DataError
        If the cutouts do not fit the model.
    """
    search = LevelSearch(emulator, Validator(cutouts, n_cutouts, n_members, seed), steps)
    return LevelChoice({c: search.score(c) for c in search.candidates})


def store_levels(path: str | os.PathLike[str], choice: LevelChoice) -> None:
    """Make chosen levels those of a model file; its weights stay as they are, bit by bit.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    OutputError
        If it cannot be written.
    """
    describe(path, {"levels": choice.as_dict()}, choice.levels)


def describe(
    path: str | os.PathLike[str],
    training: Mapping[str, Any],
    levels: Mapping[int, tuple[float, ...]],
) -> None:
    """Add facts of its training, and noise levels, to the description of a model file."""
    facts, tensors = read_tensors(path, MODEL_KIND)
    facts["training"] = {**facts["training"], **training}
    sampling = facts["config"]["sampling"]
    given = {str(n): list(chosen) for n, chosen in levels.items()}
    sampling["levels"] = {**sampling["levels"], **given}
    facts.setdefault("trained_with", facts["versions"])
    header = {k: v for k, v in facts.items() if k not in ("kind", "format_version", "versions")}
    write_tensors(path, MODEL_KIND, tensors, header)


def _geometric(first: float, last: float, n: int) -> Levels:
    """``n`` falling levels, rounded to three digits as people write them."""
    return tuple(float(f"{level:.3g}") for level in np.geomspace(first, last, n))
