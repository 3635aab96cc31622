"""How many haloes boxes of 50 Mpc/h should have, of those of an infinite universe.

    python benchmarks/finite_box_counts.py [--boxes 32] [--universes 16]

Tinker et al. (2008) with the variance of the waves that a box holds, whose amplitudes are drawn
anew in each of many universes of the cosmologies of the preset default, over Tinker08 with all
waves: mean and scatter in the bins of mass of the gates, and the same without the scatter of
amplitudes. No simulation; one thread, about two minutes.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace

import numpy as np

from halo_cm import set_verbosity
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.design import plan_box, with_boxes
from halo_cm.universe.expectations import BoxTheory
from halo_cm.universe.measurements import MASS_EDGES

logger = logging.getLogger("halo_cm.benchmarks")


def expected_counts(theory: BoxTheory, rng: np.random.Generator, n: int) -> np.ndarray:
    """Counts of all waves, of the box's waves at their mean power, and of n boxes, (2 + n, 4)."""
    mean = theory.linear(theory.box_k)
    # the power of N modes, of which half are the conjugates of the others, has N degrees of freedom
    modes = theory.box_modes / 2
    powers = [mean, *(mean * rng.gamma(modes) / modes for _ in range(n))]
    rows = [theory.counts(MASS_EDGES, of_box=False)]
    rows += [replace(theory, box_power=p).counts(MASS_EDGES, of_box=True) for p in powers]
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=32)
    parser.add_argument("--universes", type=int, default=16)
    options = parser.parse_args()
    set_verbosity("summary")
    config = with_boxes(UniverseConfig.from_preset("default"), options.boxes)
    rng = np.random.default_rng(0)
    total = np.zeros((2 + options.universes, len(MASS_EDGES) - 1))
    for index in range(options.boxes):
        theory = BoxTheory.of_box(config, plan_box(config, index))
        total += expected_counts(theory, rng, options.universes)
    ratio = total[1:] / total[0]
    logger.info("haloes of Tinker08: %s", np.round(total[0], 1).tolist())
    logger.info("of these, in boxes of waves of mean power: %s", np.round(ratio[0], 3).tolist())
    logger.info("with amplitudes drawn: %s", np.round(ratio[1:].mean(0), 3).tolist())
    logger.info("scatter over universes: %s", np.round(ratio[1:].std(0), 3).tolist())


if __name__ == "__main__":
    main()
