"""From masses to the numbers that a network sees, and back.

Dark matter and gas are learned as the ratio to a mean relation of the input: the DMO mass times
the cosmic share of each component. The network then models only what the input does not tell.

    y_dm   = log10(1 + m_dm  / m0) - log10(1 + (1 - f_b) m_dmo / m0)
    y_gas  = log10(1 + m_gas / m0) - log10(1 + f_b m_dmo / m0)
    y_star = (m_star / m0)^p

with f_b = Omega_b / Omega_m. Three quarters of the star pixels are empty and the others span six
decades, a few of which carry the mass and the power spectrum. A root keeps the empty pixels at an
exact zero, leaves the bright end resolution, and an error in it is not exponentiated. Decoded
star pixels fainter than about one stellar particle are empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from halo_cm.data.ranges import TrainingRange
from halo_cm.errors import DataError
from halo_cm.units import CHANNELS

if TYPE_CHECKING:
    from halo_cm.config.schema import NormalizationConfig
    from halo_cm.containers import Cutouts, Geometry

#: Width of the smooth step in `Normalization.occupied`, in units of the faintest root mass.
_SOFTNESS = 0.2

#: Cutouts handled at a time while statistics are measured.
_CHUNK = 256


@dataclass(frozen=True)
class Batch:
    """One batch as the objectives see it (B cutouts).

    Attributes
    ----------
    x_clean
        Normalised targets, shape (B, C, H, W).
    condition, parameters
        Normalised, shapes (B, S, H, W) and (B, P).
    target, raw_condition, raw_parameters
        The same in physical units [Msun/h per pixel].
    rows
        Indices of the cutouts in their split, for messages, shape (B,).
    """

    x_clean: Tensor
    condition: Tensor
    parameters: Tensor
    target: Tensor
    raw_condition: Tensor
    raw_parameters: Tensor
    rows: Tensor


class Normalization(nn.Module):
    """Transforms of conditions, parameters and targets, with statistics of the training split.

    Parameters
    ----------
    config
        Which transforms.
    geometry
        Meaning of the channels and parameters.

    Raises
    ------
    DataError
        If the mean relation needs Omega_m and the parameters do not hold it, or the channels are
        not dark matter, gas and stars in this order.

    Attributes
    ----------
    trained
        Range of the conditions and parameters of the training split.
    """

    condition_mean: Tensor
    condition_std: Tensor
    parameter_mean: Tensor
    parameter_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    target_low: Tensor
    target_high: Tensor

    def __init__(self, config: NormalizationConfig, geometry: Geometry) -> None:
        super().__init__()
        self.config, self.geometry = config, geometry
        names = geometry.parameter_names
        if "Omega_m" not in names:
            raise DataError(
                "the parameters hold no 'Omega_m', which the mean baryon fraction "
                f"Omega_b / Omega_m needs; found {', '.join(names)}"
            )
        if tuple(geometry.channels) != CHANNELS:
            raise DataError(
                f"channel: found {', '.join(geometry.channels)}, expected {', '.join(CHANNELS)}, "
                "each with its own transform; bring `target` and `channel` of the cutout file "
                "into this order and leave out others"
            )
        self._omega_m = names.index("Omega_m")
        sizes = {
            "condition": len(geometry.scales),
            "parameter": len(names),
            "target": len(geometry.channels),
        }
        for name, size in sizes.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("target_low", torch.full((sizes["target"],), -torch.inf))
        self.register_buffer("target_high", torch.full((sizes["target"],), torch.inf))
        self.trained = TrainingRange(geometry)

    @classmethod
    def fit(cls, config: NormalizationConfig, train: Cutouts) -> Normalization:
        """Measure the statistics on the training split.

        Raises
        ------
        DataError
            If there are no targets or no cutouts.
        """
        if len(train) == 0 or train.target is None:
            raise DataError("the training split holds no cutouts with targets")
        self = cls(config, train.geometry)
        moments = {name: _Moments() for name in ("condition", "parameter", "target")}
        parameters = _tensor(train.parameters)
        moments["parameter"].add(parameters)
        self.trained.add_parameters(parameters)
        for start in range(0, len(train), _CHUNK):
            part = slice(start, start + _CHUNK)
            condition, target = _tensor(train.condition[part]), _tensor(train.target[part])
            moments["condition"].add(self._log(condition))
            self.trained.add_condition(condition)
            moments["target"].add(self._transform(target, condition, parameters[part]))
        for name, m in moments.items():
            mean, std = m.mean_and_std()
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_std").copy_(torch.where(std > 0, std, 1.0))
        low, high = moments["target"].low, moments["target"].high
        self.target_low.copy_((low - self.target_mean) / self.target_std)
        self.target_high.copy_((high - self.target_mean) / self.target_std)
        return self

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the normalised targets: every channel is scaled to one."""
        return 1.0

    def encode_condition(self, condition: Tensor) -> Tensor:
        """Normalised condition (B, S, H, W) of masses per pixel [Msun/h]."""
        mean, std = _over_pixels(self.condition_mean), _over_pixels(self.condition_std)
        return (self._log(condition) - mean) / std

    def encode_parameters(self, parameters: Tensor) -> Tensor:
        """Normalised parameters (B, P).

        Raises
        ------
        DataError
            If Omega_m does not exceed Omega_b.
        """
        lowest = parameters[:, self._omega_m].min() if len(parameters) else torch.inf
        if lowest <= self.geometry.omega_b:
            raise DataError(
                f"parameters: Omega_m = {float(lowest):.4g} must exceed Omega_b = "
                f"{self.geometry.omega_b:.4g}; are the columns in the order "
                f"{', '.join(self.geometry.parameter_names)}?"
            )
        return (parameters - self.parameter_mean) / self.parameter_std

    def encode(self, target: Tensor, condition: Tensor, parameters: Tensor, rows: Tensor) -> Batch:
        """Batch of physical fields [Msun/h per pixel] and raw parameters."""
        y = self._transform(target, condition, parameters)
        x_clean = (y - _over_pixels(self.target_mean)) / _over_pixels(self.target_std)
        return Batch(
            x_clean=x_clean,
            condition=self.encode_condition(condition),
            parameters=self.encode_parameters(parameters),
            target=target,
            raw_condition=condition,
            raw_parameters=parameters,
            rows=rows,
        )

    def decode(self, x: Tensor, condition: Tensor, parameters: Tensor) -> Tensor:
        """Mass per pixel [Msun/h] of normalised fields, bounded to the range of the training set.

        Parameters
        ----------
        x
            Normalised fields, shape (B, C, H, W).
        condition, parameters
            In physical units, shapes (B, S, H, W) and (B, P).
        """
        low, high = _over_pixels(self.target_low), _over_pixels(self.target_high)
        y = torch.clamp(x, low, high) * _over_pixels(self.target_std)
        y = y + _over_pixels(self.target_mean)
        m0 = self.config.mass_floor
        smooth = m0 * (10 ** (y[:, :2] + self._baseline(condition, parameters)) - 1).clamp(min=0)
        star = m0 * y[:, 2:].clamp(min=0) ** (1 / self.config.star_exponent)
        return torch.cat([smooth, torch.where(star >= self.config.star_threshold, star, 0.0)], 1)

    def roots(self, mass: Tensor) -> Tensor:
        """``(m / m0)^p`` of each channel, gentle on faint and bright pixels alike."""
        return (mass / self.config.mass_floor).clamp(min=1e-6) ** self.config.star_exponent

    def occupied(self, x: Tensor) -> Tensor:
        """Which star pixels of normalised fields are occupied, 0 or 1, shape (B, 1, H, W).

        Its gradient is that of a smooth step around the faintest mass that is kept (a
        straight-through estimate); without such a limit it is 0.
        """
        config = self.config
        faintest = (config.star_threshold / config.mass_floor) ** config.star_exponent
        if faintest == 0:
            return torch.zeros_like(x[:, 2:])
        y = x[:, 2:] * self.target_std[2:].view(-1, 1, 1) + self.target_mean[2:].view(-1, 1, 1)
        smooth = torch.sigmoid((y / faintest - 1) / _SOFTNESS)
        return (y >= faintest).to(y.dtype) + smooth - smooth.detach()

    def _transform(self, target: Tensor, condition: Tensor, parameters: Tensor) -> Tensor:
        smooth = self._log(target[:, :2]) - self._baseline(condition, parameters)
        star = (target[:, 2:] / self.config.mass_floor) ** self.config.star_exponent
        return torch.cat([smooth, star], 1)

    def _baseline(self, condition: Tensor, parameters: Tensor) -> Tensor:
        """Log of the mean relation for dark matter and gas, shape (B, 2, H, W); 0 if unused."""
        dmo = condition[:, :1]
        if self.config.targets == "log":
            return torch.zeros_like(dmo).expand(-1, 2, *dmo.shape[2:])
        f_b = (self.geometry.omega_b / parameters[:, self._omega_m]).view(-1, 1, 1, 1)
        return self._log(torch.cat([(1 - f_b) * dmo, f_b * dmo], 1))

    def _log(self, mass: Tensor) -> Tensor:
        return torch.log10(1 + mass / self.config.mass_floor)


class _Moments:
    """Mean, standard deviation and range over everything but the second axis, in double."""

    def __init__(self) -> None:
        self.n = 0
        self.sum = self.squares = torch.zeros(())
        self.low = self.high = torch.zeros(())

    def add(self, x: Tensor) -> None:
        flat = x.transpose(0, 1).flatten(1).double()
        low, high = flat.amin(1), flat.amax(1)
        self.low = low if self.n == 0 else torch.minimum(self.low, low)
        self.high = high if self.n == 0 else torch.maximum(self.high, high)
        self.n += flat.shape[1]
        self.sum = self.sum + flat.sum(1)
        self.squares = self.squares + flat.square().sum(1)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.n
        return mean, (self.squares / self.n - mean**2).clamp(min=0).sqrt()


def _over_pixels(statistic: Tensor) -> Tensor:
    return statistic.view(-1, 1, 1)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
