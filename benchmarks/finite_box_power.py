"""P(k) that an independent particle-mesh code finds in boxes of 50 Mpc/h.

    pip install jaxpm==0.1.6 packaging "setuptools<81"
    python benchmarks/finite_box_power.py [--boxes 64] [--fine-boxes 3] [--out table.json]
    python benchmarks/finite_box_power.py --reference halo_cm/universe/jaxpm.json --fine-boxes 4

JaxPM (Differentiable Universe Initiative) moves the particles of boxes of the preset default: it
gets the initial overdensity, and shares no code with this package. Its mean P(k) over halofit and
the halo model of the boxes' modes is `halo_cm.universe.expectations.COUPLING`: what gravity makes
of waves that couple to each other alone, because a periodic box has no longer ones and few of the
longest. Many boxes of 64^3 particles say it, times what 128^3 particles give over 64^3 that start
from the same modes in a few. Beside it, the same of our own code in the same boxes, how it changes
with sigma_8, and both codes in a box four times as wide. One thread; about 10 CPU-seconds a box of
64^3 particles and 2 minutes one of 128^3.

With ``--reference`` it is run for boxes 0 to 31 of the preset itself, from the longest 64^3 of
their modes, times what 128^3 give over 64^3 in a few: the power that `halo-cm simulate --check`
expects of these very boxes up to 1 h/Mpc (`halo_cm.universe.same_modes`).
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import itertools

import numpy as np
import torch

from halo_cm import set_verbosity
from halo_cm.atomic import write_json
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.box import particles_today
from halo_cm.universe.box_power import BoxPower
from halo_cm.universe.cosmology import Cosmology
from halo_cm.universe.design import plan_box, with_boxes
from halo_cm.universe.expectations import BoxTheory, initial_modes
from halo_cm.universe.same_modes import identity

logger = logging.getLogger("halo_cm.benchmarks")

#: Borders of bands [h/Mpc], which share those of the gates: the insides of haloes, which no such
#: mesh resolves, make more and more of the power beyond 1 h/Mpc.
BANDS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
#: Scale factor of the start, as in our own boxes, and kick-drift-kick steps, even in its root.
START, N_STEPS = 0.05, 50


@cache
def kick_drift_kick(n: int) -> Callable[..., Any]:
    """One step of JaxPM's equations of motion on a mesh of n^3 cells, compiled once."""
    import jax
    from jaxpm.pm import make_ode_fn

    rates = make_ode_fn((n, n, n))

    def step(x: Any, p: Any, before: Any, after: Any, cosmology: Any) -> tuple[Any, Any]:
        middle = 0.5 * (before + after)
        p = p + rates((x, p), before, cosmology)[1] * (middle - before)
        x = (x + rates((x, p), middle, cosmology)[0] * (after - before)) % n
        return x, p + rates((x, p), after, cosmology)[1] * (after - middle)

    return jax.jit(step)


def jaxpm_positions(delta: np.ndarray, boxsize: float, ours: Cosmology, n_steps: int) -> np.ndarray:
    """Particles today [Mpc/h], shape (n^3, 3), from the linear overdensity today, (n, n, n)."""
    import jax.numpy as jnp
    import jax_cosmo
    from jaxpm.pm import lpt

    n = len(delta)
    cosmology = jax_cosmo.Cosmology(
        Omega_c=ours.omega_m - ours.omega_b,
        Omega_b=ours.omega_b,
        h=ours.hubble,
        n_s=ours.spectral_index,
        sigma8=ours.sigma_8,
        Omega_k=0.0,
        w0=-1.0,
        wa=0.0,
    )
    sites = jnp.stack(jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32)] * 3, indexing="ij"), -1)
    shifts, momenta, _ = lpt(cosmology, jnp.asarray(delta), sites, START, order=2)
    x, p, step = (sites + shifts) % n, momenta, kick_drift_kick(n)
    times = jnp.linspace(START**0.5, 1.0, n_steps + 1) ** 2
    for before, after in itertools.pairwise(times):
        x, p = step(x, p, before, after, cosmology)
    return np.asarray(x, np.float32).reshape(-1, 3) * np.float32(boxsize / n)


def fewer_modes(modes: np.ndarray, n: int) -> np.ndarray:
    """Modes of a lattice of n^3 sites, of those of a finer one, as of its real transform."""
    half, fine = n // 2, len(modes)
    kept = np.r_[0:half, fine - half : fine]
    return modes[np.ix_(kept, kept, np.arange(half + 1))] * (n / fine) ** 3


def power_over_theory(
    config: UniverseConfig, index: int, n_steps: int, n_jaxpm: int | None = None
) -> np.ndarray:
    """P over halofit in `BANDS`: JaxPM's, ours, and the halo model's, (3, 7).

    JaxPM starts from the same modes on a lattice of ``n_jaxpm`` sites along each side.
    """
    plan, n = plan_box(config, index), n_jaxpm or config.n_particles
    theory = BoxTheory.of_box(config, plan)
    modes = fewer_modes(initial_modes(config, plan), n) if n_jaxpm else initial_modes(config, plan)
    delta = np.fft.irfftn(modes, s=(n, n, n), axes=(0, 1, 2)).astype(np.float32)
    boxes = [jaxpm_positions(delta, config.boxsize, plan.cosmology, n_steps)]
    boxes += [] if n_jaxpm else [particles_today(config, plan)]
    rows = []
    for positions in boxes:
        matter = SimpleNamespace(n_particles=len(positions), boxsize=config.boxsize)
        found = BoxPower.of_parts([(positions, 1.0)], matter)  # type: ignore[arg-type]
        k = np.geomspace(found.k.min(), found.k.max(), 400)
        ratios = [found.power / np.interp(found.k, k, theory.halofit(k))]
        ratios += [np.interp(found.k, k, theory.finite_box_factor(k, config))]
        rows.append(found.averages(np.array(ratios), BANDS))
    ours = np.full(len(BANDS) - 1, np.nan) if n_jaxpm else rows[1][0]
    return np.array([rows[0][0], ours, rows[0][1]])


def ratio_of_means(measured: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over mean of (boxes, bands), and its standard error to first order."""
    ratio = measured.mean(0) / expected.mean(0)
    residual = (measured - ratio * expected) / expected.mean(0)
    return ratio, residual.std(0, ddof=1) / np.sqrt(len(measured))


def _with_sigma_8(many: np.ndarray, sigma_8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coupling at 0.8 and its derivative in each band, from a straight line."""
    found = []
    for measured, expected in zip(many[:, 0].T, many[:, 2].T, strict=True):
        columns = np.stack([np.ones_like(sigma_8), sigma_8 - 0.8], 1)
        found.append(np.linalg.lstsq(columns, measured / expected, rcond=None)[0])
    return tuple(np.transpose(found))  # type: ignore[return-value]


def universe(n_particles: int, n_boxes: int, boxsize: float = 50.0) -> UniverseConfig:
    """The preset default with other numbers of particles and boxes."""
    config = UniverseConfig.from_preset(
        "default", n_particles=n_particles, n_mesh=3 * n_particles // 2, boxsize=boxsize
    )
    return with_boxes(config, n_boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=64)
    parser.add_argument("--fine-boxes", type=int, default=3)
    parser.add_argument("--wide-boxes", type=int, default=1)
    parser.add_argument("--steps", type=int, default=N_STEPS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reference", type=Path, help="write the power of the preset's own boxes")
    options = parser.parse_args()
    if options.boxes < 2 or options.fine_boxes < 2:
        parser.error("--boxes and --fine-boxes must be at least 2: errors come from their scatter")
    set_verbosity("summary")
    torch.set_num_threads(1)
    if options.reference is not None:
        write_reference(options.reference, options.fine_boxes, options.steps)
        return
    tables: dict[str, np.ndarray] = {}
    for name, n, count, boxsize, n_jaxpm in (
        ("many", 64, options.boxes, 50.0, None),
        ("fine", 128, options.fine_boxes, 50.0, None),
        ("fine, 64^3 modes", 128, options.fine_boxes, 50.0, 64),
        ("wide", 128, options.wide_boxes, 200.0, None),
    ):
        config = universe(n, options.boxes, boxsize)
        rows = []
        for index in range(count):
            rows.append(power_over_theory(config, index, options.steps, n_jaxpm))
            logger.info("%s, box %d: %s", name, index, np.round(rows[-1], 3).tolist())
            tables[name] = np.array(rows)
            if options.out is not None:
                write_json(options.out, {key: value.tolist() for key, value in tables.items()})
    summarise(tables)


def write_reference(path: Path, n_fine: int, n_steps: int, n_boxes: int = 32) -> None:
    """Write P over halofit of the boxes of the preset default, from their own modes."""
    config = universe(128, n_boxes)
    boxes = range(n_boxes)
    coarse = np.array([power_over_theory(config, i, n_steps, 64)[0] for i in boxes])
    fine = np.array([power_over_theory(config, i, n_steps)[:2] for i in range(n_fine)])
    write_json(path, reference(config, coarse, fine, n_steps))


def reference(
    config: UniverseConfig, coarse: np.ndarray, fine: np.ndarray, n_steps: int
) -> dict[str, Any]:
    """The table of `halo_cm.universe.same_modes`.

    ``coarse``: JaxPM with 64^3 particles in every box, (boxes, 7). ``fine``: JaxPM and our code
    with 128^3 in the first few, (few, 2, 7).
    """
    bands = slice(BANDS.index(1.0))
    few = len(fine)
    finer, ours = fine[:, 0] / coarse[:few], fine[:, 1] / fine[:, 0]
    rows = []
    for index, values in enumerate((coarse * finer.mean(0))[:, bands]):
        theory = BoxTheory.of_box(config, plan_box(config, index))
        rows.append({**identity(theory), "power_over_halofit": values.round(4).tolist()})
    return {
        "about": "P(k) over halofit today, by JaxPM 0.1.6 from the initial modes of the boxes of "
        "the preset default, seed 0: benchmarks/finite_box_power.py --reference. 64^3 particles "
        "from the longest modes, times what 128^3 give over 64^3 in the first boxes (below: mean "
        "and its standard error in each band); beside it our code over JaxPM there, with 128^3",
        "steps": n_steps,
        "fine_boxes": few,
        "finer": finer.mean(0)[bands].round(4).tolist(),
        "finer_error": (finer.std(0, ddof=1) / np.sqrt(few))[bands].round(4).tolist(),
        "ours_over_jaxpm": ours.mean(0)[bands].round(4).tolist(),
        "bands": list(BANDS[: BANDS.index(1.0) + 1]),
        "boxes": rows,
    }


def summarise(tables: dict[str, np.ndarray]) -> None:
    """Log the coupling and what it rests on."""
    many, fine, coarse = (tables[name] for name in ("many", "fine", "fine, 64^3 modes"))
    coupling, error = ratio_of_means(many[:, 0], many[:, 2])
    ours, _ = ratio_of_means(many[:, 1], many[:, 2])
    finer = fine[:, 0] / coarse[:, 0]
    spread = finer.std(0, ddof=1) / np.sqrt(len(finer))
    logger.info("bands %s h/Mpc", BANDS)
    logger.info("JaxPM, 64^3: %s +- %s", np.round(coupling, 3), np.round(error, 3))
    logger.info("ours, 64^3, the same boxes: %s", np.round(ours, 3))
    logger.info("JaxPM, 128^3 over 64^3: %s +- %s", finer.mean(0).round(3), spread.round(3))
    logger.info("ours over JaxPM, 128^3: %s", (fine[:, 1] / fine[:, 0]).round(3).tolist())
    plans = [plan_box(universe(64, len(many)), i) for i in range(len(many))]
    sigma_8 = np.array([plan.cosmology.sigma_8 for plan in plans])
    at_08, slope = _with_sigma_8(many, sigma_8)
    logger.info("coupling at sigma_8 = 0.8: %s", np.round(at_08 * finer.mean(0), 3))
    logger.info("its relative change with sigma_8: %s", np.round(slope / at_08, 2))
    wide = tables.get("wide", np.empty((0, 3, 1)))
    for row in wide:
        rows = np.round(row[:2] / row[2], 3).tolist()
        logger.info("box of 200 Mpc/h, JaxPM and ours over halofit and halo model: %s", rows)


if __name__ == "__main__":
    main()
