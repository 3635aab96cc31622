"""Parameters that a user asks the oracle to draw at, checked against the box and the halo."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np

from halo_cm.config.universe import PARAMETER_NAMES, UniverseConfig
from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.universe.latents import Astrophysics

if TYPE_CHECKING:
    from halo_cm.universe.box import Box

logger = logging.getLogger(__name__)

_COSMOLOGICAL, _ASTROPHYSICAL = PARAMETER_NAMES[:2], PARAMETER_NAMES[2:6]
_MASS = PARAMETER_NAMES[6]
#: Masses of one halo agree to this [dex].
_MASS_TOLERANCE = 1e-3
#: Ends of a range as float32, as in files, agree with those of the configuration to this.
_ROUNDING = 1e-6


def as_astrophysics(
    parameters: Astrophysics | Mapping[str, float] | FloatArray, box: Box, halo: int | None = None
) -> Astrophysics:
    """Astrophysical parameters from a mapping or a row of a cutout file.

    Values outside the ranges of the universe are logged as a warning.

    Parameters
    ----------
    parameters
        `Astrophysics`, a mapping from names, or a row of the variable ``parameters`` of a file.
    box
        Its cosmology must be that of the parameters, if they hold one.
    halo
        Its mass must be that of the parameters, if they hold one; any if not given.

    Raises
    ------
    DataError
        If a name is missing or unknown, the row has another length, a value is no finite number or
        lies outside its range by more than the width of that, or the cosmology or the mass is not
        that of the box or the halo.
    """
    if isinstance(parameters, Astrophysics):
        given: Mapping[str, object] = dict(zip(_ASTROPHYSICAL, astuple(parameters), strict=True))
    elif isinstance(parameters, Mapping):
        given = parameters
    else:
        row = np.asarray(parameters)
        if row.shape not in ((len(PARAMETER_NAMES),), (len(PARAMETER_NAMES) - 1,)):
            raise DataError(
                f"parameters have shape {row.shape}, expected ({len(PARAMETER_NAMES)},): "
                f"{', '.join(PARAMETER_NAMES)}"
            )
        given = dict(zip(PARAMETER_NAMES, row.tolist(), strict=False))
    missing = [name for name in _ASTROPHYSICAL if name not in given]
    unknown = [str(name) for name in given if name not in PARAMETER_NAMES]
    if missing or unknown:
        raise DataError(
            f"parameters: missing {', '.join(missing) or 'none'}, unknown "
            f"{', '.join(unknown) or 'none'}; expected {', '.join(_ASTROPHYSICAL)}"
        )
    values = {name: _finite(name, value) for name, value in given.items()}
    cosmology = box.plan.cosmology
    ours = (cosmology.omega_m, cosmology.sigma_8)
    for name, value in zip(_COSMOLOGICAL, ours, strict=True):
        if name in values and not np.isclose(values[name], value, rtol=1e-5):
            raise DataError(
                f"parameters: {name} = {values[name]:.6g}, but box {box.index} was simulated "
                f"with {value:.6g}: take another box"
            )
    if halo is not None and _MASS in values:
        _check_mass(values[_MASS], box, halo)
    _check_ranges(values, box.config)
    return Astrophysics(*(values[name] for name in _ASTROPHYSICAL))


def _finite(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"parameters: {name} = {value}, expected one finite number")
    return number


def _check_mass(log10_mass: float, box: Box, halo: int) -> None:
    """A row of a cutout file must be of the halo that is drawn."""
    masses = np.log10(box.matter.haloes.m200)
    if abs(log10_mass - masses[halo]) <= _MASS_TOLERANCE:
        return
    nearest = int(box.chosen[np.argmin(np.abs(masses[box.chosen] - log10_mass))])
    owner = f"no halo of box {box.index}"
    if abs(log10_mass - masses[nearest]) <= _MASS_TOLERANCE:
        owner = f"halo {nearest}"
    raise DataError(
        f"parameters: {_MASS} = {log10_mass:.6g}, but halo {halo} of box {box.index} has "
        f"{masses[halo]:.6g}: the row is of {owner}; take the row of the halo, or leave "
        f"{_MASS} out"
    )


def _check_ranges(values: Mapping[str, float], config: UniverseConfig) -> None:
    """Refuse values for which the model of the baryons was not made, and warn near them."""
    outside = []
    for name in _ASTROPHYSICAL:
        low, high = getattr(config, name.lower())
        value, size = values[name], max(abs(low), abs(high))
        beyond = max(low - value, value - high)
        if beyond <= _ROUNDING * size:
            continue
        # a parameter that is not varied has no width
        margin = high - low if high > low else 0.5 * size
        positive = value >= 0 if name == "s_scatter" else value > 0
        if beyond > margin or not positive:
            limits = f"{max(low - margin, 0):.6g} to {high + margin:.6g}"
            raise DataError(
                f"parameters: {name} = {value:.6g}: too far outside the range of the universe, "
                f"{low:.6g} to {high:.6g}; expected a positive value within {limits}; is it a "
                "logarithm, and in the right unit, as its name says?"
            )
        outside.append(f"{name} = {value:.6g}, varied from {low:.6g} to {high:.6g}")
    if outside:
        logger.warning("draws outside the ranges of the universe: %s", "; ".join(outside))
