"""Gates: numbers that a trustworthy universe must reproduce, and what is drawn beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Verdict = bool | None

#: Verdicts in words.
VERDICTS: dict[Verdict, str] = {True: "passed", False: "failed", None: "not judged"}

#: Fewest haloes of a stack.
FEWEST_HALOES = 8


@dataclass(frozen=True)
class Gate:
    """One number against its expectation.

    Attributes
    ----------
    name
        What is measured, with its unit.
    measured
        Its value; None where there is nothing to measure.
    expected, tolerance
        The gate: ``|measured - expected| <= tolerance``.
    passed
        False also where nothing could be measured; None where the universe cannot be judged, for a
        ``reason`` that is known beforehand.
    reason
        Why it is not judged, or what the tolerance rests on.
    details
        Further numbers behind the verdict, by name.
    """

    name: str
    measured: float | None
    expected: float
    tolerance: float
    passed: Verdict
    reason: str = ""
    details: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def found(self) -> str:
        """The measured number in words."""
        return "not measured" if self.measured is None else f"{self.measured:.4g}"


@dataclass(frozen=True)
class Curve:
    """A line of a panel.

    Attributes
    ----------
    label
        What it is.
    kind
        ``measured``, ``expected``, ``reference`` (other simulations), ``points`` (single haloes) or
        ``gate`` (expectation with its tolerance).
    x, y
        Points.
    error
        One standard deviation of each point, if known: of the measurement, or the width of the
        expectation.
    """

    label: str
    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Topic:
    """A panel: what was measured, what is expected, and the gates on it.

    Attributes
    ----------
    name
        Short name.
    title
        What it shows.
    curves
        Measurements and expectations.
    gates
        The gates.
    note
        What the expectation rests on.
    """

    name: str
    title: str
    curves: tuple[Curve, ...]
    gates: tuple[Gate, ...]
    note: str = ""

    @property
    def passed(self) -> Verdict:
        """Whether all gates that can be judged are passed; None if there is none."""
        judged = [gate.passed for gate in self.gates if gate.passed is not None]
        return all(judged) if judged else None


@dataclass(frozen=True)
class UniverseCheck:
    """Result of `check_universe`.

    Attributes
    ----------
    path, preset, seed, fingerprint
        The file, and the universe it holds.
    n_boxes, n_haloes, n_cutouts
        Boxes that were simulated again with draws, haloes of all boxes above the least mass of a
        cutout, and cutouts of the file that were read.
    seconds
        Wall-clock time of the check.
    topics
        One a panel of the figure.
    n_further_boxes
        Boxes that were simulated without draws, for the gates on gravity.
    """

    path: str
    preset: str
    seed: int
    fingerprint: str
    n_boxes: int
    n_haloes: int
    n_cutouts: int
    seconds: float
    topics: tuple[Topic, ...]
    n_further_boxes: int = 0

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Gates of all topics."""
        return tuple(gate for topic in self.topics for gate in topic.gates)

    @property
    def n_judged(self) -> int:
        """Gates that were judged."""
        return sum(gate.passed is not None for gate in self.gates)

    @property
    def n_passed(self) -> int:
        """Gates that passed."""
        return sum(gate.passed is True for gate in self.gates)

    @property
    def passed(self) -> Verdict:
        """False if a gate failed, True if none did and each topic was judged, None otherwise."""
        if self.n_passed < self.n_judged:
            return False
        return True if all(topic.passed is not None for topic in self.topics) else None

    @property
    def verdict(self) -> str:
        """``passed`` in words: passed, failed, or not judged."""
        return VERDICTS[self.passed]

    @property
    def summary(self) -> str:
        """How many gates passed, failed and were not judged."""
        n_failed, n_unjudged = self.n_judged - self.n_passed, len(self.gates) - self.n_judged
        failed = f", {n_failed} failed" if n_failed else ""
        passed = f"passed {self.n_passed} of {self.n_judged} judged"
        return f"{passed}{failed}, {n_unjudged} not judged"

    @property
    def boxes(self) -> str:
        """How many boxes were simulated, in words."""
        further = f" and {self.n_further_boxes} without draws" if self.n_further_boxes else ""
        return f"{self.n_boxes} box{'' if self.n_boxes == 1 else 'es'}{further}"

    def topic(self, name: str) -> Topic:
        """The topic of this name."""
        return next(topic for topic in self.topics if topic.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and mappings, as for JSON."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "n_judged": self.n_judged,
            "n_passed": self.n_passed,
            **_plain(asdict(self)),
        }

    def as_text(self) -> str:
        """One line a judged gate, one a reason why others are not judged, and one with the sum."""
        lines, unjudged = [], Counter[str]()
        for gate in self.gates:
            if gate.passed is None:
                unjudged[gate.reason] += 1
                continue
            why = f" ({gate.reason})" if not gate.passed and gate.reason else ""
            lines.append(
                f"{'passed' if gate.passed else 'FAILED':>10}  {gate.name}: {gate.found}, "
                f"expected {gate.expected:.4g} +- {gate.tolerance:.2g}{why}"
            )
        lines += [f"not judged  {n} gates: {reason}" for reason, n in unjudged.items()]
        verdict = self.verdict.upper() if self.passed is False else self.verdict
        lines.append(f"{verdict}: {self.boxes}, {self.n_haloes} haloes: {self.summary}")
        return "\n".join(lines)


def gate(
    name: str,
    measured: float,
    expected: float,
    tolerance: float,
    *,
    unjudged: str = "",
    reason: str = "",
    details: Mapping[str, float] | None = None,
) -> Gate:
    """Compare a number with its expectation; what could not be measured fails.

    Parameters
    ----------
    name, measured, expected, tolerance
        As in `Gate`; NaN stands for nothing measured.
    unjudged
        Why the universe cannot be judged by it; empty if it can.
    reason
        What the tolerance rests on.
    details
        Further numbers behind the verdict.
    """
    known = math.isfinite(measured)
    passed = None if unjudged else bool(abs(measured - expected) <= tolerance)
    return Gate(
        name=name,
        measured=float(measured) if known else None,
        expected=float(expected),
        tolerance=float(tolerance),
        passed=passed,
        reason=unjudged or (reason if known else "nothing was measured"),
        details={
            key: float(value) if math.isfinite(value) else None
            for key, value in (details or {}).items()
        },
    )


def curve(
    label: str, kind: str, x: ArrayLike, y: ArrayLike, error: ArrayLike | None = None
) -> Curve:
    """A line of the points that are finite, whatever their error."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    errors = np.zeros(len(y)) if error is None else np.nan_to_num(np.asarray(error, float))
    known = np.isfinite(x) & np.isfinite(y)
    columns = [tuple(column[known].tolist()) for column in (x, y, errors)]
    return Curve(label, kind, columns[0], columns[1], None if error is None else columns[2])


def too_few(n_haloes: int) -> str:
    """Why a stack of haloes cannot be judged; empty if it can."""
    if n_haloes >= FEWEST_HALOES:
        return ""
    return f"{n_haloes} haloes, and the gate needs {FEWEST_HALOES}"


def no_waves(largest: float, longest: float) -> str:
    """Why a band up to ``largest`` cannot be judged, with the k of the longest waves [h/Mpc].

    Empty if it can.
    """
    if largest > 1.5 * longest:
        return ""
    return f"no waves of the box lie in the band: the longest have k = {longest:.2g} h/Mpc"


def error_of_mean(values: Array) -> Array:
    """Standard error over the first axis (boxes); NaN for a single one."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    error: Array = values.std(0, ddof=1) / math.sqrt(len(values))
    return error


def centres(edges: tuple[float, ...]) -> Array:
    """Geometric middles of neighbouring edges."""
    return np.sqrt(np.array(edges[1:]) * np.array(edges[:-1]))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
