"""What a model was trained on, so that inputs in other units or far away are refused.

A network answers any input. Parameters and the mean mass of each condition map are compared with
their range in the training split:

- A little outside is the tail of the same distribution and no news: a tenth of the range of a
  parameter, a factor of 2 of a mean mass.
- Further outside the network extrapolates, which a warning says.
- Beyond the margin the input is refused. For a parameter the margin is the width of its range, and
  at least half of its size, so that one that training hardly varied can still be varied; M200c in
  place of log10(M200c) lies far beyond. For a mean mass it is 3 dex: means of halo maps span about
  one, while overdensities, logarithms and masses in 1e10 Msun/h lie 10 dex away.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from halo_cm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from halo_cm.containers import Geometry, IntArray

logger = logging.getLogger(__name__)

#: Distance from the range of a parameter without a warning, in units of its width, and the least
#: margin, in units of its size.
_TAIL, _LEAST_MARGIN = 0.1, 0.5
#: Distance of the mean mass of a condition map without a warning, and the margin [dex].
_MASS_TAIL, _MASS_MARGIN = 0.3, 3.0
#: Rows that a message lists.
_MOST_ROWS = 5

#: Whether a warning about all inputs was logged before.
_warned: ContextVar[bool] = ContextVar("already_warned", default=False)


class TrainingRange(nn.Module):
    """Extremes of conditions and parameters of the training split, kept with the weights.

    Parameters
    ----------
    geometry
        Names of the parameters and widths of the condition maps.
    """

    parameter_low: Tensor
    parameter_high: Tensor
    mass_low: Tensor
    mass_high: Tensor
    empty: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self._names = geometry.parameter_names
        self._maps = tuple(f"the {width:g} Mpc/h maps" for width in geometry.scales)
        for name, n in (("parameter", len(self._names)), ("mass", len(self._maps))):
            self.register_buffer(f"{name}_low", torch.full((n,), torch.inf))
            self.register_buffer(f"{name}_high", torch.full((n,), -torch.inf))
        self.register_buffer("empty", torch.zeros(len(self._maps), dtype=torch.bool))

    def add_parameters(self, parameters: Tensor) -> None:
        """Widen the range by parameters of shape (B, P)."""
        self.parameter_low = torch.minimum(self.parameter_low, parameters.amin(0))
        self.parameter_high = torch.maximum(self.parameter_high, parameters.amax(0))

    def add_condition(self, condition: Tensor) -> None:
        """Widen the range by maps of shape (B, S, H, W) [Msun/h per pixel]."""
        log_mean = log_mean_mass(condition)
        empty = log_mean.isneginf()
        self.empty = self.empty | empty.any(0)
        self.mass_low = torch.minimum(self.mass_low, log_mean.masked_fill(empty, torch.inf).amin(0))
        self.mass_high = torch.maximum(self.mass_high, log_mean.amax(0))

    def check(self, condition: Tensor, parameters: Tensor) -> None:
        """Refuse inputs far from the training split, and log a warning about others outside it.

        Parameters
        ----------
        condition, parameters
            In physical units, shapes (B, S, H, W) and (B, P).

        Raises
        ------
        DataError
            If a value is beyond its margin, or a map is empty and none was in training.
        """
        masses = self.masses_outside(log_mean_mass(condition))
        warn([*self.parameters_outside(parameters), *masses])

    def parameters_outside(
        self, parameters: Tensor, rows: Sequence[int] | IntArray | None = None
    ) -> list[str]:
        """What lies outside the training split, to be warned of.

        Parameters
        ----------
        parameters
            In physical units, shape (B, P).
        rows
            Numbers of the rows in messages, shape (B,); from 0 if not given.

        Raises
        ------
        DataError
            If a value is beyond its margin.
        """
        low, high = self.parameter_low.cpu(), self.parameter_high.cpu()
        margin = (high - low).maximum(_LEAST_MARGIN * torch.maximum(low.abs(), high.abs()))
        outside = []
        for i, value, beyond in _farthest(parameters.cpu(), low, high):
            found = f"{self._names[i]} = {value:.6g}, trained on {_range(low[i], high[i])}"
            far = beyond > margin[i]
            if far.any():
                raise DataError(
                    f"parameters: {found}: too far outside in {_listed(far, rows)}; are the unit, "
                    f"the logarithm and the order of the columns ({', '.join(self._names)}) right?"
                )
            if beyond.max() > _TAIL * (high[i] - low[i]):
                outside.append(found)
        return outside

    def masses_outside(
        self, log_mean: Tensor, rows: Sequence[int] | IntArray | None = None
    ) -> list[str]:
        """What lies outside the training split, to be warned of.

        Parameters
        ----------
        log_mean
            Mean masses of condition maps from `log_mean_mass`, shape (B, S).
        rows
            Numbers of the rows in messages, shape (B,); from 0 if not given.

        Raises
        ------
        DataError
            If a value is beyond its margin, or a map is empty and none was in training.
        """
        low, high, log_mean = self.mass_low.cpu(), self.mass_high.cpu(), log_mean.cpu()
        empty = log_mean.isneginf()
        for i in torch.nonzero(empty.any(0) & ~self.empty.cpu()).flatten().tolist():
            raise DataError(
                f"condition: {int(empty[:, i].sum())} of {self._maps[i]} hold no mass, in "
                f"{_listed(empty[:, i], rows)}; no training map was empty: leave these haloes out"
            )
        outside = []
        for i, value, beyond in _farthest(torch.where(empty, low, log_mean), low, high):
            found = (
                f"log10 of the mean mass per pixel [Msun/h] of {self._maps[i]} = {value:.4g}, "
                f"trained on {_range(low[i], high[i])}"
            )
            far = beyond > _MASS_MARGIN
            if far.any():
                raise DataError(
                    f"condition: {found}: too far outside in {_listed(far, rows)}; give DMO mass "
                    "in Msun/h per pixel of the field of view, in all maps, and neither logarithms "
                    "nor overdensities"
                )
            if beyond.max() > _MASS_TAIL:
                outside.append(found)
        return outside


def warn(outside: Sequence[str]) -> None:
    """Log one warning about everything that lies outside the training split."""
    if outside and not _warned.get():
        logger.warning("the model extrapolates: %s", "; ".join(outside))


@contextmanager
def already_warned() -> Iterator[None]:
    """Log no warnings of `warn` inside the block: all its inputs were judged together before."""
    token = _warned.set(True)
    try:
        yield
    finally:
        _warned.reset(token)


def log_mean_mass(condition: Tensor) -> Tensor:
    """log10 of the mean mass per pixel [Msun/h], (B, S, H, W) -> (B, S); -inf for empty maps."""
    return condition.mean((-1, -2), dtype=torch.float64).log10().float()


def listed_rows(rows: Sequence[int] | IntArray) -> str:
    """``row 3``, or ``rows 3, 5, 8 and 20 more``."""
    first = ", ".join(str(int(row)) for row in rows[:_MOST_ROWS])
    more = f" and {len(rows) - _MOST_ROWS} more" if len(rows) > _MOST_ROWS else ""
    return f"row{'s' if len(rows) > 1 else ''} {first}{more}"


def _listed(which: Tensor, rows: Sequence[int] | IntArray | None) -> str:
    places = torch.nonzero(which).flatten().tolist()
    return listed_rows(places if rows is None else [int(rows[place]) for place in places])


def _farthest(values: Tensor, low: Tensor, high: Tensor) -> Iterator[tuple[int, float, Tensor]]:
    """Column, its value that is farthest outside, and the distance of each of its values.

    Only columns in which a value is outside. Distances are negative inside.
    """
    if not len(values):
        return
    beyond = torch.maximum(low - values, values - high)
    most, rows = beyond.max(0)
    for i in torch.nonzero(most > 0).flatten().tolist():
        yield i, float(values[rows[i], i]), beyond[:, i]


def _range(low: Tensor, high: Tensor) -> str:
    return " to ".join(
        f"{end:.4g}" if math.isfinite(end) else "nothing" for end in (float(low), float(high))
    )
