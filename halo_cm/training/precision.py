"""The number format that matrix products of a training are computed in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch

#: What Linux calls the instructions for bfloat16 of x86 and Arm processors.
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_PROCESSOR = Path("/proc/cpuinfo")


def mixed_precision(setting: Literal["no", "bf16", "auto"]) -> Literal["no", "bf16"]:
    """Mixed precision of `accelerate` for the setting ``training.precision``.

    A processor without instructions for bfloat16 emulates it, at almost twice the cost of single
    precision (docs/training.md), so that ``"auto"`` means bfloat16 only where they exist. Of
    several GPUs the current one is asked.
    """
    if setting != "auto":
        return setting
    fast = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if torch.cuda.is_available()
        else _processor_has_bf16()
    )
    return "bf16" if fast else "no"


@cache
def _processor_has_bf16() -> bool:
    try:
        content = _PROCESSOR.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
    lines = (line.partition(":") for line in content.splitlines())
    return any(
        key.strip().lower() in ("flags", "features") and not _FLAGS.isdisjoint(value.split())
        for key, _, value in lines
    )
