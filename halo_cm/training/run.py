"""Train what a config describes, or reuse what an earlier run has trained."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from halo_cm.training import state as training_state
from halo_cm.training.launch import launch, n_processes, refuse_foreign_launcher
from halo_cm.training.loop import train_rank
from halo_cm.training.run_folder import RunFolder

if TYPE_CHECKING:
    from halo_cm.config.schema import Config

logger = logging.getLogger(__name__)


def train(config: Config, *, resume: bool = False) -> RunFolder:
    """Train all phases into ``<config.output>/<config.name>``.

    Parameters
    ----------
    config
        The resolved tree; its data file must exist.
    resume
        Continue an unfinished run of the same config; without one, start.

    Returns
    -------
    RunFolder
        With the model of the run, one model per phase, and the log.

    Raises
    ------
    CheckpointError
        If the folder holds another config's run, or an unfinished one without ``resume``.
    TrainingError
        If the loss is not finite or a process dies.
    KeyboardInterrupt
        After Ctrl-C; the state is saved.
    """
    refuse_foreign_launcher()
    folder = RunFolder(config)
    with folder.lock():
        folder.open(resume=resume)
        if folder.finished:
            logger.info("reusing the trained model %s", folder.model)
            return folder
        processes = _processes(config, folder, resume=resume)
        logger.info("training %s with %d process(es) into %s", config.name, processes, folder.path)
        launch(_train_with_keywords, (config, resume), processes)
    return folder


def _processes(config: Config, folder: RunFolder, *, resume: bool) -> int:
    """As many as the run was started with, if it is continued: their noise belongs to it."""
    settings = config.training
    state = training_state.load(folder.state) if resume else None
    if state is not None and settings.processes == "auto":
        return state.position.n_ranks
    batch_sizes = [settings.batch_size_of(phase) for phase in settings.phases]
    return n_processes(settings.processes, batch_sizes)


def _train_with_keywords(config: Config, resume: bool) -> None:
    train_rank(config, resume=resume)
