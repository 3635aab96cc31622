"""One training process per core: on a CPU, threads inside an operation waste a third of it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, cast

import torch

from halo_cm import errors
from halo_cm.processes import (
    SINGLE_THREAD,
    available_cores,
    environment,
    error_of,
    interrupts_blocked,
)
from halo_cm.verbosity import set_verbosity

_WORLD = "WORLD_SIZE"  # what accelerate reads; set by foreign launchers too


def n_processes(requested: int | str, batch_sizes: list[int]) -> int:
    """Processes to train with: as requested, or one per core (or GPU) that divides every batch.

    Parameters
    ----------
    requested
        A number, or ``"auto"``.
    batch_sizes
        Global batch sizes of the phases.
    """
    if isinstance(requested, int):
        return requested
    most = torch.cuda.device_count() if torch.cuda.is_available() else available_cores()
    return max(n for n in range(1, most + 1) if all(b % n == 0 for b in batch_sizes))


def refuse_foreign_launcher() -> None:
    """Raise a `ConfigError` if torchrun or the like has started several of this process."""
    if int(os.environ.get(_WORLD, "1")) > 1:
        raise errors.ConfigError(
            f"{_WORLD} = {os.environ[_WORLD]}: halo_cm starts its training processes itself; start "
            "it once, without torchrun or accelerate launch, and set training.processes"
        )


def launch(function: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Call ``function(*arguments)`` once in each of ``processes`` ranks and wait for all.

    One process is this one. The ranks find each other through the environment, as `accelerate`
    expects.

    Raises
    ------
    HaloCMError
        The first error of a rank.
    KeyboardInterrupt
        If the ranks stopped on Ctrl-C or SIGTERM.
    """
    if processes == 1:
        function(*arguments)
        return
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    world = {_WORLD: str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    level = logging.getLogger("halo_cm").level
    ranks = [
        context.Process(
            target=_run_rank,
            args=(function, arguments, {**world, "RANK": str(rank)}, level, reports),
        )
        for rank in range(processes)
    ]
    # a Ctrl-C while a rank still imports is kept for it until it can answer
    with environment(SINGLE_THREAD), interrupts_blocked():
        for process in ranks:
            process.start()
    with _sigterm_forwarded(ranks):
        _wait(ranks)
    _raise_reported(ranks, reports)


def _run_rank(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    world: dict[str, str],
    level: int,
    reports: Any,
) -> None:
    os.environ.update(world, LOCAL_RANK=world["RANK"])
    torch.set_num_threads(1)
    set_verbosity("summary" if world["RANK"] == "0" else "warning")
    logging.getLogger("halo_cm").setLevel(max(level, logging.getLogger("halo_cm").level))
    # other ranks may wait for one that fails, so each leaves without an orderly goodbye
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        function(*arguments)
    except KeyboardInterrupt:
        reports.put(("KeyboardInterrupt", ""))
        os._exit(130)
    except errors.HaloCMError as error:
        reports.put((type(error).__name__, str(error)))
        os._exit(1)
    except RuntimeError:  # often only a broken connection to a rank that has failed
        reports.put(("RuntimeError", traceback.format_exc()))
        os._exit(1)
    # all is written: threads of the process group that still run when the interpreter goes down
    # have been seen to abort it ("terminate called without an active exception")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _wait(ranks: list[SpawnProcess]) -> None:
    """Wait for all ranks; when one fails, stop the others after a moment."""
    pending = {process.sentinel: process for process in ranks}
    while pending:
        try:
            for sentinel in wait(list(pending)):
                process = pending.pop(cast("int", sentinel))
                process.join()
                if process.exitcode != 0:
                    for other in pending.values():
                        other.join(timeout=10)
                        other.kill()
        except KeyboardInterrupt:
            # the ranks got the signal too: they save their state and leave by themselves
            continue


def _raise_reported(ranks: list[SpawnProcess], reports: Any) -> None:
    found = []
    while not reports.empty():
        found.append(reports.get())
    if any(name == "KeyboardInterrupt" for name, _ in found):
        raise KeyboardInterrupt
    for name, message in sorted(found, key=lambda report: report[0] == "RuntimeError"):
        if name == "RuntimeError":
            raise errors.TrainingError(f"a training process failed:\n{message}")
        raise error_of(name, message)
    failed = [process.exitcode for process in ranks if process.exitcode]
    if failed:
        raise errors.TrainingError(
            f"a training process ended with exit code {failed[0]} (-9: killed, often for lack of "
            "memory); continue with --resume, with fewer processes or a smaller batch"
        )


@contextmanager
def _sigterm_forwarded(ranks: list[SpawnProcess]) -> Iterator[None]:
    """A batch system ends a job with SIGTERM to this process: the ranks save their state."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def forward(*_: Any) -> None:
        for process in ranks:
            process.terminate()

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
