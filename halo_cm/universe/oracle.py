"""The oracle: exact draws of p(hydro | DMO box, parameters), as many as wanted.

The embedded universe is the only paired suite whose conditional distribution can be drawn. The
condition of the oracle is the whole three-dimensional box; a network that sees projections alone
also marginalises over what they hide, so that joint tests (scores, classifiers) are exact and
histograms for a single condition are exact up to that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from halo_cm.config.universe import UniverseConfig
from halo_cm.containers import SPLITS, FloatArray, Geometry
from halo_cm.data.cutouts import CutoutWriter, read_geometry
from halo_cm.errors import ConfigError, DataError
from halo_cm.processes import Report
from halo_cm.progress import progress
from halo_cm.universe.baryons import HydroDraw
from halo_cm.universe.box import Box, geometry, n_gravity_reports
from halo_cm.universe.design import plan_box
from halo_cm.universe.given import as_astrophysics
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.parts import Parts, make_in_parts


def universe_of(path: str | PathLike[str]) -> UniverseConfig:
    """Configuration of the universe that a cutout file was made from.

    Raises
    ------
    DataError
        If the file cannot be read, does not come from an embedded universe, or comes from one of
        another physics, whose boxes cannot be simulated again.
    """
    provenance = read_geometry(path).provenance
    try:
        config = UniverseConfig.model_validate_json(str(provenance.get("universe")))
    except ValidationError as error:
        raise DataError(
            f"{path}: its attribute 'universe' does not hold the configuration of an embedded "
            "universe of this version of halo_cm; make a file with `halo-cm simulate`"
        ) from error
    found = provenance.get("universe_fingerprint")
    if found != config.fingerprint():
        raise DataError(
            f"{path}: its attribute 'universe_fingerprint' is {found}, expected "
            f"{config.fingerprint()}: a version of halo_cm with another physics made it, whose "
            "boxes cannot be simulated again; make the file anew: `halo-cm simulate --overwrite`"
        )
    return config


def open_box(source: str | PathLike[str] | UniverseConfig, index: int) -> Box:
    """Simulate a box of a universe again, for `draw_conditional`: half a minute on one core.

    Parameters
    ----------
    source
        A cutout file of `halo-cm simulate`, or the configuration of a universe.
    index
        Index of the box, as in the variable ``box`` of the file.

    Raises
    ------
    DataError
        If the file does not come from an embedded universe, or has no such box.
    """
    config = source if isinstance(source, UniverseConfig) else universe_of(source)
    if not 0 <= index < config.n_boxes:
        raise DataError(
            f"there is no box {index}: the universe has boxes 0 to {config.n_boxes - 1}"
        )
    with progress(f"box {index}", n_gravity_reports(config)) as task:
        return Box.simulate(config, index, report=task.advance)


def draw_conditional(
    box: Box,
    halo: int,
    parameters: Astrophysics | Mapping[str, float] | FloatArray,
    n: int,
    seed: int,
    *,
    axis: int = 0,
) -> NDArray[np.float32]:
    """Exact hydrodynamic draws of one cutout, given its box and the parameters.

    Each draw is one of the whole box, so that neighbours vary too (about a second on one core).

    Parameters
    ----------
    box
        From `open_box` or `Box.simulate`.
    halo
        Index of the halo, as in the variable ``halo`` of a cutout file.
    parameters
        Astrophysical parameters: `Astrophysics`, a mapping from their names, or a row of the
        variable ``parameters`` of a cutout file (whose cosmology must be that of the box).
    n
        Number of draws.
    seed
        Fixes the draws. The same seed at other parameters gives the same latent variables.
    axis
        Axis of projection.

    Returns
    -------
    NDArray
        Mass per pixel [Msun/h], shape (n, 3, n_pixels, n_pixels). Its condition is
        ``box.conditions(axis, np.array([halo]))[0]``.

    Raises
    ------
    DataError
        If the box has no cutout of this halo, the parameters do not fit the box or the halo, or
        they lie far outside the ranges of the universe.
    """
    box.check_chosen([halo])
    if axis not in (0, 1, 2):
        raise DataError(f"axis must be 0, 1 or 2, found {axis}")
    if n < 1 or seed < 0:
        raise DataError(f"n must be at least 1 and seed not negative, found {n} and {seed}")
    values = as_astrophysics(parameters, box, halo)
    draws = []
    with progress(f"draws of halo {halo}", n) as task:
        for draw in _draws(box, values, n, (seed, "conditional")):
            draws.append(box.targets(draw, axis, [halo])[0])
            task.advance()
    return np.stack(draws)


@dataclass(frozen=True)
class OracleOptions:
    """Size of a set of exact draws.

    Attributes
    ----------
    n_haloes
        Cutouts of the boxes, spread over masses, projections and parameter vectors.
    n_draws
        Exact draws of each.
    n_parameters
        Parameter vectors of each box; every one costs ``n_draws`` draws of the whole box.
    split
        Whose boxes: ``"test"``, or another one, to tell what a model has not learnt from what it
        has not seen.
    n_boxes
        How many of them, spread evenly; all if not given.
    """

    n_haloes: int = 64
    n_draws: int = 64
    n_parameters: int = 4
    split: str = "test"
    n_boxes: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_haloes", "n_draws", "n_parameters", "n_boxes"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"{name} must be at least 1, found {number}")
        if self.split not in SPLITS:
            raise ConfigError(
                f"split {self.split!r} is unknown, expected one of {', '.join(SPLITS)}"
            )

    def as_dict(self) -> dict[str, int | str]:
        """For the file; what has its default since before there was a choice is left out."""
        usual = {"split": "test", "n_boxes": None}
        return {k: v for k, v in vars(self).items() if k not in usual or v != usual[k]}


def simulate_oracle(
    config: UniverseConfig,
    path: str | PathLike[str],
    options: OracleOptions | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write exact draws of cutouts of the boxes of a split, in the layout of a cutout file.

    The draws of one cutout are neighbouring rows with ``realization`` 0 to n_draws - 1; they are
    independent of those in the universe's own file. Interrupted calls continue.

    Parameters
    ----------
    config
        The universe.
    path
        The file.
    options
        Number of haloes and draws.
    workers, overwrite
        As for `halo_cm.universe.simulate.simulate`.

    Raises
    ------
    ConfigError
        If the universe has no box of this split, or fewer than are asked for.
    DataError
        If a box has too few haloes, or ``path`` holds something else.
    OutputError
        If a file cannot be written.
    """
    options = options or OracleOptions()
    jobs = _jobs(config, options)
    parts = Parts(
        title="draw the oracle",
        noun="oracle",
        names=tuple(f"oracle_{job.box:03d}_{job.draw:03d}" for job in jobs),
        steps=(n_gravity_reports(config) + options.n_draws,) * len(jobs),
        make=partial(_draw_part, config, options, jobs),
        geometry=_oracle_geometry(config, options),
    )
    return make_in_parts(parts, path, workers=workers, overwrite=overwrite)


#: Raised when other haloes are chosen for the same options.
_CHOICE = 2


@dataclass(frozen=True)
class _Job:
    """Cutouts of one box that share one parameter vector.

    ``phase`` in [0, 1) shifts the choice of haloes, so that jobs of one box show different ones.
    """

    box: int
    draw: int
    n_haloes: int
    phase: float


def _jobs(config: UniverseConfig, options: OracleOptions) -> list[_Job]:
    boxes = _boxes(config, options)
    pairs = []
    for box in boxes:
        n_draws = len(plan_box(config, box).draws)
        n = min(options.n_parameters, n_draws, max(options.n_haloes // len(boxes), 1))
        pairs += [(box, int(j)) for j in np.unique(np.linspace(0, n_draws - 1, n).round())]
    pairs = pairs[: options.n_haloes]
    shares = np.diff(np.linspace(0, options.n_haloes, len(pairs) + 1).round().astype(int))
    return [
        _Job(box, draw, int(n), _phase([j for b, j in pairs if b == box], draw))
        for (box, draw), n in zip(pairs, shares, strict=True)
    ]


def _boxes(config: UniverseConfig, options: OracleOptions) -> list[int]:
    split = options.split
    boxes = [b for b in range(config.n_boxes) if SPLITS[config.split_of(b)] == split]
    if not boxes:
        raise ConfigError(
            f"the universe has no {split} box, n_{split}_boxes = 0: no oracle can be drawn"
        )
    n = len(boxes) if options.n_boxes is None else options.n_boxes
    if n > len(boxes):
        raise ConfigError(
            f"n_boxes is {n}, but the universe has {len(boxes)} {split} box(es): ask for fewer"
        )
    return [boxes[i] for i in np.linspace(0, len(boxes) - 1, n).round().astype(int)]


def _phase(draws_of_box: list[int], draw: int) -> float:
    return draws_of_box.index(draw) / len(draws_of_box)


def _oracle_geometry(config: UniverseConfig, options: OracleOptions) -> Geometry:
    """Geometry whose fingerprint tells the oracle from the universe itself."""
    shared = geometry(config)
    about = json.dumps(options.as_dict(), sort_keys=True)
    words = f"{config.fingerprint()} oracle {_CHOICE} {about}"
    fingerprint = hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
    return replace(
        shared, provenance={**shared.provenance, "fingerprint": fingerprint, "oracle": about}
    )


def _draw_part(
    config: UniverseConfig,
    options: OracleOptions,
    jobs: list[_Job],
    part: int,
    path: Path,
    report: Report,
) -> None:
    """All draws of one parameter vector of one box; every draw serves all its cutouts."""
    job = jobs[part]
    box = _box(config, job.box, report)
    parameters, axis = box.plan.draws[job.draw], box.plan.streams[job.draw] % 3
    views = _views(box, job.n_haloes, axis, job.phase)
    targets: dict[int, list[NDArray[np.float32]]] = {axis: [] for axis in views}
    for draw in _draws(box, parameters, options.n_draws, ("oracle", job.draw)):
        for axis, haloes in views.items():
            targets[axis].append(box.targets(draw, axis, haloes))
        report()
    with CutoutWriter(
        path, _oracle_geometry(config, options), job.n_haloes * options.n_draws
    ) as writer:
        for axis, haloes in views.items():
            writer.append(box.cutouts(np.stack(targets[axis]), haloes, axis, parameters, job.draw))


def _views(box: Box, n: int, first_axis: int, phase: float) -> dict[int, NDArray[np.integer]]:
    """``n`` cutouts as haloes by axis: spread over all masses, more axes where haloes are few."""
    everything = [(h, (first_axis + i) % 3) for i in range(3) for h in box.chosen]
    if n > len(everything):
        raise DataError(
            f"box {box.index} has {len(box.chosen)} haloes in 3 projections, but {n} cutouts of it "
            "are wanted for each parameter vector: lower n_haloes or raise n_parameters"
        )
    most = max(n, len(box.chosen))
    places = np.floor((np.arange(n) + phase) * most / n).astype(int)
    views: dict[int, list[int]] = {}
    for place in places:
        halo, axis = everything[place]
        views.setdefault(axis, []).append(int(halo))
    return {axis: np.array(haloes) for axis, haloes in views.items()}


def _draws(
    box: Box, parameters: Astrophysics, n: int, words: tuple[int | str, ...]
) -> Iterator[HydroDraw]:
    for r in range(n):
        yield box.draw(parameters, "box", box.plan.phases, *words, "realization", r)


#: The box that this process drew from last.
_last_box: dict[tuple[str, int], Box] = {}


def _box(config: UniverseConfig, index: int, report: Report) -> Box:
    """A box, kept for the next part of this process."""
    key = (config.fingerprint(), index)
    if key in _last_box:
        for _ in range(n_gravity_reports(config)):
            report()
    else:
        _last_box.clear()
        _last_box[key] = Box.simulate(config, index, report=report)
    return _last_box[key]
