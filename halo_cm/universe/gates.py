"""Gates: numbers that a trustworthy universe must reproduce, and what is drawn beside them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Verdict = bool | None

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
        None where the universe cannot be judged; ``reason`` says why.
    reason
        Why it is not judged, or what the tolerance rests on.
    """

    name: str
    measured: float | None
    expected: float
    tolerance: float
    passed: Verdict
    reason: str = ""


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
        Boxes that were simulated again, their haloes above the least mass of a cutout, and cutouts
        of the file that were read.
    seconds
        Wall-clock time of the check.
    topics
        One a panel of the figure.
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

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Gates of all topics."""
        return tuple(gate for topic in self.topics for gate in topic.gates)

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return all(gate.passed is not False for gate in self.gates)

    def topic(self, name: str) -> Topic:
        """The topic of this name."""
        return next(topic for topic in self.topics if topic.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and mappings, as for JSON."""
        return {"passed": self.passed, **_plain(asdict(self))}

    def as_text(self) -> str:
        """One line a judged gate, one a reason why others are not judged, and one with the sum."""
        lines, unjudged = [], Counter[str]()
        for gate in self.gates:
            if gate.passed is None or gate.measured is None:
                unjudged[gate.reason] += 1
                continue
            why = f" ({gate.reason})" if not gate.passed and gate.reason else ""
            lines.append(
                f"{'passed' if gate.passed else 'FAILED':>10}  {gate.name}: {gate.measured:.4g}, "
                f"expected {gate.expected:.4g} +- {gate.tolerance:.2g}{why}"
            )
        lines += [f"not judged  {n} gates: {reason}" for reason, n in unjudged.items()]
        verdicts = [gate.passed for gate in self.gates]
        lines.append(
            f"{self.n_boxes} boxes, {self.n_haloes} haloes: {verdicts.count(True)} passed, "
            f"{verdicts.count(False)} failed, {verdicts.count(None)} not judged"
        )
        return "\n".join(lines)


def gate(
    name: str,
    measured: float,
    expected: float,
    tolerance: float,
    *,
    unjudged: str = "",
    reason: str = "",
) -> Gate:
    """Compare a number with its expectation.

    Parameters
    ----------
    name, measured, expected, tolerance
        As in `Gate`; NaN stands for nothing measured.
    unjudged
        Why the universe cannot be judged by it; empty if it can.
    reason
        What the tolerance rests on.
    """
    if not math.isfinite(measured):
        why = unjudged or "nothing was measured"
        return Gate(name, None, float(expected), float(tolerance), None, why)
    passed = None if unjudged else bool(abs(measured - expected) <= tolerance)
    return Gate(
        name, float(measured), float(expected), float(tolerance), passed, unjudged or reason
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
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
