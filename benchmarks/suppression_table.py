"""The suppression of power S(k) that an independent implementation gives in our boxes.

    python benchmarks/suppression_table.py PROTOTYPE [--boxes 0 1 2 3 4 5 6 7] [--draws 3]
                                           [--positions FOLDER] [--out table.json]

PROTOTYPE is the folder of the working sketch of the universe (simdata.py, fulldraw.py, ...). Its
halo finder, sharpening and baryons, none of which this package imports, are run on the particles
of boxes of the preset default, with the concentration of the configuration: with c = 4.8, the
preset's before version 3, the mean over boxes is `halo_cm.universe.expectations.SUPPRESSION`.
Beside it, what this concentration adds to S(k) with the prototype's own one, c = 5.6. Bands,
strengths and the scaling to Omega_m = 0.3 are those of the
gates. One thread, about a minute a box. Gravity is not run again where FOLDER holds its
``pos_BOX.npy``.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from halo_cm import set_verbosity
from halo_cm.atomic import write_json
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.box import particles_today
from halo_cm.universe.box_power import BoxPower
from halo_cm.universe.design import plan_box
from halo_cm.universe.hydro_gates import SUPPRESSION_OMEGA_M
from halo_cm.universe.measurements import (
    A_STAR,
    S_SCATTER,
    STRENGTHS,
    SUPPRESSION_BANDS,
    THETA_EJ,
)

logger = logging.getLogger("halo_cm.benchmarks")

#: Mean concentration of the prototype's haloes at 10^13 Msun/h.
PROTOTYPE_CONCENTRATION = 5.6


def positions_of(config: UniverseConfig, index: int, folder: Path | None) -> np.ndarray:
    """Particles of a box today, kept in ``folder`` if given."""
    path = None if folder is None else folder / f"pos_{index}.npy"
    if path is not None and path.is_file():
        return np.load(path, allow_pickle=False)
    found = particles_today(config, plan_box(config, index))
    if path is not None:
        np.save(path, found, allow_pickle=False)
    return found


def load_prototype(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Modules of the prototype that make a box and a draw of it.

    Raises
    ------
    FileNotFoundError
        If the folder does not hold them.
    """
    if not (folder / "fulldraw.py").is_file():
        raise FileNotFoundError(f"{folder}: holds no fulldraw.py; give the prototype's folder")
    sys.path.insert(0, str(folder))
    return importlib.import_module("simdata"), importlib.import_module("fulldraw")


def suppression(
    config: UniverseConfig,
    index: int,
    positions: np.ndarray,
    modules: tuple[ModuleType, ModuleType],
    n_draws: int,
) -> np.ndarray:
    """S(k) of the prototype in one box at the gates' baryon fraction, (draws, strengths, bands)."""
    simdata, fulldraw = modules
    # its scatter about this mean, 0.13 dex, is that of the configuration
    simdata.conc = lambda mass: config.concentration * (mass / 1e13) ** config.concentration_slope
    cosmology, boxsize = plan_box(config, index).cosmology, config.boxsize
    box = simdata.SimBox(
        positions, boxsize, cosmology.omega_m, config.omega_b, cosmology.sigma_8, 1000 + index
    )
    matter = SimpleNamespace(n_particles=len(positions), boxsize=boxsize)
    dmo = BoxPower.of_parts([(box.x, box.mp)], matter)  # type: ignore[arg-type]
    found = np.empty((n_draws, len(STRENGTHS), len(SUPPRESSION_BANDS) - 1))
    for i in range(n_draws):
        for j, strength in enumerate(STRENGTHS):
            theta = {"log10_Mc": strength, "theta_ej": THETA_EJ, "A_star": A_STAR}
            theta["s_scatter"] = S_SCATTER
            seed = 10_000 * (index + 1) + 10 * i + j
            dark, gas, gas_mass, stars, star_mass = fulldraw.draw_box(box, theta, seed)
            parts = [(dark, (1 - box.fb) * box.mp), (gas, gas_mass), (stars, star_mass)]
            parts = [(np.ascontiguousarray(x, dtype=np.float32), mass) for x, mass in parts]
            ratio = BoxPower.of_parts(parts, matter).power / dmo.power  # type: ignore[arg-type]
            found[i, j] = dmo.averages(ratio[None], SUPPRESSION_BANDS)[0]
    return 1 - cosmology.omega_m / SUPPRESSION_OMEGA_M * (1 - found)


def by_strength(rows: np.ndarray) -> dict[str, list[float]]:
    """Rows of bands under the names of their strengths."""
    return dict(zip(map(str, STRENGTHS), np.round(rows, 4).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prototype", type=Path)
    parser.add_argument("--boxes", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--positions", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    set_verbosity("summary")
    torch.set_num_threads(1)
    modules = load_prototype(options.prototype)
    ours = UniverseConfig.from_preset("default")
    theirs = ours.model_copy(update={"concentration": PROTOTYPE_CONCENTRATION})
    values, shifts = [], []
    for index in options.boxes:
        positions = positions_of(ours, index, options.positions)
        values.append(suppression(ours, index, positions, modules, options.draws))
        # the same random numbers with the other concentration
        shifts.append(values[-1][0] - suppression(theirs, index, positions, modules, 1)[0])
        logger.info("box %d: %s", index, by_strength(values[-1].mean(0)))
    drawn = np.array(values)
    means = drawn.mean(1)
    table = {
        "mean": by_strength(means.mean(0)),
        "scatter over boxes": by_strength(means.std(0)),
        "scatter over draws": by_strength(drawn.std(1).mean(0)),
        "shift by concentration": by_strength(np.mean(shifts, axis=0)),
        **{f"box {i}": by_strength(rows) for i, rows in zip(options.boxes, means, strict=True)},
    }
    for name in ("mean", "scatter over boxes", "scatter over draws", "shift by concentration"):
        logger.info("%s: %s", name, table[name])
    if options.out is not None:
        write_json(options.out, table)


if __name__ == "__main__":
    main()
