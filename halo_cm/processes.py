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
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from halo_cm import errors

#: Called by a task with every step of its progress.
Report = Callable[[], None]
#: A job's work: called with the number of the job; what it returns goes back to the parent.
Task = Callable[[int, Report], Any]

#: Set before a worker imports torch: its thread pools read them only once. Threads that wait
#: actively would take the cores of the other workers.
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}

#: What a worker says: a step of progress, a finished job, or the error that ended one.
_STEP, _DONE, _FAILED = "step", "done", "failed"
_STOP_SECONDS = 10.0


def available_cores() -> int:
    """Cores that this process may use: a batch system often gives it only some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    noun: str
    job: int = field(default=-1)

    def give(self, job: int) -> None:
        self.job = job
        try:
            self.connection.send(job)
        except ConnectionError:
            self._report_death()

    def hear(self) -> tuple[str, Any]:
        """Next message of the worker; its error is raised."""
        try:
            what, content = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._report_death()
        if what == _FAILED:
            kind, message = content
            raise error_of(kind, message)
        return what, content

    def _report_death(self) -> None:
        self.process.join(_STOP_SECONDS)
        code = self.process.exitcode
        if code is not None and code < 0:
            cause = (
                f"was killed by {signal.Signals(-code).name}; on SIGKILL the machine is probably "
                "out of memory: use fewer workers"
            )
        else:
            cause = f"stopped with exit code {code}; its traceback is above"
        raise errors.HaloCMError(
            f"the worker process of {self.noun} {self.job} {cause}; what is finished is kept, run "
            "the same command again to continue"
        )


def run_jobs(
    tasks: Sequence[Task],
    jobs: Sequence[int],
    *,
    noun: str = "job",
    on_step: Report = lambda: None,
) -> Generator[tuple[int, Any], None, None]:
    """Do all jobs, each in one of ``len(tasks)`` processes; yield each and its result when done.

    Parameters
    ----------
    tasks
        One function for each worker process, called with a job and a function to report steps of
        progress; it is sent there by `multiprocessing`, and its results are sent back.
    jobs
        Numbers of the jobs, started in this order.
    noun
        What a job is, for messages.
    on_step
        Called with every step of progress of any worker.

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
        with environment(SINGLE_THREAD), interrupts_blocked():
            for task in tasks[: len(waiting)]:
                crew.append(_start(task, noun))
        for worker in crew:
            worker.give(waiting.popleft())
            busy.append(worker)
        while busy:
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                what, result = worker.hear()
                if what == _STEP:
                    on_step()
                    continue
                busy.remove(worker)
                yield worker.job, result
                if waiting:
                    worker.give(waiting.popleft())
                    busy.append(worker)
    finally:
        _stop(crew, busy)


def _start(task: Task, noun: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, task), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, noun)


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


def _serve(connection: Connection, task: Task) -> None:
    """Run in a worker: do the jobs that arrive until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when its workers stop
    # an ordinary exit gives semaphores and temporary files back, death by a signal does not
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.unraisablehook = _exit_again

    def report() -> None:
        try:
            connection.send((_STEP, None))
        except OSError:
            raise SystemExit(1) from None  # the parent is gone

    answer: tuple[str, Any] = (_DONE, None)
    while answer[0] == _DONE:
        # only around the pipe: the same errors of a task are bugs or damaged files, and need their
        # traceback
        try:
            job = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = (_DONE, task(job, report))
        except errors.HaloCMError as error:
            answer = (_FAILED, (type(error).__name__, str(error)))
        try:
            connection.send(answer)
        except ConnectionError:
            return


def _exit_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops, with a traceback, an exit that hits a callback of its own: exit a bit later."""
    if issubclass(unraisable.exc_type, SystemExit):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def error_of(kind: str, message: str) -> errors.HaloCMError:
    """Error of another process, from the name of its class and its message.

    Classes that stand elsewhere than in `halo_cm.errors` come back as `HaloCMError`, with their
    name in the message.
    """
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, errors.HaloCMError):
        return found(message)
    return errors.HaloCMError(f"{kind}: {message}")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
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
def interrupts_blocked() -> Iterator[None]:
    """Let processes started inside the block be deaf to Ctrl-C while they import their modules.

    They inherit the signal mask. A Ctrl-C during the block reaches the parent at its end.
    """
    resource_tracker.ensure_running()  # starting it inside the block would end the block's mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
