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
from halo_cm.universe.design import plan_box, with_boxes
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
    GravityMeasurement,
    measure_box,
    measure_cutouts,
    measure_gravity,
    measure_growth,
    n_gravity_only_reports,
    n_reports,
)
from halo_cm.universe.oracle import universe_of

logger = logging.getLogger(__name__)

#: The gates are set for boxes whose particles lie at most this far apart [Mpc/h], and for so many.
FINEST_SPACING, FEWEST_BOXES = 0.4, 8
#: Most boxes with draws that are simulated again.
MOST_BOXES = 8
#: Boxes whose haloes are counted, if not told otherwise: six minutes on two cores. Of 50 Mpc/h,
#: they have Poisson errors of 5, 6, 12 and 18% in the bins of mass; 32 have 15% at most.
COUNTED_BOXES = 20

Result = BoxMeasurement | GravityMeasurement | Array


def check_universe(
    path: str | PathLike[str], *, workers: int | None = None, n_boxes: int | None = None
) -> UniverseCheck:
    """Test the physics of the universe that a cutout file was made from.

    The first boxes are simulated again from the configuration in the file, up to `MOST_BOXES` with
    three draws each at fixed parameters and the others without; conservation of mass and star
    pixels are measured in the file's own cutouts. Where the file has fewer boxes than ``n_boxes``,
    further ones come from the same design, with phases and cosmologies that the file does not
    have. Gates that the resolution or the number of boxes does not allow are measured, but not
    judged.

    Parameters
    ----------
    path
        A cutout file of `halo-cm simulate`.
    workers
        Parallel processes of one thread each; one per available core if not given. The result does
        not depend on it.
    n_boxes
        Boxes in which haloes are counted and P(k) is measured. If not given `COUNTED_BOXES`, or as
        many of the file's as are simulated with draws if its particles are too few to be judged.

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
    for name, number in (("workers", workers), ("n_boxes", n_boxes)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, found {number}")
    start = time.monotonic()
    config = universe_of(path)
    cutouts = measure_cutouts(path)
    n_drawn = min(config.n_boxes, MOST_BOXES, n_boxes or MOST_BOXES)
    # where nothing can be judged by them, more boxes tell nothing
    n_counted = n_boxes or (n_drawn if _too_coarse(config) else max(COUNTED_BOXES, n_drawn))
    whole = with_boxes(config, n_counted)
    n_counted = min(n_counted, whole.n_boxes)
    boxes, further, growth = _measure(whole, n_drawn, n_counted, workers or available_cores())
    gravity = [*(box.gravity for box in boxes), *further]
    found = UniverseCheck(
        path=str(path),
        preset=config.preset,
        seed=config.seed,
        fingerprint=config.fingerprint(),
        n_boxes=n_drawn,
        n_haloes=sum(len(box.profiles) for box in gravity),
        n_cutouts=cutouts.n_rows,
        seconds=round(time.monotonic() - start, 1),
        topics=judge(whole, boxes, growth, cutouts, further),
        n_further_boxes=len(further),
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
    further: Sequence[GravityMeasurement] = (),
) -> tuple[Topic, ...]:
    """Topics with their gates, from the measurements of boxes, of gravity and of the file.

    Parameters
    ----------
    config
        The universe.
    boxes
        Its first boxes, with draws.
    growth
        Of `measure_growth`.
    cutouts
        Of `measure_cutouts`.
    further
        The boxes that follow, without draws.
    """
    coarse, longest = _too_coarse(config), 2 * math.pi / config.boxsize
    gravity = [*(box.gravity for box in boxes), *further]
    few = coarse or _too_few_phases(config, len(gravity))
    few_drawn = coarse or _too_few_phases(config, len(boxes))
    return (
        mass_function_topic(gravity, few),
        power_topic(gravity, few, longest),
        growth_topic(growth, coarse),
        profiles_topic(gravity, coarse),
        suppression_topic(boxes, config.omega_b, few_drawn, longest),
        *fraction_topics(boxes, coarse),
        conservation_topic(boxes, cutouts, coarse),
        stars_topic(cutouts, coarse),
    )


def _too_coarse(config: UniverseConfig) -> str:
    """Why particles of this spacing cannot be judged; empty if they can."""
    spacing = config.boxsize / config.n_particles
    if spacing <= FINEST_SPACING:
        return ""
    return (
        f"particles lie {spacing:.2g} Mpc/h apart, and the gate is set for {FINEST_SPACING} Mpc/h "
        "or less"
    )


def _too_few_phases(config: UniverseConfig, n_boxes: int) -> str:
    """Why the first boxes cannot be judged by their mean; empty if they can."""
    n_phases = len({plan_box(config, i).phases for i in range(n_boxes)})
    if n_phases >= FEWEST_BOXES:
        return ""
    boxes = "1 box" if n_phases == 1 else f"{n_phases} boxes of different phases"
    return f"{boxes}, and the gate is set for {FEWEST_BOXES}"


def _measure(
    config: UniverseConfig, n_drawn: int, n_counted: int, workers: int
) -> tuple[list[BoxMeasurement], list[GravityMeasurement], Array]:
    """The boxes with draws, the boxes without, and the growth of linear modes."""
    growth_job = config.n_boxes
    # the longest jobs first
    jobs = [*range(n_drawn), growth_job, *range(n_drawn, n_counted)]
    results: dict[int, Result] = {}
    total = n_drawn * n_reports(config) + config.n_steps
    total += (n_counted - n_drawn) * n_gravity_only_reports(config)
    with progress("check", total) as task:
        tasks = [partial(_work, config, n_drawn, growth_job)] * workers
        for job, result in run_jobs(tasks, jobs, noun="box", on_step=task.advance):
            results[job] = result
    boxes = [results[box] for box in range(n_drawn)]
    further = [results[box] for box in range(n_drawn, n_counted)]
    return boxes, further, results[growth_job]  # type: ignore[return-value]


def _work(
    config: UniverseConfig, n_drawn: int, growth_job: int, job: int, report: Report
) -> Result:
    if job == growth_job:
        return measure_growth(config, report)
    if job < n_drawn:
        return measure_box(config, job, report)
    return measure_gravity(config, job, report)
