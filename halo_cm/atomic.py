"""Files that are either whole or absent: write under a temporary name, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halo_cm.errors import OutputError

#: Name of the file by which a process keeps others out of a folder.
LOCK_NAME = ".lock"

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "a limit on file sizes was reached: raise it (ulimit -f) or ask for less",
    errno.EACCES: "permission denied: choose a directory you may write to",
    errno.EPERM: "permission denied: choose a directory you may write to",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EEXIST: "a part of the path is a file, not a directory: choose another path",
    errno.ENOTDIR: "a part of the path is a file, not a directory: choose another path",
}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Temporary path beside ``path`` that takes its name when the block ends without an error.

    Raises
    ------
    OutputError
        If the directory cannot be made or the file cannot be written; ``path`` is then unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _fsync(temporary)
            os.replace(temporary, path)
            _fsync(path.parent)
    finally:
        if temporary.exists():
            temporary.unlink()


@contextmanager
def explain_os_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn operating-system errors while writing ``path`` into an `OutputError` with advice."""
    try:
        yield
    except OSError as error:
        code = _root_errno(error)
        if code is None:
            raise
        advice = _ADVICE.get(code, "check the path and the disk")
        reason = os.strerror(code)
        raise OutputError(f"cannot write {path}: {reason}; {advice}") from error


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Make a folder and write into it, before long work whose result it takes.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    with explain_os_errors(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def lock(folder: str | os.PathLike[str], activity: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if it is absent.

    The lock ends with the process that holds it, however that ends.

    Parameters
    ----------
    folder
        The folder.
    activity
        What is done there, such as ``"training in runs/a"``, for the message.

    Raises
    ------
    OutputError
        If another process holds the lock, or the folder cannot be made.
    """
    import fcntl

    folder = Path(folder)
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another process is {activity}: wait for it, or choose another place"
            ) from error
        except OSError as error:
            raise OutputError(
                f"{file.name} cannot be locked ({error.strerror}): the file system does not allow "
                "it; choose a place on another one"
            ) from error
        if not _is_same(file.fileno(), folder / LOCK_NAME):
            # a process that has just ended took the file away: others would not see this lock
            raise OutputError(f"another process has just ended {activity}: run the command again")
        yield


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether an open file still stands under its name."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write an indented JSON file atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _root_errno(error: OSError) -> int | None:
    """errno of ``error``; HDF5 gives it only in the text, as 'errno = 28'."""
    if error.errno is not None:
        return error.errno
    for code in _ADVICE:
        if f"errno = {code}," in str(error):
            return code
    return None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
