"""Full boxes in the file layout of CAMELS: particle snapshots and group catalogues.

The layout is that of Arepo and SubFind as CAMELS uses it (Villaescusa-Navarro et al. 2021,
arXiv:2010.00619; https://camels.readthedocs.io): lengths in comoving kpc/h, masses in 1e10 Msun/h.
Every simulation has a dark-matter-only twin of the same name.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import h5py

from halo_cm.atomic import LOCK_NAME, atomic_path, explain_os_errors, lock, write_text
from halo_cm.config.universe import PARAMETER_NAMES, VARIATIONS_1P, UniverseConfig
from halo_cm.errors import ConfigError, DataError
from halo_cm.processes import Report, available_cores, run_jobs
from halo_cm.progress import progress
from halo_cm.universe.box import Box, n_gravity_reports
from halo_cm.universe.design import plan_box
from halo_cm.universe.gadget import (
    FINGERPRINT,
    Species,
    catalogue,
    dmo_particles,
    hydro_particles,
    snapshot,
    write_hdf5,
)

logger = logging.getLogger(__name__)

#: Folders of the hydrodynamic simulations and of their dark-matter-only twins.
HYDRO, DMO = "halo_cm", "halo_cm_DM"
#: The last snapshot of CAMELS, at redshift 0.
SNAPSHOT, GROUPS = "snap_090.hdf5", "groups_090.hdf5"
_SETS = {"sobol": "LH", "1P": "1P", "CV": "CV"}
#: How CAMELS numbers the variations of the set 1P, from the least value to the largest.
_STEPS_1P = dict(zip(VARIATIONS_1P, ("n2", "n1", "1", "2"), strict=True))
_README = """\
Simulated boxes of halo_cm at redshift 0, in the file layout of CAMELS (Arepo, SubFind).
Made by: halo-cm simulate --preset PRESET --snapshots FOLDER

halo_cm/VOLUME/SET/NAME/snap_090.hdf5       PartType0 gas, PartType1 dark matter, PartType4 stars
halo_cm/VOLUME/SET/NAME/groups_090.hdf5     the haloes (Group), with the mass of each component
halo_cm/VOLUME/SET/CosmoAstroSeed_*.txt     parameters of every simulation of the set
halo_cm_DM/VOLUME/SET/NAME/...              the dark-matter-only twin: PartType1 alone

VOLUME: L50n128 is a box of 50 Mpc/h with 128^3 particles. SET: LH (all parameters varied), 1P (one
at a time, same phases), CV (phases alone).
Units: comoving kpc/h and 1e10 Msun/h. The mass of a dark-matter particle is Header/MassTable[1].
Haloes are those of the dark-matter-only run in both catalogues; GroupMass is M80c.
Particles are not sorted by halo: GroupLenType counts those in a sphere, and offsets made of it
point to others. Find them by position.
Missing: velocities, temperatures, metals, black holes, subhaloes. GFM_StellarFormationTime is 1
for every star: it only says that the star is no wind particle.
The seed in the table names the random phases; Header/halo_cm_universe holds the configuration.
"""


@dataclass(frozen=True)
class Simulation:
    """One draw of one box.

    Attributes
    ----------
    name
        Name of its folder, as CAMELS would call it.
    box, draw
        Index of the box in the universe, and of the draw in the plan of the box.
    """

    name: str
    box: int
    draw: int


def write_snapshots(
    config: UniverseConfig,
    folder: str | os.PathLike[str],
    *,
    boxes: Sequence[int] | None = None,
    workers: int | None = None,
) -> Path:
    """Write snapshots and group catalogues of whole boxes, and of their dark-matter-only twins.

    A simulation is the first draw of a box; in the set 1P every draw is one. Simulations that are
    finished are kept; the bytes of the files do not depend on ``workers``.

    Parameters
    ----------
    config
        The universe.
    folder
        Gets ``halo_cm/<volume>/<set>/<name>/`` and the same below ``halo_cm_DM``.
    boxes
        Indices of the boxes; all if not given.
    workers
        Parallel processes of one thread each; one per available core if not given.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    ConfigError
        If the universe has no such box.
    DataError
        If the folder holds simulations of another universe, or a box has no heavy halo.
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    chosen = list(range(config.n_boxes)) if boxes is None else sorted(set(boxes))
    if wrong := [box for box in chosen if not 0 <= box < config.n_boxes]:
        raise ConfigError(
            f"boxes: found {wrong}, expected numbers from 0 to {config.n_boxes - 1}: this universe "
            f"has {config.n_boxes} boxes"
        )
    _refuse_other_universes(config, folder)
    _prepare(config, folder)
    missing = [box for box in chosen if _unfinished(config, folder, box)]
    if len(missing) < len(chosen):
        logger.info(
            "%d of %d boxes are finished in %s", len(chosen) - len(missing), len(chosen), folder
        )
    if missing:
        _write_missing(config, folder, chosen, missing, workers or available_cores())
    return folder


def simulations(config: UniverseConfig, box: int) -> tuple[Simulation, ...]:
    """Simulations of a box: its first draw; in the set 1P each of its draws."""
    if config.design != "1P":
        return (Simulation(f"{_SETS[config.design]}_{box}", box, 0),)
    steps = tuple(_STEPS_1P.values())
    if box:
        which, step = divmod(box - 1, len(steps))
        return (Simulation(f"1P_p{which + 1}_{steps[step]}", box, 0),)
    # box 0 is fiducial, then come the variations of the astrophysical parameters, p3 and on
    n_draws = len(plan_box(config, box).draws)
    varied = [divmod(draw, len(steps)) for draw in range(n_draws - 1)]
    names = ["1P_p1_0", *(f"1P_p{which + 3}_{steps[step]}" for which, step in varied)]
    return tuple(Simulation(name, box, draw) for draw, name in enumerate(names))


def set_folder(config: UniverseConfig, folder: Path, run: str) -> Path:
    """Folder with the simulations of a universe; ``run`` is `HYDRO` or `DMO`."""
    return folder / run / _volume(config) / _SETS[config.design]


def parameter_table(config: UniverseConfig) -> str:
    """Text of the table of parameters: ``#Name p1 ... pN seed``, one line a simulation."""
    lines = [" ".join(["#Name", *PARAMETER_NAMES[:-1], "seed"])]
    for box in range(config.n_boxes):
        plan = plan_box(config, box)
        for simulation in simulations(config, box):
            draw = plan.draws[simulation.draw]
            values = [plan.cosmology.omega_m, plan.cosmology.sigma_8, *astuple(draw)]
            lines.append(" ".join([simulation.name, *map(repr, values), str(plan.phases)]))
    return "\n".join(lines) + "\n"


def _write_missing(
    config: UniverseConfig, folder: Path, chosen: list[int], missing: list[int], workers: int
) -> None:
    steps = {box: n_gravity_reports(config) + len(simulations(config, box)) for box in chosen}
    # the longest boxes first, so that no process is left alone with one at the end
    missing = sorted(missing, key=lambda box: -steps[box])
    total = sum(steps.values())
    done = total - sum(steps[box] for box in missing)
    with _locked(config, folder, missing), progress("snapshots", total, done=done) as task:
        tasks = [partial(_write_box, config, folder)] * workers
        for _ in run_jobs(tasks, missing, noun="box", on_step=task.advance):
            pass


@contextmanager
def _locked(config: UniverseConfig, folder: Path, boxes: list[int]) -> Iterator[None]:
    """Keep other processes out of some boxes, and remove what killed ones left half-written.

    The parent holds the locks, so that they end with it, not with the last of its workers.
    """
    sets = [set_folder(config, folder, run) for run in (HYDRO, DMO)]
    with ExitStack() as stack:
        for box in boxes:
            names = [simulation.name for simulation in simulations(config, box)]
            there = sets[0] / names[0]
            stack.enter_context(lock(there, f"writing box {box} in {folder}"))
            stack.callback((there / LOCK_NAME).unlink, missing_ok=True)
            for leftover in (p for s in sets for n in names for p in (s / n).glob(".*.tmp")):
                leftover.unlink(missing_ok=True)
        yield


def _write_box(config: UniverseConfig, folder: Path, index: int, report: Report) -> None:
    """Run in a worker."""
    _write_simulations(Box.simulate(config, index, report=report), folder, report)


def _write_simulations(box: Box, folder: Path, report: Report) -> None:
    """Write the simulations of a box that lack a file; they share the dark-matter-only run."""
    config = box.config
    hydro, dmo = (set_folder(config, folder, run) for run in (HYDRO, DMO))
    whole, missing = simulations(config, box.index), _unfinished(config, folder, box.index)
    first = dmo / whole[0].name
    if not _has_files(first):
        _write_pair(first, box, dmo_particles(box))
    for simulation in whole:
        if simulation in missing:
            if not _has_files(dmo / simulation.name):
                _share(first, dmo / simulation.name)
            parameters = box.plan.draws[simulation.draw]
            draw = box.draw(parameters, *box.plan.words(simulation.draw, 0))
            _write_pair(hydro / simulation.name, box, hydro_particles(box, draw))
        report()


def _write_pair(folder: Path, box: Box, species: Mapping[int, Species]) -> None:
    """Write a snapshot and its catalogue."""
    write_hdf5(folder / SNAPSHOT, snapshot(box, species))
    write_hdf5(folder / GROUPS, catalogue(box, species))


def _share(source: Path, folder: Path) -> None:
    """Give ``folder`` the files of ``source``, as links where the file system has them."""
    for name in (SNAPSHOT, GROUPS):
        with atomic_path(folder / name) as temporary:
            try:
                os.link(source / name, temporary)
            except OSError:
                shutil.copyfile(source / name, temporary)


def _volume(config: UniverseConfig) -> str:
    return f"L{config.boxsize:g}n{config.n_particles}"


def _has_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (SNAPSHOT, GROUPS))


def _unfinished(config: UniverseConfig, folder: Path, box: int) -> list[Simulation]:
    """Simulations of a box that lack a file."""
    sets = [set_folder(config, folder, run) for run in (DMO, HYDRO)]
    return [s for s in simulations(config, box) if not all(_has_files(f / s.name) for f in sets)]


def _refuse_other_universes(config: UniverseConfig, folder: Path) -> None:
    """Raise a `DataError` unless every simulation in the folders of the set is of this universe."""
    expected = config.fingerprint()
    for run in (DMO, HYDRO):
        there = set_folder(config, folder, run)
        for path in sorted(p for name in (SNAPSHOT, GROUPS) for p in there.glob(f"*/{name}")):
            try:
                with h5py.File(path, "r") as file:
                    header = file["Header"].attrs if "Header" in file else {}
                    found = str(header.get(FINGERPRINT, "none"))
            except OSError as error:
                raise DataError(
                    f"{path}: not a whole HDF5 file ({error}): delete it, and run the same command "
                    "again to make it anew"
                ) from error
            if found != expected:
                raise DataError(
                    f"{path} is of another universe ({FINGERPRINT}: found {found}, expected "
                    f"{expected} of preset {config.preset} with seed {config.seed}): choose "
                    f"another folder, or delete {there}"
                )


def _prepare(config: UniverseConfig, folder: Path) -> None:
    """Make the folder of the set, and write the text files."""
    there = set_folder(config, folder, HYDRO)
    table = there / f"CosmoAstroSeed_{HYDRO}_{_volume(config)}_{_SETS[config.design]}.txt"
    readme = folder / "README.txt"
    with explain_os_errors(folder):
        there.mkdir(parents=True, exist_ok=True)
        for path in (readme, table):
            for leftover in path.parent.glob(f".{path.name}.*.tmp"):
                leftover.unlink(missing_ok=True)
        _write_readme(readme)
        _write_if_other(table, parameter_table(config))


def _write_readme(path: Path) -> None:
    """Explain the layout, unless a user's own file stands there."""
    title = _README.partition("\n")[0].encode()
    if path.exists() and not path.read_bytes().startswith(title):
        logger.warning("%s is not ours and stays; the layout is in docs/snapshots.md", path)
    else:
        _write_if_other(path, _README)


def _write_if_other(path: Path, text: str) -> None:
    # parallel jobs may write other boxes: what is right stays untouched
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)
