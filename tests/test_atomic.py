"""Files are whole or absent, and failed writes are explained."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from halo_cm.atomic import atomic_path, write_json, write_text
from halo_cm.errors import OutputError
from halo_cm.training.checkpoint import write_tensors


def test_a_failed_block_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic_path(path) as temporary:
        temporary.write_text("half \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_parents_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"x": 1})
    assert (tmp_path / "a" / "b" / "c.json").is_file()


def test_nan_is_refused_in_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"), (errno.EROFS, "read-only")],
)
def test_errors_of_the_operating_system_are_explained(tmp_path, monkeypatch, code, advice):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=rf"cannot write .*a\.txt.*{advice}"):
        write_text(tmp_path / "a.txt", "x")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_of_a_folder(tmp_path):
    write_text(tmp_path / "a", "x")
    with pytest.raises(OutputError, match=r"cannot write .*a.b\.txt.*(not a directory|exists)"):
        write_text(tmp_path / "a" / "b.txt", "x")


_LIMITED = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.path.insert(0, {tests!r})
import test_atomic
test_atomic.write_large(Path({path!r}), {kind!r})
"""


def write_large(path, kind):
    """Run in a process whose files may not grow: a real write that fails half way."""
    write = {"hdf5": _write_hdf5, "safetensors": _write_safetensors}[kind]
    with pytest.raises(OutputError, match="limit on file sizes"):
        write(path)


def _write_hdf5(path):
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["x"] = np.zeros(100_000)


def _write_safetensors(path):
    write_tensors(path, "emulator", {"x": torch.zeros(100_000)}, {})


@pytest.mark.parametrize("kind", ["hdf5", "safetensors"])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, kind):
    path = tmp_path / "large.bin"
    code = _LIMITED.format(tests=os.path.dirname(__file__), path=str(path), kind=kind)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
