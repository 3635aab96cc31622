"""What the concentration of haloes adds to the suppression of power S(k) by feedback.

    python benchmarks/concentration_shift.py [--boxes 0 2] [--concentrations 5.6 4.8]
                                             [--positions FOLDER] [--out shift.json]

Boxes of the preset default are sharpened with both concentrations, and S(k) of the second less that
of the first is printed for each feedback strength and box, with its mean over boxes: the numbers
`halo_cm.universe.hydro_gates.CONCENTRATION_SHIFT` rests on. Bands in k as there. One thread,
about a minute a box. Gravity is not run again where FOLDER holds its ``pos_BOX.npy``.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch

from halo_cm import set_verbosity
from halo_cm.atomic import write_json
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.box import Box, find_matter, particles_today
from halo_cm.universe.box_power import BoxPower
from halo_cm.universe.design import plan_box
from halo_cm.universe.hydro_gates import SUPPRESSION_OMEGA_M
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.measurements import (
    A_STAR,
    S_SCATTER,
    STRENGTHS,
    SUPPRESSION_BANDS,
    THETA_EJ,
    all_matter,
)

logger = logging.getLogger("halo_cm.benchmarks")


def positions_of(config: UniverseConfig, index: int, folder: Path | None) -> np.ndarray:
    """Particles of a box today, kept in ``folder`` if given."""
    path = None if folder is None else folder / f"pos_{index}.npy"
    if path is not None and path.is_file():
        return np.load(path, allow_pickle=False)
    found = particles_today(config, plan_box(config, index))
    if path is not None:
        np.save(path, found, allow_pickle=False)
    return found


def suppression(config: UniverseConfig, index: int, positions: np.ndarray) -> np.ndarray:
    """S(k) of one box at the baryon fraction of the gates, shape (n_strengths, n_bands)."""
    box = Box(config, index, find_matter(config, plan_box(config, index), positions))
    matter = box.matter
    dmo = BoxPower.of_parts([(matter.positions, matter.particle_mass)], matter)
    ratios = []
    for strength in STRENGTHS:
        draw = box.draw(Astrophysics(strength, THETA_EJ, A_STAR, S_SCATTER), "check", index)
        ratios.append(BoxPower.of_parts(all_matter(draw, matter), matter).power / dmo.power)
    scale = config.omega_b / SUPPRESSION_OMEGA_M / matter.baryon_fraction
    return 1 - scale * (1 - dmo.averages(np.array(ratios), SUPPRESSION_BANDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--concentrations", type=float, nargs=2, default=[5.6, 4.8])
    parser.add_argument("--positions", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    set_verbosity("summary")
    torch.set_num_threads(1)
    shifts = {}
    for index in options.boxes:
        config = UniverseConfig.from_preset("default")
        positions = positions_of(config, index, options.positions)
        before, after = (
            suppression(config.model_copy(update={"concentration": c}), index, positions.copy())
            for c in options.concentrations
        )
        shifts[f"box {index}"] = after - before
        logger.info("box %d: %s", index, np.round(after - before, 3).tolist())
    shifts["mean"] = np.mean(list(shifts.values()), axis=0)
    table = {
        name: dict(zip(map(str, STRENGTHS), np.round(rows, 4).tolist(), strict=True))
        for name, rows in shifts.items()
    }
    logger.info("%s", json.dumps(table["mean"]))
    if options.out is not None:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
