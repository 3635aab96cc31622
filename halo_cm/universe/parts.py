"""A cutout file that parallel processes make in parts, each of which survives an interruption."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from halo_cm.atomic import LOCK_NAME, lock
from halo_cm.config.differences import differences
from halo_cm.containers import Geometry
from halo_cm.data.cutouts import CutoutWriter, open_cutouts, read_geometry
from halo_cm.errors import DataError
from halo_cm.processes import Report, available_cores, run_jobs
from halo_cm.progress import progress, track

logger = logging.getLogger(__name__)

#: Rows that are copied at a time into the final file.
_ROWS = 256


@dataclass(frozen=True)
class Parts:
    """How a file is made.

    Attributes
    ----------
    title, noun
        What is done and what a part is, for progress and messages.
    names
        Name of each part, without the fingerprint of ``geometry`` that is added to it.
    steps
        How often the work on each part reports progress.
    make
        Called with the number of a part, its file and a function that reports progress, in a
        process of its own.
    geometry
        Geometry of the file, with a ``fingerprint`` of everything that decides its content.
    """

    title: str
    noun: str
    names: tuple[str, ...]
    steps: tuple[int, ...]
    make: Callable[[int, Path, Report], None]
    geometry: Geometry


def make_in_parts(
    parts: Parts,
    path: str | PathLike[str],
    *,
    workers: int | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> Path:
    """Make every part and copy all into one file.

    Each finished part is a file in the folder ``<stem>.boxes`` beside ``path``; an interrupted call
    continues with the parts that are missing. A file that exists with the same fingerprint is used
    as it is. The result does not depend on ``workers``.

    Parameters
    ----------
    parts
        What is made.
    path
        The cutout file.
    workers
        Parallel processes of one thread each; one per available core if not given.
    overwrite
        Replace a file of another fingerprint, or a damaged one.
    keep
        Keep the files of the single parts.

    Raises
    ------
    DataError
        If ``path`` holds something else and ``overwrite`` is not set.
    OutputError
        If a file cannot be written.
    """
    path = Path(path)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    if path.exists() and _is_reusable(path, parts.geometry, overwrite):
        logger.info("%s exists with this configuration: reused", path)
        return path
    folder = path.with_name(f"{path.stem}.boxes")
    fingerprint = parts.geometry.provenance["fingerprint"]
    files = [folder / f"{name}_{fingerprint}.h5" for name in parts.names]
    with lock(folder, f"making {path}"):
        if path.exists() and _is_reusable(path, parts.geometry, overwrite):
            return path  # another process made it since
        _prepare(path, folder, files)
        missing = [i for i, file in enumerate(files) if not _is_finished(file, parts.noun)]
        if len(missing) < len(files):
            done = len(files) - len(missing)
            logger.info(
                "%d of %d %s files are finished in %s", done, len(files), parts.noun, folder
            )
        if missing:
            _make_missing(parts, files, missing, workers or available_cores())
        _assemble(parts.geometry, files, path)
        if not keep:
            _remove(folder, files)
    return path


def _make_missing(parts: Parts, files: list[Path], missing: list[int], workers: int) -> None:
    # the longest parts first, so that no process is left alone with one at the end
    missing = sorted(missing, key=lambda i: -parts.steps[i])
    total = sum(parts.steps)
    done = total - sum(parts.steps[i] for i in missing)
    with progress(parts.title, total, done=done) as task:
        tasks = [partial(_make_one, parts.make, files)] * workers
        for _ in run_jobs(tasks, missing, noun=parts.noun, on_step=task.advance):
            pass


def _make_one(
    make: Callable[[int, Path, Report], None], files: list[Path], part: int, report: Report
) -> None:
    make(part, files[part], report)


def _is_reusable(path: Path, wanted: Geometry, overwrite: bool) -> bool:
    """Whether the file is of this configuration; one of another may have to be overwritten."""
    try:
        found = read_geometry(path).provenance
    except DataError:
        if overwrite:
            return False
        raise
    ours = wanted.provenance
    if found.get("fingerprint") == ours["fingerprint"]:
        return True
    if overwrite:
        return False
    raise DataError(
        f"{path} was made with another configuration:\n  {_changes(found, ours)}\nchoose another "
        "path, or replace it: `halo-cm simulate --overwrite`, or delete the file"
    )


def _changes(found: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Differences of two files' universes, a line each."""
    lines = []
    for name in ("universe", "oracle"):
        old, new = (json.loads(str(facts.get(name, "{}"))) for facts in (found, ours))
        lines += differences(old, new, name)
    return "\n  ".join(lines) or "another version of the universe's physics"


def _is_finished(file: Path, noun: str) -> bool:
    if not file.exists():
        return False
    try:
        with open_cutouts(file):
            return True
    except DataError as error:
        logger.warning("%s; the %s is simulated again", error, noun)
        return False


def _prepare(path: Path, folder: Path, files: list[Path]) -> None:
    """Remove what killed processes left half-written; tell of parts of other configurations."""
    for leftover in [*folder.glob(".*.tmp"), *path.parent.glob(f".{path.name}.*.tmp")]:
        leftover.unlink(missing_ok=True)
    others = set(folder.glob("*_*.h5")) - set(files)
    if others:
        logger.warning(
            "%s holds %d files of other configurations, which are not used; delete them to free "
            "space",
            folder,
            len(others),
        )


def _assemble(geometry: Geometry, files: list[Path], path: Path) -> None:
    """Copy the parts into one file, a few rows at a time."""
    counts = []
    for file in files:
        with open_cutouts(file) as part:
            counts.append(len(part))
    with CutoutWriter(path, geometry, sum(counts)) as writer:
        for file, n in track(zip(files, counts, strict=True), "put together", len(files)):
            with open_cutouts(file) as part:
                for start in range(0, n, _ROWS):
                    writer.append(part.read(slice(start, min(start + _ROWS, n))))
    logger.info("%s: %d cutouts", path, sum(counts))


def _remove(folder: Path, files: list[Path]) -> None:
    """Remove the parts and their spectra, and the folder unless other files are in it."""
    for file in [*files, *folder.glob("linear_power_*.npy"), folder / LOCK_NAME]:
        file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
