"""What a training has cost, written into the description of its models."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """Cost of a training, with that of the weights it started from.

    Attributes
    ----------
    core_seconds
        CPU time of all processes, validations included [s].
    wall_seconds
        Time on the clock while it ran [s].
    steps
        Optimiser steps.
    cost_complete
        Whether everything was recorded: false if the weights came from a file, or the run from a
        state, without a record.
    """

    core_seconds: float = 0.0
    wall_seconds: float = 0.0
    steps: int = 0
    cost_complete: bool = True

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.core_seconds + other.core_seconds,
            self.wall_seconds + other.wall_seconds,
            self.steps + other.steps,
            self.cost_complete and other.cost_complete,
        )

    def as_dict(self) -> dict[str, Any]:
        """For files; times to a millisecond."""
        return {
            **asdict(self),
            "core_seconds": round(self.core_seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
        }

    @classmethod
    def recorded(cls, facts: Mapping[str, Any], source: str) -> Cost:
        """Cost that ``facts`` hold, or an incomplete one, which the log says.

        Parameters
        ----------
        facts
            Training record of a model, or a saved state.
        source
            Name of it for the log.
        """
        names = cls.__dataclass_fields__
        if not all(name in facts for name in names):
            logger.warning(
                "%s holds no record of its cost: what was spent for it is not counted, and "
                "cost_complete is false",
                source,
            )
            return cls(cost_complete=False)
        return cls(**{name: facts[name] for name in names})


class Meter:
    """Measures this process from its making on.

    Parameters
    ----------
    before
        What was spent before.
    total
        Sum of a number over all processes, which call it together.

    Attributes
    ----------
    steps
        Optimiser steps since the meter was made, counted by its owner.
    """

    def __init__(self, before: Cost, total: Callable[[float], float]) -> None:
        self.before, self._total, self.steps = before, total, 0
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def read(self) -> Cost:
        """Everything spent so far; all processes must ask together."""
        core = self._total(time.process_time() - self._cpu)
        return self.before + Cost(core, time.monotonic() - self._wall, self.steps)
