"""What differs between two configurations."""

from __future__ import annotations

from typing import Any


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Lines such as ``training.batch_size: 32 there, 64 now``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}.{i}")]
    return [] if old == new else [f"{where}: {_short(old)} there, {_short(new)} now"]


def _short(value: Any) -> str:
    """Text of one line for a value of any size."""
    if value is None:
        return "nothing"
    text = "a table" if isinstance(value, dict) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
