"""All boxes of a universe in parallel processes, and their assembly into one cutout file."""

from __future__ import annotations

import logging
from functools import partial
from os import PathLike
from pathlib import Path

from halo_cm.atomic import explain_os_errors
from halo_cm.config.universe import UniverseConfig
from halo_cm.data.cutouts import CutoutWriter, open_cutouts, read_geometry
from halo_cm.errors import DataError
from halo_cm.processes import Report, available_cores, run_jobs
from halo_cm.progress import progress, track
from halo_cm.universe.box import geometry, n_reports, simulate_box

logger = logging.getLogger(__name__)

#: Rows that are copied at a time into the final file.
_ROWS = 256


def simulate(
    config: UniverseConfig,
    path: str | PathLike[str],
    *,
    workers: int | None = None,
    overwrite: bool = False,
    keep_boxes: bool = False,
) -> Path:
    """Simulate every box of a universe and write the cutouts of all into one file.

    Each finished box is a file in the folder ``<stem>.boxes`` beside ``path``; an interrupted call
    continues with the boxes that are missing. A file that exists with the same configuration is
    used as it is. The result does not depend on ``workers``.

    Parameters
    ----------
    config
        The universe.
    path
        The cutout file.
    workers
        Parallel processes of one thread each; one per available core if not given.
    overwrite
        Replace a file that was made with another configuration, or is damaged.
    keep_boxes
        Keep the files of the single boxes after they were put together.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    DataError
        If ``path`` holds something else and ``overwrite`` is not set.
    OutputError
        If a file cannot be written.
    """
    path = Path(path)
    if path.exists() and _is_reusable(path, config, overwrite):
        logger.info("%s exists with this configuration: reused", path)
        return path
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    folder = path.with_name(f"{path.stem}.boxes")
    files = [folder / f"box_{box:03d}_{config.fingerprint()}.h5" for box in range(config.n_boxes)]
    _prepare(folder, files)
    missing = [box for box, file in enumerate(files) if not _is_finished(file)]
    if len(missing) < len(files):
        logger.info(
            "%d of %d boxes are finished in %s", len(files) - len(missing), len(files), folder
        )
    if missing:
        _simulate_missing(config, files, missing, workers or available_cores())
    _assemble(config, files, path)
    if not keep_boxes:
        _remove(folder, files)
    return path


def _simulate_missing(
    config: UniverseConfig, files: list[Path], missing: list[int], workers: int
) -> None:
    # the longest boxes first, so that no process is left alone with one at the end
    steps = [n_reports(config, box) for box in range(config.n_boxes)]
    missing = sorted(missing, key=lambda box: -steps[box])
    total = sum(steps)
    done = total - sum(steps[box] for box in missing)
    with progress("simulate", total, done=done) as task:
        tasks = [partial(_simulate_one, config, files)] * workers
        for _ in run_jobs(tasks, missing, noun="box", on_step=task.advance):
            pass


def _simulate_one(config: UniverseConfig, files: list[Path], box: int, report: Report) -> None:
    simulate_box(config, box, files[box], report)


def _is_reusable(path: Path, config: UniverseConfig, overwrite: bool) -> bool:
    """Whether the file is of this configuration; one of another may have to be overwritten."""
    try:
        found = read_geometry(path).provenance
    except DataError:
        if overwrite:
            return False
        raise
    if found.get("fingerprint") == config.fingerprint():
        return True
    if overwrite:
        return False
    raise DataError(
        f"{path} was made with another configuration (preset {found.get('preset')}, seed "
        f"{found.get('seed')}) than the one asked for (preset {config.preset}, seed "
        f"{config.seed}): choose another path, or replace it with --overwrite"
    )


def _is_finished(file: Path) -> bool:
    if not file.exists():
        return False
    try:
        with open_cutouts(file):
            return True
    except DataError as error:
        logger.warning("%s; the box is simulated again", error)
        return False


def _prepare(folder: Path, files: list[Path]) -> None:
    """Remove what killed processes left half-written; tell of boxes of other configurations."""
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    others = set(folder.glob("box_*.h5")) - set(files)
    if others:
        logger.warning(
            "%s holds %d boxes of other configurations, which are not used; delete them to free "
            "space",
            folder,
            len(others),
        )


def _assemble(config: UniverseConfig, files: list[Path], path: Path) -> None:
    """Copy the boxes into one file, a few rows at a time."""
    counts = []
    for file in files:
        with open_cutouts(file) as box:
            counts.append(len(box))
    with CutoutWriter(path, geometry(config), sum(counts)) as writer:
        for file, n in track(zip(files, counts, strict=True), "put together", len(files)):
            with open_cutouts(file) as box:
                for start in range(0, n, _ROWS):
                    writer.append(box.read(slice(start, min(start + _ROWS, n))))
    logger.info("%s: %d cutouts of %d boxes", path, sum(counts), len(files))


def _remove(folder: Path, files: list[Path]) -> None:
    """Remove the boxes and their spectra, and the folder unless other files are in it."""
    for file in [*files, *folder.glob("linear_power_*.npy")]:
        file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
