"""Where a run keeps what: ``runs/<name>/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_cm.atomic import write_json
from halo_cm.errors import CheckpointError

if TYPE_CHECKING:
    from halo_cm.config.schema import Config

#: Parts of the config that do not change what is trained.
_FREE = ("benchmark", "output", "sampling")


class RunFolder:
    """Paths of a run, and whether it may be started, continued or reused.

    Parameters
    ----------
    config
        Gives ``output`` and ``name``.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.path = config, Path(config.output) / config.name
        self.model = self.path / "model.safetensors"
        self.state = self.path / "state.safetensors"
        self.log = self.path / "log.jsonl"
        self.report = self.path / "report"
        self._facts = self.path / "run.json"

    def phase_model(self, index: int, name: str) -> Path:
        """Sampling weights at the end of a phase."""
        return self.path / "phases" / f"{index + 1:02d}-{name}.safetensors"

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return self._facts.is_file() and bool(json.loads(self._facts.read_text())["finished"])

    def open(self, *, resume: bool) -> None:
        """Prepare to train here.

        Raises
        ------
        CheckpointError
            If the folder holds another config's run, or an unfinished one and ``resume`` is off.
        """
        if not self._facts.is_file():
            self._write(finished=False)
            return
        found = json.loads(self._facts.read_text())["config"]
        changes = _differences(found, self._relevant())
        if changes:
            listed = "\n  ".join(changes)
            raise CheckpointError(
                f"{self.path} holds a run with another config:\n  {listed}\n"
                "choose another folder with --out, another name, or the config of that run"
            )
        if not self.finished and self.state.is_file() and not resume:
            raise CheckpointError(
                f"{self.path} holds an unfinished run: continue it with --resume, or choose "
                "another folder with --out"
            )

    def finish(self) -> None:
        """Mark the run as trained to its end."""
        self._write(finished=True)
        self.state.unlink(missing_ok=True)
        self.state.with_suffix(".json").unlink(missing_ok=True)

    def _write(self, *, finished: bool) -> None:
        write_json(self._facts, {"finished": finished, "config": self._relevant()})

    def _relevant(self) -> dict[str, Any]:
        content = self.config.model_dump(mode="json")
        return {key: value for key, value in content.items() if key not in _FREE}


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Lines such as ``training.batch_size: 32 there, 64 now``."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in _differences(a, b, f"{where}.{i}")]
    return [] if old == new else [f"{where}: {old} there, {new} now"]
