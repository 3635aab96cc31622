"""Where the figures of a benchmark come from: command, versions, hardware and data."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from halo_cm.containers import Geometry
from halo_cm.versions import installed

_PACKAGES = ("halo_cm", "numpy", "scipy", "torch", "scoringrules", "h5py", "xarray")


def describe_run(
    data: str | os.PathLike[str], geometry: Geometry, command: str | None = None
) -> dict[str, Any]:
    """Provenance of a benchmark of ``data``, as plain JSON values.

    Parameters
    ----------
    data, geometry
        The cutout file and what it says about itself.
    command
        The command that was run; the arguments of this process if None.
    """
    return {
        "command": shlex.join(sys.argv) if command is None else command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": installed(*_PACKAGES),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
            "logical_cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "data": {
            "path": str(data),
            "boxsize": geometry.boxsize,
            "field_of_view": geometry.field_of_view,
            "depth": geometry.depth,
            "n_pixels": geometry.n_pixels,
            "redshift": geometry.redshift,
            "provenance": dict(geometry.provenance),
        },
    }


def _cpu_model() -> str:
    """Name of the processor; platform.processor() is empty on most Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
