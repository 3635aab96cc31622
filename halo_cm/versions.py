"""Records of what computed a result: versions of the software, digests of files."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path


def installed(*packages: str) -> dict[str, str]:
    """Version of Python and of each package, or ``"not installed"``."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
