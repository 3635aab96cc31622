"""The part of ``halo-cm benchmark`` that compares several models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halo_cm.cli_support import ConfigOptions, ModelOptions
from halo_cm.errors import ConfigError

if TYPE_CHECKING:
    from halo_cm.benchmark import Summary

#: Among models, the copied input, which is one of the floors whether it is named or not.
_COPY = "copy"


@dataclass(frozen=True)
class CompareTask:
    """Options that compare models with each other."""

    models: Annotated[
        str | None,
        typer.Option(
            help="Compare these: names of runs, folders or model files; LABEL=FILE names a row; "
            "copy is the copied input, in every table. --out is then the report's folder (report).",
            metavar="A,B,...",
        ),
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(
            help="Sampling steps of consistency models (1,2,4).",
            metavar="N,...",
            show_default=False,
        ),
    ] = None
    oracle: Annotated[
        Path | None,
        typer.Option(
            help="Compare with these exact draws, made by `halo-cm simulate --oracle`.",
            metavar="FILE",
        ),
    ] = None
    split: Annotated[
        str | None,
        typer.Option(
            help="Split whose cutouts decide (test); validation to choose between models.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None
    n_samples: Annotated[
        int | None,
        typer.Option(help="Samples of each cutout (8).", min=2, show_default=False),
    ] = None
    runs: Annotated[
        Path | None,
        typer.Option(
            help="Where --models looks for runs by their names (runs).",
            metavar="DIR",
            show_default=False,
        ),
    ] = None
    report: Annotated[Path | None, typer.Option(hidden=True)] = None

    def run(self, options: ConfigOptions) -> tuple[Summary, Path]:
        """Compare; returns the summary and the folder of the report.

        Raises
        ------
        ConfigError
            If options are missing or do not apply, or the folder of the report holds runs.
        CheckpointError
            If there is no such model.
        """
        from halo_cm.compare import CompareOptions, compare

        self._refuse_report()
        if options.model is not None or options.config is not None or options.changes:
            raise ConfigError(
                "--models compares finished models: leave out --model, --config and --set"
            )
        if options.data is None:
            raise ConfigError("--models needs --data FILE, the cutouts of which a split decides")
        if options.seed is not None and options.seed < 0:
            raise ConfigError(f"--seed {options.seed}: expected a number that is not negative")
        if self.oracle is not None and self.split is not None:
            raise ConfigError(
                f"--split {self.split}: exact draws are of a split of their own; leave it out"
            )
        given: dict[str, Any] = {
            "split": self.split,
            "n_members": self.n_samples,
            "steps": self._steps(),
            "seed": options.seed,
        }
        folder = options.out or Path("report")
        if runs := sorted(folder.glob("*/run.json")):
            raise ConfigError(
                f"--out {folder} holds folders of runs, such as {runs[0].parent.name}: with "
                "--models it is the folder of the report itself; name another, as report"
            )
        summary = compare(
            self._paths(self.runs or Path("runs")),
            options.data,
            folder,
            oracle=self.oracle,
            options=CompareOptions(**{k: v for k, v in given.items() if v is not None}),
        )
        return summary, folder

    def refuse_alone(self) -> None:
        """Raise a `ConfigError` for options that need ``--models``."""
        self._refuse_report()
        named = ("steps", "oracle", "split", "n_samples", "runs")
        given = [f"--{n.replace('_', '-')}" for n in named if getattr(self, n) is not None]
        if given:
            raise ConfigError(f"{', '.join(given)}: only with --models; leave it out")

    def _refuse_report(self) -> None:
        if self.report is not None:
            raise ConfigError(
                f"--report {self.report} is now --out, the folder of the report with --models; "
                "the report of a single run is in its own folder"
            )

    def _paths(self, runs: Path) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for entry in (self.models or "").split(","):
            label, place = "", entry.strip()
            if place == _COPY:
                continue
            if not Path(place).exists() and "=" in place:
                label, _, place = place.partition("=")
            path = ModelOptions(place, runs).path()
            label = label or (path.parent.name if path.stem == "model" else path.stem)
            if label in paths:
                raise ConfigError(f"--models names {label!r} twice: give a row LABEL=FILE")
            paths[label] = path
        if not paths:
            raise ConfigError(
                f"--models {self.models} names no model: the copied input stands in every table; "
                "add a model to compare with it"
            )
        return paths

    def _steps(self) -> tuple[int, ...] | None:
        if self.steps is None:
            return None
        try:
            found = tuple(int(word) for word in self.steps.split(","))
        except ValueError:
            found = ()
        if not found or min(found) < 1 or len(set(found)) < len(found):
            raise ConfigError(f"--steps {self.steps}: expected different whole numbers, as 1,2,4")
        return found
