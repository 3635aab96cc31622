"""Jobs handed to single-thread worker processes, one after another as each becomes free.

Processes are spawned: torch and HDF5 do not survive a fork. A worker ends when its pipe closes, so
that none is left behind when the parent is killed; a worker that dies is noticed at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from halo_cm import errors

#: Set before a worker imports torch: its thread pools read them only once. Threads that wait
#: actively would take the cores of the other workers.
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}

_STOP_SECONDS = 10.0


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: int = -1

    def give(self, job: int) -> None:
        self.job = job
        try:
            self.connection.send(job)
        except BrokenPipeError:
            self._report_death()

    def collect(self) -> int:
        """Return the finished job, or raise the error of the worker."""
        try:
            failure = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._report_death()
        if failure is not None:
            kind, message = failure
            raise getattr(errors, kind)(message)
        return self.job

    def _report_death(self) -> None:
        self.process.join(_STOP_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            cause = (
                f"was killed by {signal.Signals(-code).name}; on SIGKILL the machine is probably "
                "out of memory: use fewer workers or smaller chunks"
            )
        else:
            cause = f"stopped with exit code {code}; its traceback is above"
        raise errors.HaloCMError(f"the worker process of chunk {self.job} {cause}")


def run_jobs(
    tasks: Sequence[Callable[[int], None]], jobs: Sequence[int]
) -> Generator[int, None, None]:
    """Do all jobs, each in one of ``len(tasks)`` processes, and yield each as it is finished.

    Parameters
    ----------
    tasks
        One function for each worker process, called with a job; sent to it by `multiprocessing`.
    jobs
        Numbers of the jobs, started in this order.

    Raises
    ------
    HaloCMError
        The first error of a worker, of its own class, or a description of how a worker died. The
        other workers are stopped.
    """
    waiting = deque(jobs)
    crew: list[_Worker] = []
    busy: list[_Worker] = []
    try:
        with _environment(SINGLE_THREAD), _interrupts_blocked():
            for task in tasks[: len(waiting)]:
                crew.append(_start(task))
        for worker in crew:
            worker.give(waiting.popleft())
            busy.append(worker)
        while busy:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                busy.remove(worker)
                yield worker.collect()
                if waiting:
                    worker.give(waiting.popleft())
                    busy.append(worker)
    finally:
        _stop(crew, busy)


def _start(task: Callable[[int], None]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, task), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _stop(crew: Sequence[_Worker], busy: Sequence[_Worker]) -> None:
    """End the processes: idle ones when their pipe closes, busy ones at once."""
    for worker in busy:
        worker.process.terminate()
    for worker in crew:
        worker.connection.close()
    for worker in crew:
        worker.process.join(_STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(connection: Connection, task: Callable[[int], None]) -> None:
    """Run in a worker: do the jobs that arrive until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when its workers stop
    # an ordinary exit gives semaphores and temporary files back, death by a signal does not
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while True:
            job = connection.recv()
            try:
                task(job)
            except errors.HaloCMError as error:
                connection.send((type(error).__name__, str(error)))
                return
            connection.send(None)
    except (EOFError, ConnectionError):
        return


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment that processes started inside the block inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes started inside the block be deaf to Ctrl-C while they import their modules.

    They inherit the signal mask. A Ctrl-C during the block reaches the parent at its end.
    """
    resource_tracker.ensure_running()  # starting it inside the block would end the block's mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
