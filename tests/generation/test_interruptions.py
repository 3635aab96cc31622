"""Kills, full disks and Ctrl-C: finished chunks stay and the rest is made again."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
from generation_world import DRAWS, HERE, N, masses

from halo_cm.errors import OutputError
from halo_cm.generate import generate
from halo_cm.generation import store as store_module
from halo_cm.generation.store import Store


def test_finished_chunks_are_not_drawn_again(tmp_path, model, data, caplog):
    out, arguments = tmp_path / "a.zarr", {"n_realizations": 1, "seed": 0}
    caplog.set_level(logging.INFO, "halo_cm")
    first = generate(model, data, out, options=replace(HERE, shard="0/2"), **arguments)
    second = generate(model, data, out, options=HERE, **arguments)
    third = generate(model, data, out, options=HERE, **arguments)
    assert [r.n_new for r in (first, second, third)] == [3, 3, 0]
    assert [r.n_done for r in (first, second, third)] == [3, 6, 6]
    assert "3 of all 6 chunks are" in caplog.text
    assert "has 6 of them, 3 are done already" in caplog.text
    assert "all 6 chunks are done" in caplog.text


KILLED = """
    import os, signal, sys
    from halo_cm.generate import GenerateOptions, generate
    from halo_cm.generation import store

    class Group:
        def __init__(self, path):
            self.arrays = open_group(path)

        def __getitem__(self, name):
            if name == "done" and self.arrays["done"][:].sum() == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return self.arrays[name]

    open_group, store._group = store._group, Group
    options = GenerateOptions(workers=0, device="cpu", haloes_per_chunk=2)
    generate(*sys.argv[1:], n_realizations=3, seed=5, options=options)
"""


def run_script(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_chunk_that_was_killed_before_it_was_marked_is_made_again(
    tmp_path, model, data, reference
):
    out = tmp_path / "a.zarr"
    process = run_script(KILLED, model, data, out)
    _, text = process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL, text
    assert xr.open_zarr(out).done.values.sum() == 4
    assert (out / "mass" / "2.0.0.0.0").exists()
    (out / "mass" / "2.0.0.0.0").write_bytes(b"torn")
    result = generate(model, data, out, n_realizations=DRAWS, seed=5, options=HERE)
    assert result.n_new == 4
    np.testing.assert_array_equal(masses(out), reference)


def fail_at_third_write(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    write, count = Store.write, itertools.count(1)

    class FullGroup:
        def __getitem__(self, name: str) -> object:
            raise error

    def failing(self: Store, chunk: int, mass: np.ndarray) -> None:
        if next(count) == 3:
            monkeypatch.setattr(store_module, "_group", lambda path: FullGroup())
        write(self, chunk, mass)

    monkeypatch.setattr(Store, "write", failing)


def test_full_disk_keeps_the_finished_chunks(tmp_path, model, data, reference, monkeypatch):
    out, arguments = tmp_path / "a.zarr", {"n_realizations": DRAWS, "seed": 5, "options": HERE}
    with monkeypatch.context() as patch:
        fail_at_third_write(patch, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(OutputError, match=r"a\.zarr.*the disk is full: free some space"):
            generate(model, data, out, **arguments)
    assert generate(model, data, out, **arguments).n_new == 4
    np.testing.assert_array_equal(masses(out), reference)


def test_ctrl_c_keeps_the_finished_chunks(tmp_path, model, data, monkeypatch, caplog):
    out = tmp_path / "a.zarr"
    fail_at_third_write(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        generate(model, data, out, n_realizations=1, options=HERE)
    assert "2 of the 6 chunks of shard 0/1" in caplog.text
    assert "run the same command again" in caplog.text


INTERRUPTED = """
    import sys
    from halo_cm.generate import GenerateOptions, generate

    if __name__ == "__main__":
        options = GenerateOptions(workers=2, device="cpu", haloes_per_chunk=1)
        generate(*sys.argv[1:], n_realizations=512, options=options)
"""


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, model, data, how):
    out = tmp_path / "a.zarr"
    process = run_script(INTERRUPTED, model, data, out)
    wait_until(lambda: (out / "mass" / "2.0.0.0.0").exists())
    children = psutil.Process(process.pid).children(recursive=True)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as the terminal does on Ctrl-C: workers get it too
    else:
        process.kill()
    _, text = process.communicate(timeout=60)
    assert process.returncode == -how
    # only the parent reports the interruption, not each worker
    assert text.count("Traceback") == (1 if how == signal.SIGINT else 0)
    wait_until(lambda: not any(child.is_running() for child in children))
    haloes = xr.open_zarr(out)
    assert 2 <= haloes.done.values.sum() < N
    assert not np.isnan(haloes.mass.isel(halo=haloes.done.values).sel(channel="gas")).any()


def test_full_disk_leaves_no_half_made_store(tmp_path, model, data, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", full)
    with pytest.raises(OutputError, match="the disk is full"):
        generate(model, data, tmp_path / "a.zarr", n_realizations=1, options=HERE)
    assert list(tmp_path.iterdir()) == []
