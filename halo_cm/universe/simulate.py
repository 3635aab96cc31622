"""All boxes of a universe in parallel processes, and their assembly into one cutout file."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.box import geometry, n_reports, simulate_box
from halo_cm.universe.parts import Parts, make_in_parts


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
    parts = Parts(
        title="simulate",
        noun="box",
        names=tuple(f"box_{box:03d}" for box in range(config.n_boxes)),
        steps=tuple(n_reports(config, box) for box in range(config.n_boxes)),
        make=partial(simulate_box, config),
        geometry=geometry(config),
    )
    return make_in_parts(parts, path, workers=workers, overwrite=overwrite, keep=keep_boxes)
