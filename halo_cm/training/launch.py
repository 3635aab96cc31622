"""One training process per core: on a CPU, threads inside an operation waste a third of it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from halo_cm import errors
from halo_cm.verbosity import set_verbosity

_ALREADY = "WORLD_SIZE"  # set by torchrun and by SLURM scripts that start every rank themselves


def n_processes(requested: int | str, batch_sizes: list[int]) -> int:
    """Processes to train with: as requested, or one per core that divides every batch.

    Parameters
    ----------
    requested
        A number, or ``"auto"``.
    batch_sizes
        Global batch sizes of the phases.
    """
    if isinstance(requested, int):
        return requested
    if torch.cuda.is_available():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(n for n in range(1, (cores or 1) + 1) if all(b % n == 0 for b in batch_sizes))


def launch(function: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Call ``function(*arguments)`` once in each of ``processes`` ranks and wait for all.

    With one process, or under torchrun, it is called here. The ranks find each other through the
    environment, as `accelerate` expects.

    Raises
    ------
    HaloCMError
        The first error of a rank.
    KeyboardInterrupt
        If the ranks stopped on Ctrl-C.
    """
    if processes == 1 or _ALREADY in os.environ:
        function(*arguments)
        return
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    world = {_ALREADY: str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    world.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    ranks = [
        context.Process(
            target=_run_rank, args=(function, arguments, rank, world, reports), daemon=True
        )
        for rank in range(processes)
    ]
    with _environment(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE"):
        for process in ranks:
            process.start()
    _wait(ranks, reports)


def _run_rank(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    rank: int,
    world: dict[str, str],
    reports: Any,
) -> None:
    os.environ.update(world, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    set_verbosity("summary" if rank == 0 else "warning")
    try:
        function(*arguments)
    except errors.HaloCMError as error:
        reports.put((type(error).__name__, str(error)))
        os._exit(1)  # the other ranks may wait for this one: no orderly goodbye
    except KeyboardInterrupt:
        reports.put(("KeyboardInterrupt", ""))
        os._exit(130)


def _wait(ranks: list[Any], reports: Any) -> None:
    """Wait for all ranks; when one fails, stop the others."""
    from multiprocessing.connection import wait

    interrupted = False
    pending = {process.sentinel: process for process in ranks}
    while pending:
        try:
            for sentinel in wait(list(pending)):
                process = pending.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    for other in pending.values():
                        other.join(timeout=10)
                        other.terminate()
        except KeyboardInterrupt:
            # the ranks got the signal too: they save their state and leave by themselves
            interrupted = True
    if not reports.empty():
        name, message = reports.get()
        if name == "KeyboardInterrupt":
            raise KeyboardInterrupt
        raise getattr(errors, name)(message)
    if interrupted:
        raise KeyboardInterrupt
    failed = [process.exitcode for process in ranks if process.exitcode]
    if failed:
        raise errors.TrainingError(
            f"a training process ended with exit code {failed[0]} (-9: killed, often for lack of "
            "memory); continue with --resume, with fewer processes or a smaller batch"
        )


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for the children that are started inside the block."""
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
