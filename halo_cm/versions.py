"""Versions of what computed a result, for the records beside it."""

from __future__ import annotations

import platform
from importlib import metadata


def installed(*packages: str) -> dict[str, str]:
    """Version of Python and of each package, or ``"not installed"``."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
