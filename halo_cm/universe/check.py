"""The physics gates: boxes of a cutout file's universe simulated again, measured and judged."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from os import PathLike

from halo_cm.config.universe import UniverseConfig
from halo_cm.processes import Report, available_cores, run_jobs
from halo_cm.progress import progress
from halo_cm.universe.design import plan_box
from halo_cm.universe.gates import Topic, UniverseCheck
from halo_cm.universe.gravity_gates import (
    growth_topic,
    mass_function_topic,
    power_topic,
    profiles_topic,
)
from halo_cm.universe.hydro_gates import (
    conservation_topic,
    fraction_topics,
    stars_topic,
    suppression_topic,
)
from halo_cm.universe.measurements import (
    Array,
    BoxMeasurement,
    CutoutMeasurement,
    measure_box,
    measure_cutouts,
    measure_growth,
    n_reports,
)
from halo_cm.universe.oracle import universe_of

logger = logging.getLogger(__name__)

#: The gates are set for boxes whose particles lie at most this far apart [Mpc/h], and for so many.
FINEST_SPACING, FEWEST_BOXES = 0.4, 8
#: Most boxes that are simulated again: their counts have Poisson errors of 7 to 30% by bin.
MOST_BOXES = 8


def check_universe(path: str | PathLike[str], *, workers: int | None = None) -> UniverseCheck:
    """Test the physics of the universe that a cutout file was made from.

    The first boxes are simulated again from the configuration in the file, with three draws each at
    fixed parameters; conservation of mass and star pixels are measured in the file's own cutouts.
    Gates that the resolution or the number of boxes does not allow are measured, but not judged.

    Parameters
    ----------
    path
        A cutout file of `halo-cm simulate`.
    workers
        Parallel processes of one thread each; one per available core if not given. The result does
        not depend on it.

    Returns
    -------
    UniverseCheck
        Gates and curves; ``as_dict`` for JSON, ``as_text`` to read, and
        `halo_cm.report.universe.universe_figure` to look at.

    Raises
    ------
    DataError
        If the file cannot be read, has no hydrodynamic fields, or was made by another version of
        the universe.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    start = time.monotonic()
    config = universe_of(path)
    cutouts = measure_cutouts(path)
    n_boxes = min(config.n_boxes, MOST_BOXES)
    boxes, growth = _measure(config, n_boxes, workers or available_cores())
    found = UniverseCheck(
        path=str(path),
        preset=config.preset,
        seed=config.seed,
        fingerprint=config.fingerprint(),
        n_boxes=n_boxes,
        n_haloes=sum(box.haloes.shape[1] for box in boxes),
        n_cutouts=cutouts.n_rows,
        seconds=round(time.monotonic() - start, 1),
        topics=judge(config, boxes, growth, cutouts),
    )
    for gate in found.gates:
        if gate.passed is False:
            logger.warning(
                "%s: %s, expected %.4g +- %.2g",
                gate.name,
                gate.found,
                gate.expected,
                gate.tolerance,
            )
    return found


def judge(
    config: UniverseConfig,
    boxes: Sequence[BoxMeasurement],
    growth: Array,
    cutouts: CutoutMeasurement,
) -> tuple[Topic, ...]:
    """Topics with their gates, from the measurements of boxes, of gravity and of the file.

    Parameters
    ----------
    config
        The universe.
    boxes
        Its boxes.
    growth
        Of `measure_growth`.
    cutouts
        Of `measure_cutouts`.
    """
    spacing = config.boxsize / config.n_particles
    coarse = ""
    if spacing > FINEST_SPACING:
        coarse = (
            f"particles lie {spacing:.2g} Mpc/h apart, and the gate is set for {FINEST_SPACING} "
            "Mpc/h or less"
        )
    few, longest = coarse, 2 * math.pi / config.boxsize
    n_phases = len({plan_box(config, i).phases for i in range(len(boxes))})
    if n_phases < FEWEST_BOXES and not coarse:
        few = f"{n_phases} boxes of different phases, and the gate is set for {FEWEST_BOXES}"
    return (
        mass_function_topic(boxes, few),
        power_topic(boxes, few, longest),
        growth_topic(growth, coarse),
        profiles_topic(boxes, coarse),
        suppression_topic(boxes, config.omega_b, few, longest),
        *fraction_topics(boxes, coarse),
        conservation_topic(boxes, cutouts, coarse),
        stars_topic(cutouts, coarse),
    )


def _measure(
    config: UniverseConfig, n_boxes: int, workers: int
) -> tuple[list[BoxMeasurement], Array]:
    """Measurements of each box, and the growth of linear modes, whose job comes first."""
    growth_job = config.n_boxes
    jobs = [growth_job, *range(n_boxes)]
    results: dict[int, BoxMeasurement | Array] = {}
    total = n_boxes * n_reports(config) + config.n_steps
    with progress("check", total) as task:
        tasks = [partial(_work, config, growth_job)] * workers
        for job, result in run_jobs(tasks, jobs, noun="box", on_step=task.advance):
            results[job] = result
    growth = results.pop(growth_job)
    return [results[box] for box in range(n_boxes)], growth  # type: ignore[return-value, misc]


def _work(
    config: UniverseConfig, growth_job: int, job: int, report: Report
) -> BoxMeasurement | Array:
    if job == growth_job:
        return measure_growth(config, report)
    return measure_box(config, job, report)
