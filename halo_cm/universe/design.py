"""What is varied from box to box and from draw to draw: Sobol designs, and the sets 1P and CV.

The names are those of CAMELS (Villaescusa-Navarro et al. 2021, arXiv:2010.00619): in ``1P`` one
parameter is varied at a time around the fiducial values, always with the same random phases; in
``CV`` the parameters are fiducial and the phases differ. Fiducial values are the centres of the
ranges, that of A_star in its logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from halo_cm.config.universe import VARIATIONS_1P, UniverseConfig
from halo_cm.seeding import generator
from halo_cm.universe.cosmology import Cosmology
from halo_cm.universe.latents import Astrophysics

#: Cosmological parameters, then astrophysical ones, as fields of the configuration.
_COSMOLOGICAL = ("omega_m", "sigma_8")
_ASTROPHYSICAL = ("log10_mc", "theta_ej", "a_star", "s_scatter")


@dataclass(frozen=True)
class BoxPlan:
    """Parameters and random streams of one box.

    Attributes
    ----------
    cosmology
        Cosmology of the box.
    draws
        Astrophysical parameters of each of its draws.
    phases
        Number that names the random streams of the box: boxes of equal phases have the same initial
        conditions but for the amplitudes of the modes.
    streams
        Number that names the random streams of each draw: draws of equal streams have the same
        latent variables.
    """

    cosmology: Cosmology
    draws: tuple[Astrophysics, ...]
    phases: int
    streams: tuple[int, ...]

    def words(self, draw: int, realization: int) -> tuple[int | str, ...]:
        """Name of the random stream of a draw, behind the seed of the universe."""
        return ("box", self.phases, "draw", self.streams[draw], "realization", realization)


def plan_box(config: UniverseConfig, box: int) -> BoxPlan:
    """Plan of a box.

    Raises
    ------
    IndexError
        If there is no such box.
    """
    if not 0 <= box < config.n_boxes:
        raise IndexError(f"box {box} of {config.n_boxes}")
    if config.design == "1P":
        return _one_parameter(config, box)
    if config.design == "CV":
        values = _at(config, {})
        return BoxPlan(_cosmology(config, values), (_astrophysics(values),), box, (0,))
    return _sobol(config, box)


def with_boxes(config: UniverseConfig, n_boxes: int) -> UniverseConfig:
    """The same universe with at least so many boxes, of which the first are its own.

    A set 1P is not extended: all its boxes have the same phases.
    """
    missing = n_boxes - config.n_boxes
    if missing <= 0 or config.design == "1P":
        return config
    # after the boxes of all splits, so that those keep their indices and with these their phases
    return config.model_copy(update={"n_test_boxes": config.n_test_boxes + missing})


def sobol_design(
    n: int, ranges: list[tuple[float, float]], *words: int | str
) -> NDArray[np.float64]:
    """First ``n`` points of a randomly shifted Sobol sequence in a box (Cranley & Patterson 1976).

    A longer design starts with the points of a shorter one.

    Parameters
    ----------
    n
        Number of points.
    ranges
        Lower and upper end of each dimension.
    *words
        Name of the random stream of the shift.

    Returns
    -------
    NDArray
        Points, shape (n, len(ranges)).
    """
    low, high = np.array(ranges, dtype=float).T
    points = qmc.Sobol(len(ranges), scramble=False).random_base2(math.ceil(math.log2(max(n, 2))))
    shift = generator(*words).random(len(ranges))
    return low + (high - low) * ((points[:n] + shift) % 1.0)


def _sobol(config: UniverseConfig, box: int) -> BoxPlan:
    """A design in the cosmology over boxes, and one in the astrophysics over all draws."""
    ranges = [getattr(config, name) for name in _COSMOLOGICAL]
    cosmology = sobol_design(config.n_boxes, ranges, config.seed, "cosmology")[box]
    ranges = [_scaled(name, getattr(config, name)) for name in _ASTROPHYSICAL]
    first, last = box * config.n_draws, (box + 1) * config.n_draws
    points = sobol_design(last, ranges, config.seed, "astrophysics")[first:]
    draws = [_from_scaled(dict(zip(_ASTROPHYSICAL, p.tolist(), strict=True))) for p in points]
    return BoxPlan(
        _cosmology(config, dict(zip(_COSMOLOGICAL, cosmology.tolist(), strict=True))),
        tuple(_astrophysics(values) for values in draws),
        box,
        tuple(range(config.n_draws)),
    )


def _one_parameter(config: UniverseConfig, box: int) -> BoxPlan:
    """Box 0 is fiducial and holds every astrophysical variation; each other varies the cosmology.

    The same phases and streams throughout.
    """
    fiducial = _at(config, {})
    if box:
        which, step = divmod(box - 1, len(VARIATIONS_1P))
        values = _at(config, {_COSMOLOGICAL[which]: VARIATIONS_1P[step]})
        return BoxPlan(_cosmology(config, values), (_astrophysics(values),), 0, (0,))
    varied = [_at(config, {name: at}) for name in _ASTROPHYSICAL for at in VARIATIONS_1P]
    draws = tuple(_astrophysics(values) for values in (fiducial, *varied))
    return BoxPlan(_cosmology(config, fiducial), draws, 0, (0,) * len(draws))


def _at(config: UniverseConfig, places: dict[str, float]) -> dict[str, float]:
    """Values of all parameters: at the centre of the range, or at the given part of it."""
    values = {}
    for name in (*_COSMOLOGICAL, *_ASTROPHYSICAL):
        low, high = _scaled(name, getattr(config, name))
        values[name] = low + places.get(name, 0.5) * (high - low)
    return _from_scaled(values)


def _scaled(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """Range in the scale in which a parameter is varied evenly."""
    return (math.log(ends[0]), math.log(ends[1])) if name == "a_star" else ends


def _from_scaled(values: dict[str, float]) -> dict[str, float]:
    return {**values, "a_star": math.exp(values["a_star"])}


def _cosmology(config: UniverseConfig, values: dict[str, float]) -> Cosmology:
    return Cosmology(
        omega_m=values["omega_m"],
        sigma_8=values["sigma_8"],
        omega_b=config.omega_b,
        hubble=config.hubble,
        spectral_index=config.spectral_index,
    )


def _astrophysics(values: dict[str, float]) -> Astrophysics:
    return Astrophysics(*(values[name] for name in _ASTROPHYSICAL))
