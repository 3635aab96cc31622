"""Cost of the embedded universe by stage: CPU seconds, peak memory, cutouts.

    python benchmarks/universe.py --preset default [--draws 7] [--out universe_benchmark.json]

One box is made stage by stage in one thread; the costs of a whole universe follow from it.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from halo_cm import set_verbosity
from halo_cm.atomic import write_json
from halo_cm.config.universe import PRESETS, UniverseConfig
from halo_cm.universe import box as chain
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.design import plan_box
from halo_cm.universe.maps import Projector

logger = logging.getLogger("halo_cm.benchmarks")
Costs = dict[str, dict[str, float]]


def main() -> None:
    """Run the benchmark and report it on the terminal and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--box", type=int, default=0)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_verbosity("summary")
    torch.set_num_threads(1)
    config = UniverseConfig.from_preset(arguments.preset)
    result = measure(config, arguments.box, arguments.draws)
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
    for j in range(n_draws):
        with _stage(costs, "draw"):
            draw = model.draw(plan.draws[j % len(plan.draws)], config.seed, "benchmark", j)
        for axis in range(config.n_projections):
            with _stage(costs, "projection"):
                projector.project(draw, axis)
    heavy = int((matter.haloes.m200 >= config.min_halo_mass).sum())
    for name, parts in (("draw", n_draws), ("projection", n_draws * config.n_projections)):
        costs[name]["cpu_s"] /= parts
    repeats = sum(config.n_realizations(b) for b in range(config.n_boxes))
    fixed = sum(costs[name]["cpu_s"] for name in ("gravity", "haloes", "projector"))
    per_draw = costs["draw"]["cpu_s"] + config.n_projections * costs["projection"]["cpu_s"]
    return {
        "preset": config.preset,
        "stages": costs,
        "haloes": len(matter.haloes),
        "haloes_cut_out": heavy,
        "moving_fraction": matter.n_moving / matter.n_particles,
        "universe_cpu_s": config.n_boxes * fixed + repeats * config.n_draws * per_draw,
        "universe_cutouts": repeats * config.n_draws * config.n_projections * heavy,
    }


@contextmanager
def _stage(costs: Costs, name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    entry = costs.setdefault(name, {"cpu_s": 0.0, "peak_gb": 0.0})
    entry["cpu_s"] += time.process_time() - start
    unit = 1e9 if sys.platform == "darwin" else 1e6  # bytes on macOS, kilobytes elsewhere
    entry["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
