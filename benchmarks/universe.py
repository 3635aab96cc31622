"""Cost of the embedded universe: CPU seconds and memory by stage of one box, and a whole universe.

    python benchmarks/universe.py [--preset default] [--draws 7] [--whole] [--out costs.json]

One box is made stage by stage in one thread; the costs of the preset follow from it. ``--whole``
also simulates 8 boxes x 7 draws of the preset with one process per core, as `halo-cm simulate`.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from halo_cm import set_verbosity
from halo_cm.atomic import write_json
from halo_cm.config.universe import PRESETS, UniverseConfig
from halo_cm.data.cutouts import open_cutouts
from halo_cm.processes import available_cores
from halo_cm.universe import box as chain
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.design import plan_box
from halo_cm.universe.maps import Projector
from halo_cm.universe.simulate import simulate

logger = logging.getLogger("halo_cm.benchmarks")
Costs = dict[str, dict[str, float]]
#: 8 boxes x 7 draws, about 2,600 cutouts.
WHOLE = {
    "n_train_boxes": 6,
    "n_validation_boxes": 1,
    "n_test_boxes": 1,
    "n_draws": 7,
    "n_test_realizations": 1,
    "n_projections": 1,
}


def main() -> None:
    """Run the benchmark and report it on the terminal and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--box", type=int, default=0)
    parser.add_argument("--draws", type=int, default=7)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_verbosity("summary")
    torch.set_num_threads(1)
    result = {}
    if arguments.whole:  # first: the peak of this process would count for its children too
        result["whole"] = measure_whole(UniverseConfig.from_preset(arguments.preset, **WHOLE))
    config = UniverseConfig.from_preset(arguments.preset)
    result |= measure(config, arguments.box, arguments.draws)
    logger.info("%s", json.dumps(result, indent=2))
    if arguments.out:
        write_json(arguments.out, result)


def measure(config: UniverseConfig, box: int, n_draws: int) -> dict[str, Any]:
    """CPU seconds and peak memory [GB] after each stage of one box."""
    costs: Costs = {}
    plan = plan_box(config, box)
    with _stage(costs, "gravity"):
        positions = chain.particles_today(config, plan)
    with _stage(costs, "haloes"):
        matter = chain.find_matter(config, plan, positions)
    with _stage(costs, "projector"):
        model, projector = BaryonModel(matter, config.baryons), Projector(matter, config.n_map)
    single: list[float] = []
    for j in range(n_draws):
        before = costs.get("draw", {}).get("cpu_s", 0.0)
        with _stage(costs, "draw"):
            draw = model.draw(plan.draws[j % len(plan.draws)], config.seed, "benchmark", j)
        single.append(costs["draw"]["cpu_s"] - before)
        for axis in range(config.n_projections):
            with _stage(costs, "projection"):
                projector.project(draw, axis)
    heavy = int((matter.haloes.m200 >= config.min_halo_mass).sum())
    for name, parts in (("draw", n_draws), ("projection", n_draws * config.n_projections)):
        costs[name]["cpu_s"] /= parts
    repeats = sum(
        len(plan_box(config, b).draws) * config.n_realizations(b) for b in range(config.n_boxes)
    )
    fixed = sum(costs[name]["cpu_s"] for name in ("gravity", "haloes", "projector"))
    per_draw = costs["draw"]["cpu_s"] + config.n_projections * costs["projection"]["cpu_s"]
    return {
        "preset": config.preset,
        "stages": costs,
        "draw_cpu_s_least_and_most": [min(single), max(single)],
        "haloes": len(matter.haloes),
        "haloes_cut_out": heavy,
        "moving_fraction": matter.n_moving / matter.n_particles,
        "universe_cpu_s": config.n_boxes * fixed + repeats * per_draw,
        "universe_cutouts": repeats * config.n_projections * heavy,
    }


def measure_whole(config: UniverseConfig) -> dict[str, Any]:
    """Wall seconds, cutouts and the peak memory of a process [GB] of a whole universe."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = simulate(config, Path(folder) / "universe.h5")
        seconds = time.perf_counter() - start
        with open_cutouts(path) as file:
            n_cutouts = len(file)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "boxes": config.n_boxes,
        "draws_of_each": config.n_draws,
        "cutouts": n_cutouts,
        "processes": available_cores(),
        "wall_s": seconds,
        "cpu_s": children.ru_utime + children.ru_stime,
        "peak_gb_of_a_process": children.ru_maxrss / _PEAK_UNIT,
    }


#: ru_maxrss is in bytes on macOS, in kilobytes elsewhere.
_PEAK_UNIT = 1e9 if sys.platform == "darwin" else 1e6


@contextmanager
def _stage(costs: Costs, name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    entry = costs.setdefault(name, {"cpu_s": 0.0, "peak_gb": 0.0})
    entry["cpu_s"] += time.process_time() - start
    entry["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PEAK_UNIT


if __name__ == "__main__":
    main()
