"""Halo counts against Tinker08 itself, in boxes wide enough to hold the waves that matter.

    python benchmarks/large_box_counts.py [--boxes 8] [--width 2] [--workers N]

Boxes of the cosmologies of the preset default but ``--width`` times as wide, with as many particles
and mesh cells to a volume: haloes in the bins of mass of the gates, over Tinker et al. (2008) and
over Tinker08 with the variance of the waves that these boxes hold, with Poisson errors of the
ratios. Processes of one thread; of twice the width 3 GB and six minutes a box.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial

import numpy as np

from halo_cm import set_verbosity
from halo_cm.config.universe import UniverseConfig
from halo_cm.processes import available_cores, run_jobs
from halo_cm.universe.design import with_boxes
from halo_cm.universe.measurements import MASS_EDGES, measure_gravity

logger = logging.getLogger("halo_cm.benchmarks")


def wider(width: int, n_boxes: int) -> UniverseConfig:
    """The preset default with boxes ``width`` times as wide, of the same resolution."""
    config = UniverseConfig.from_preset("default")
    scaled = {name: width * getattr(config, name) for name in ("boxsize", "n_particles", "n_mesh")}
    return with_boxes(config.model_copy(update=scaled), n_boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=8)
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    set_verbosity("summary")
    config = wider(options.width, options.boxes)
    total = np.zeros((3, len(MASS_EDGES) - 1))
    tasks = [partial(measure_gravity, config)] * options.workers
    for index, box in run_jobs(tasks, range(options.boxes), noun="box"):
        total += box.counts
        logger.info("box %d: %s", index, np.round(box.counts, 1).tolist())
        found, tinker, of_waves = total
        logger.info("all so far: found %s", found.astype(int).tolist())
        for name, expected in (("Tinker08", tinker), ("Tinker08 for these waves", of_waves)):
            ratio, error = (np.round(x / expected, 3).tolist() for x in (found, np.sqrt(found)))
            logger.info("  over %s %s, +- %s", name, ratio, error)


if __name__ == "__main__":
    main()
