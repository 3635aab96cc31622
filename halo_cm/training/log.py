"""The training log: one JSON object per line, and TensorBoard if asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from halo_cm.atomic import explain_os_errors, write_text
from halo_cm.errors import ConfigError


class TrainingLog:
    """Appends records to ``log.jsonl``; on resuming, drops what was logged after the checkpoint.

    Parameters
    ----------
    path
        The JSON-lines file.
    tensorboard
        Also write TensorBoard events beside it.

    Raises
    ------
    ConfigError
        If TensorBoard is asked for and not installed.
    """

    def __init__(self, path: Path, *, tensorboard: bool = False) -> None:
        self._path, self._writer = path, None
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ConfigError(
                    "training.tensorboard = true needs the tensorboard package: install it with "
                    "`pip install halo_cm[tensorboard]` or set it to false"
                ) from error
            self._writer = SummaryWriter(str(path.parent / "tensorboard"))

    def rewind(self, phase_index: int, step: int) -> None:
        """Forget records at or after ``step`` of phase ``phase_index``."""
        if not self._path.exists():
            return
        *whole, last = self._path.read_text().splitlines() or [""]
        whole += [last] if _is_json(last) else []  # a killed job may leave a cut-off line
        kept = [line for line in whole if _position(line) < (phase_index, step)]
        write_text(self._path, "".join(line + "\n" for line in kept))

    def write(self, record: dict[str, Any], global_step: int) -> None:
        """Append one record (numbers and strings; one level of nesting)."""
        with explain_os_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **record}) + "\n")
        if self._writer is not None:
            for name, value in _scalars(record).items():
                self._writer.add_scalar(name, value, global_step)

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            self._writer.close()


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _position(line: str) -> tuple[int, int]:
    record = json.loads(line)
    return record["phase_index"], record["step"]


def _scalars(record: dict[str, Any], prefix: str = "") -> dict[str, float]:
    out: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            out.update(_scalars(value, f"{prefix}{key}/"))
        elif isinstance(value, (int, float)):
            out[prefix + key] = float(value)
    return out
