"""Where a run keeps what: ``runs/<name>/``."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halo_cm.atomic import lock, write_json
from halo_cm.config.differences import differences
from halo_cm.config.network import DiTConfig, UNetConfig
from halo_cm.config.sampling import SamplingConfig
from halo_cm.data.cutouts import read_geometry
from halo_cm.errors import CheckpointError
from halo_cm.versions import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halo_cm.config.schema import Config

#: Parts of the config that do not change what is trained.
_FREE: dict[str, Any] = {"benchmark": True, "output": True, "data": {"path": True}}
_FREE_IN_TRAINING = {
    "processes": True,
    "log_every": True,
    "checkpoint_every": True,
    "tensorboard": True,
}


class RunFolder:
    """Paths of a run, and whether it may be started, continued or reused.

    Parameters
    ----------
    config
        Gives ``output`` and ``name``.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.path = config, config.run_folder
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
        if not self._facts.is_file() or not (self.finished or self.state.is_file()):
            # nothing was saved yet: a run that failed before may have had other data
            self._write(finished=False)
            return
        found = json.loads(self._facts.read_text())["config"]
        # a moved or copied file is the same data; versions before also wrote down its place
        found.get("data", {}).pop("path", None)
        # nor did they know all settings: what they lacked has the defaults
        network = {"backbone": "unet"} | found.get("network", {})
        shape = DiTConfig() if network["backbone"] == "dit" else UNetConfig()
        found.get("training", {}).setdefault("compile", False)
        found["network"] = shape.model_dump(mode="json") | network
        sampling, now = found.get("sampling", {}), self._relevant()
        if "levels" in sampling and "choose_levels" not in sampling:
            # they wrote down the default levels that were tuned, as if they were given
            tuned = self.config.sampling.tuned_levels(self.config.diffusion)
            now["sampling"]["levels"] = {str(n): list(levels) for n, levels in tuned.items()}
        found["sampling"] = SamplingConfig().model_dump(mode="json") | sampling
        changes = differences(found, now)
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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training here at the same time.

        Raises
        ------
        OutputError
            If one does.
        """
        with lock(self.path, f"training in {self.path}"):
            for leftover in self.path.glob("**/.*.tmp"):
                leftover.unlink(missing_ok=True)  # of a process that was killed
            yield

    def finish(self) -> None:
        """Mark the run as trained to its end."""
        self._write(finished=True)
        self.state.unlink(missing_ok=True)
        self.state.with_suffix(".json").unlink(missing_ok=True)

    def _write(self, *, finished: bool) -> None:
        write_json(self._facts, {"finished": finished, "config": self._relevant()})

    def _relevant(self) -> dict[str, Any]:
        free = {**_FREE, "training": _FREE_IN_TRAINING}
        content = self.config.model_dump(mode="json", exclude=free)
        content["data"]["fingerprint"] = self.data_fingerprint()
        training = content["training"]  # versions before had no key `start`
        _identify(training, "start")
        if training["start_data"] == "same":  # nor this one
            del training["start_data"]
        for phase in training["phases"]:
            _identify(phase["objective"], "teacher")
        return content

    def data_fingerprint(self) -> str:
        """What the cutouts are: the embedded universe's own fingerprint, else of all bytes."""
        path = self.config.data.path
        own = read_geometry(path).provenance.get("fingerprint")
        return str(own) if own else file_sha256(path)


def _identify(table: dict[str, Any], key: str) -> None:
    """Put the sha256 of a model file in the place of its path: what is in it counts, not where."""
    path = table.get(key)
    if path is None:
        table.pop(key, None)
    elif isinstance(path, str) and Path(path).is_file():
        table[key] = {"sha256": file_sha256(path)}
