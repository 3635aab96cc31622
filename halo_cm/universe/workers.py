"""Worker processes that simulate boxes, one at a time and with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from halo_cm.config.universe import UniverseConfig
from halo_cm.errors import HaloCMError, OutputError

Job = tuple[int, Path]
#: What a worker says: a step of progress, a finished box (or the error that ended it), good-bye.
_STEP, _DONE, _LEFT = "step", "done", "left"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_boxes(
    config: UniverseConfig, jobs: list[Job], workers: int, on_step: Callable[[], None]
) -> None:
    """Simulate boxes in parallel processes.

    Parameters
    ----------
    config
        The universe.
    jobs
        Index and file of each box, in the order in which they are begun.
    workers
        Number of processes; never more than boxes.
    on_step
        Called with every step of progress of any box.

    Raises
    ------
    HaloCMError
        The error of a worker; the others are stopped, their finished boxes stay.
    """
    waiting = list(reversed(jobs))
    crew: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(min(workers, len(jobs))):
            connection, process = _start(config, waiting.pop())
            crew[connection] = process
        while crew:
            for ready in wait(list(crew)):
                assert isinstance(ready, Connection)
                message = _converse(ready, crew[ready], waiting)
                if message == _STEP:
                    on_step()
                elif message == _LEFT:
                    crew.pop(ready).join()
                elif isinstance(message, HaloCMError):
                    raise message
    finally:
        for process in crew.values():
            process.terminate()
        for process in crew.values():
            process.join()


def _start(config: UniverseConfig, job: Job) -> tuple[Connection, SpawnProcess]:
    """Start a worker that has single-threaded libraries and does not hear Ctrl-C."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(config, theirs, job), daemon=True)
    with _single_threaded(), _interrupts_ignored():
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started in this block have libraries of one thread."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C: their parent hears it and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _converse(
    connection: Connection, process: SpawnProcess, waiting: list[Job]
) -> str | HaloCMError:
    """Hear one message of a worker; one that has finished a box gets the next, or leaves."""
    try:
        message: str | HaloCMError = connection.recv()
        if message == _DONE:
            connection.send(waiting.pop() if waiting else None)
        return message
    except (EOFError, ConnectionError):
        process.join()
    if process.exitcode == 0:
        return _LEFT
    raise OutputError(
        f"a simulating process ended with exit code {process.exitcode} (-9: it was killed, often "
        "for want of memory: use fewer workers; else its own message stands above); finished "
        "boxes are kept, run the same command again to continue"
    )


def _work(config: UniverseConfig, connection: Connection, job: Job | None) -> None:
    """Simulate one box after another until the parent process sends None or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from halo_cm.universe.box import simulate_box

    def report() -> None:
        try:
            connection.send(_STEP)
        except OSError:
            raise SystemExit(1) from None  # the parent is gone

    torch.set_num_threads(1)
    try:
        while job is not None:
            box, path = job
            simulate_box(config, box, path, report)
            connection.send(_DONE)
            job = connection.recv()
    except HaloCMError as error:
        connection.send(error)
    except (EOFError, ConnectionError):
        return  # the parent is gone
