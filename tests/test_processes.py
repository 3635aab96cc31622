"""Worker processes: single-thread, noticed when they die, ended with their parent."""

from __future__ import annotations

import os
import signal
import time
import weakref
from functools import partial
from pathlib import Path

import pytest

from halo_cm.errors import DataError, HaloCMError
from halo_cm.processes import Report, _Worker, run_jobs


def double(log: Path, job: int, report: Report) -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    (log / f"{job}.txt").write_text(f"{2 * job} {os.getpid()}")


def fail(job: int, report: Report) -> None:
    if job == 2:
        raise DataError("row 2 is bad")
    time.sleep(60 * job)


def die(job: int, report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL if job else signal.SIGCONT)


class Thing:
    """Something that can be referred to weakly."""


def told_to_stop_in_a_callback(job: int, report: Report) -> None:
    def stop(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    thing = Thing()
    reference = weakref.ref(thing, stop)
    del thing  # Python drops what is raised in the callback
    time.sleep(60)
    assert reference() is None


def bug(job: int, report: Report) -> None:
    raise ZeroDivisionError(job)


def read_empty(job: int, report: Report) -> None:
    raise EOFError("no data left in file")


class StrangeError(HaloCMError):
    """An error class of an extension, which is not in halo_cm.errors."""


def fail_strangely(job: int, report: Report) -> None:
    raise StrangeError("row 2 is bad")


def test_jobs_run_in_the_given_number_of_processes(tmp_path):
    before = os.environ.get("OMP_NUM_THREADS")
    finished = list(run_jobs([partial(double, tmp_path)] * 2, range(7)))
    assert sorted(finished) == [(job, None) for job in range(7)]
    answers = [(tmp_path / f"{job}.txt").read_text().split() for job in range(7)]
    assert [int(a) for a, _ in answers] == [0, 2, 4, 6, 8, 10, 12]
    assert len({pid for _, pid in answers} | {str(os.getpid())}) == 3
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert list(run_jobs([partial(double, tmp_path)], [])) == []


def squares(job: int, report: Report) -> int:
    for _ in range(job):
        report()
    return job**2


def test_results_and_steps_reach_the_parent():
    steps = []
    found = dict(run_jobs([squares] * 2, range(5), on_step=lambda: steps.append(1)))
    assert found == {0: 0, 1: 1, 2: 4, 3: 9, 4: 16} and len(steps) == 10


def report_mask(log: Path, job: int, report: Report) -> None:
    (log / f"{job}.txt").write_text(
        str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    )


def test_workers_are_deaf_to_ctrl_c_and_the_parent_is_not(tmp_path):
    list(run_jobs([partial(report_mask, tmp_path)] * 2, range(2)))
    assert [(tmp_path / f"{job}.txt").read_text() for job in range(2)] == ["True", "True"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_error_in_a_worker_stops_the_others():
    start = time.monotonic()
    with pytest.raises(DataError, match="row 2 is bad"):
        list(run_jobs([fail, fail], [1, 2, 3]))
    assert time.monotonic() - start < 30


def test_a_killed_worker_is_noticed():
    with pytest.raises(HaloCMError, match=r"worker process of job 1 was killed by SIGKILL.*mem"):
        list(run_jobs([die], [0, 1, 2]))


def test_a_worker_that_is_told_to_stop_in_a_callback_stops_quietly(capfd):
    start = time.monotonic()
    with pytest.raises(HaloCMError, match=f"exit code {128 + signal.SIGTERM}"):
        list(run_jobs([told_to_stop_in_a_callback], [0]))
    assert time.monotonic() - start < 30
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_in_a_worker_is_reported(capfd):
    with pytest.raises(HaloCMError, match="worker process of box 4 stopped with exit code 1"):
        list(run_jobs([bug], [4], noun="box"))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_end_of_file_in_a_task_is_a_bug_and_no_end_of_work(capfd):
    with pytest.raises(HaloCMError, match="worker process of box 4 stopped with exit code 1"):
        list(run_jobs([read_empty], [4], noun="box"))
    assert "EOFError: no data left in file" in capfd.readouterr().err


def test_an_error_class_from_elsewhere_reaches_the_parent_by_name():
    with pytest.raises(HaloCMError, match=r"^StrangeError: row 2 is bad$"):
        list(run_jobs([fail_strangely], [1]))


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
def test_a_worker_that_died_before_its_job_is_noticed(error):
    class Broken:
        def send(self, job):
            raise error

    class Dead:
        exitcode = -signal.SIGKILL

        def join(self, timeout):
            return None

    with pytest.raises(HaloCMError, match="worker process of box 3 was killed by SIGKILL"):
        _Worker(Dead(), Broken(), "box").give(3)
