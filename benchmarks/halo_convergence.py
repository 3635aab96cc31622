"""Do halo masses depend on the mesh and the time steps? The same boxes with more of both.

    python benchmarks/halo_convergence.py [--boxes 0 3] [--mesh 256] [--steps 50]

Boxes of the preset `default` (192^3 cells, 25 steps) and again with ``--mesh`` and ``--steps``: the
mean ratio of M80c, which the finder measures, of the heaviest haloes of the first to the nearest of
the second (within 0.7 Mpc/h), with the standard error of this mean, as if haloes were independent,
and the numbers of haloes above some M200c. Haloes that scatter above others in the first run alone
make the ratio too low.
A minute a box.
"""

from __future__ import annotations

import argparse

import numpy as np

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.box import find_matter, particles_today
from halo_cm.universe.design import plan_box
from halo_cm.universe.haloes import Haloes, periodic_difference

HEAVIEST, SAME = (10, 30), 0.7
MASSES = (1e13, 2e13, 5e13, 1e14)


def haloes_of(config: UniverseConfig, box: int) -> Haloes:
    """Haloes of a box of the universe."""
    plan = plan_box(config, box)
    return find_matter(config, plan, particles_today(config, plan)).haloes


def ratios(coarse: Haloes, fine: Haloes, boxsize: float) -> np.ndarray:
    """M80c of the heaviest haloes in the finer run over that in the coarser, where both have it."""
    found = []
    for position, mass in zip(coarse.position[: HEAVIEST[-1]], coarse.m80, strict=False):
        distance = np.linalg.norm(periodic_difference(fine.position - position, boxsize), axis=1)
        nearest = distance.argmin()
        found.append(fine.m80[nearest] / mass if distance[nearest] < SAME else np.nan)
    return np.array(found)


def main() -> None:
    """Print a line for each box and the mean of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--mesh", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    config = UniverseConfig.from_preset("default")
    finer = config.model_copy(update={"n_mesh": options.mesh, "n_steps": options.steps})
    all_ratios = []
    for box in options.boxes:
        coarse, fine = haloes_of(config, box), haloes_of(finer, box)
        all_ratios.append(ratios(coarse, fine, config.boxsize))
        counts = ", ".join(
            f"{(coarse.m200 > m).sum()} and {(fine.m200 > m).sum()} above {m:.0e}" for m in MASSES
        )
        print(f"box {box}: {counts}", flush=True)
    for n in HEAVIEST:
        some = np.concatenate([ratio[:n] for ratio in all_ratios])
        some = some[np.isfinite(some)]
        error = some.std(ddof=1) / np.sqrt(len(some))
        print(f"M80c of the {n} heaviest of each: {some.mean():.3f} +- {error:.3f} ({len(some)})")


if __name__ == "__main__":
    main()
