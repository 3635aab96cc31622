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
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from halo_cm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halo_cm.containers import Geometry

logger = logging.getLogger(__name__)

#: Distance from the range of a parameter without a warning, in units of its width, and the least
#: margin, in units of its size.
_TAIL, _LEAST_MARGIN = 0.1, 0.5
#: Distance of the mean mass of a condition map without a warning, and the margin [dex].
_MASS_TAIL, _MASS_MARGIN = 0.3, 3.0


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
        log_mean = _log_mean(condition)
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
        if len(parameters) == 0:
            return
        outside = [*self._parameters_outside(parameters), *self._masses_outside(condition)]
        if outside:
            logger.warning("the model extrapolates: %s", "; ".join(outside))

    def _parameters_outside(self, parameters: Tensor) -> Iterator[str]:
        low, high = self.parameter_low.cpu(), self.parameter_high.cpu()
        margin = (high - low).maximum(_LEAST_MARGIN * torch.maximum(low.abs(), high.abs()))
        for i, value, trained in _farthest(parameters.cpu(), low, high):
            name, beyond = self._names[i], max(low[i] - value, value - high[i])
            found = f"{name} = {value:.6g}, trained on {trained}"
            if beyond > margin[i]:
                raise DataError(
                    f"parameters: {found}: too far outside; are the unit, the logarithm and the "
                    f"order of the columns ({', '.join(self._names)}) right?"
                )
            if beyond > _TAIL * (high[i] - low[i]):
                yield found

    def _masses_outside(self, condition: Tensor) -> Iterator[str]:
        low, high, log_mean = self.mass_low.cpu(), self.mass_high.cpu(), _log_mean(condition.cpu())
        empty = log_mean.isneginf()
        for i in torch.nonzero(empty.any(0) & ~self.empty.cpu()).flatten().tolist():
            rows = torch.nonzero(empty[:, i]).flatten()
            raise DataError(
                f"condition: {len(rows)} of {self._maps[i]} hold no mass, the first in row "
                f"{rows[0]}; no training map was empty: leave these haloes out"
            )
        log_mean = torch.where(empty, low, log_mean)
        for i, value, trained in _farthest(log_mean, low, high):
            beyond = max(low[i] - value, value - high[i])
            found = (
                f"log10 of the mean mass per pixel [Msun/h] of {self._maps[i]} = {value:.4g}, "
                f"trained on {trained}"
            )
            if beyond > _MASS_MARGIN:
                raise DataError(
                    f"condition: {found}: too far outside; give DMO mass in Msun/h per pixel of "
                    "the field of view, in all maps, and neither logarithms nor overdensities"
                )
            if beyond > _MASS_TAIL:
                yield found


def _farthest(values: Tensor, low: Tensor, high: Tensor) -> Iterator[tuple[int, float, str]]:
    """Column, its value that is farthest outside, and its range in words, where any is outside."""
    beyond, rows = torch.maximum(low - values, values - high).max(0)
    for i in torch.nonzero(beyond > 0).flatten().tolist():
        yield i, float(values[rows[i], i]), f"{_short(low[i])} to {_short(high[i])}"


def _short(value: Tensor) -> str:
    number = float(value)
    return f"{number:.4g}" if math.isfinite(number) else "nothing"


def _log_mean(condition: Tensor) -> Tensor:
    """log10 of the mean mass per pixel [Msun/h], (B, S, H, W) -> (B, S); -inf for empty maps."""
    return condition.mean((-1, -2), dtype=torch.float64).log10().float()
