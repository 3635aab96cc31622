"""What ``halo-cm simulate`` does: cutouts, and on demand exact draws, snapshots or a check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halo_cm.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from halo_cm.config.universe import UniverseConfig

#: Options that a task has no use for, and names of those that are not called as their fields.
_IGNORED = {
    "--check": ("preset", "seed", "changes", "overwrite", "keep_boxes"),
    "--snapshots": ("out", "overwrite", "keep_boxes"),
    "--oracle": ("keep_boxes",),
}
_OPTIONS = {"changes": "--set"}
_PRESET = "quickstart"


@dataclass(frozen=True)
class UniverseOptions:
    """Options that choose a universe and how it is made."""

    preset: Annotated[
        str | None,
        typer.Option(
            help=f"ci, quickstart, default, large, 1P or CV ({_PRESET}).",
            metavar="NAME",
            show_default=False,
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="What to write (data/PRESET.h5), or the folder of --check (beside FILE).",
            metavar="PATH",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the universe.")] = None
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as n_draws=4.", metavar="KEY=VALUE"),
    ] = None
    workers: Annotated[
        int | None, typer.Option(min=1, help="Parallel processes (one per core).")
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file of another universe.")
    ] = False
    keep_boxes: Annotated[
        bool, typer.Option("--keep-boxes", help="Keep the files of the single boxes.")
    ] = False

    def load(self) -> UniverseConfig:
        """The universe.

        Raises
        ------
        ConfigError
            If the preset is unknown or a change is not valid.
        """
        from halo_cm.config.loader import load_universe

        seeds = [] if self.seed is None else [f"seed={self.seed}"]
        return load_universe(self.preset or _PRESET, [*(self.changes or ()), *seeds])

    def path(self, suffix: str) -> Path:
        """The file to write."""
        return self.out or Path("data") / f"{self.preset or _PRESET}{suffix}"


@dataclass(frozen=True)
class UniverseTask:
    """Options that ask for something else than cutouts."""

    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Exact draws of test cutouts (data/PRESET_oracle.h5)."),
    ] = False
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of the oracle (test); of another, data/PRESET_oracle_SPLIT.h5.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None
    n_haloes: Annotated[
        int | None, typer.Option(help="Cutouts of the oracle (64).", min=1, show_default=False)
    ] = None
    n_exact_draws: Annotated[
        int | None,
        typer.Option(help="Draws of each of them (64).", min=1, show_default=False),
    ] = None
    n_parameters: Annotated[
        int | None,
        typer.Option(
            help="Parameter vectors of the oracle in each box (4).", min=1, show_default=False
        ),
    ] = None
    snapshots: Annotated[
        Path | None,
        typer.Option(help="Particles of whole boxes in the layout of CAMELS.", metavar="DIR"),
    ] = None
    check: Annotated[
        Path | None,
        typer.Option(
            help="Test the physics of the universe of this file: universe.png and universe.json.",
            metavar="FILE",
        ),
    ] = None
    boxes: Annotated[
        int | None,
        typer.Option(
            help="Boxes of the check in which haloes are counted (20; 32 judge all masses), or of "
            "the oracle (all of the split).",
            min=1,
            show_default=False,
        ),
    ] = None

    def run(self, universe: UniverseOptions) -> str:
        """Do what is asked for; returns what is said about it.

        Raises
        ------
        ConfigError
            If options contradict each other.
        """
        self._refuse_what_does_not_apply(universe)
        if self.check is not None:
            return self._check(self.check, universe)
        if self.snapshots is not None:
            from halo_cm.universe.snapshots import write_snapshots

            return str(write_snapshots(universe.load(), self.snapshots, workers=universe.workers))
        if self.oracle:
            return self._draw_oracle(universe)
        from halo_cm.universe.simulate import simulate

        return str(
            simulate(
                universe.load(),
                universe.path(".h5"),
                workers=universe.workers,
                overwrite=universe.overwrite,
                keep_boxes=universe.keep_boxes,
            )
        )

    def _refuse_what_does_not_apply(self, universe: UniverseOptions) -> None:
        asked = {
            "--oracle": self.oracle,
            "--snapshots": self.snapshots is not None,
            "--check": self.check is not None,
        }
        tasks = [name for name, given in asked.items() if given]
        if len(tasks) > 1:
            raise ConfigError(f"give one of {' and '.join(tasks)} at a time")
        task = tasks[0] if tasks else "without a task"
        ignored = [name for name in _IGNORED.get(task, ()) if _is_given(getattr(universe, name))]
        if not self.oracle:
            sizes = ("split", "n_haloes", "n_exact_draws", "n_parameters")
            ignored += [name for name in sizes if _is_given(getattr(self, name))]
        if self.check is None and not self.oracle and self.boxes is not None:
            ignored.append("boxes")
        if ignored:
            options = ", ".join(
                _OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in ignored
            )
            raise ConfigError(f"{options}: not an option of halo-cm simulate {task}; leave it out")

    def _draw_oracle(self, universe: UniverseOptions) -> str:
        from halo_cm.universe.oracle import OracleOptions, simulate_oracle

        given = {
            "n_haloes": self.n_haloes,
            "n_draws": self.n_exact_draws,
            "n_parameters": self.n_parameters,
            "n_boxes": self.boxes,
        }
        options = OracleOptions(
            split=self.split or "test", **{name: n for name, n in given.items() if n is not None}
        )
        suffix = "" if options.split == "test" else f"_{options.split}"
        path = simulate_oracle(
            universe.load(),
            universe.path(f"_oracle{suffix}.h5"),
            options,
            workers=universe.workers,
            overwrite=universe.overwrite,
        )
        return f"{path}: {options.n_haloes} cutouts x {options.n_draws} exact draws"

    def _check(self, path: Path, universe: UniverseOptions) -> str:
        from halo_cm.atomic import require_writable
        from halo_cm.report.universe import write_universe_report
        from halo_cm.universe.check import check_universe
        from halo_cm.universe.oracle import universe_of

        folder = universe.out or path.with_name(f"{path.stem}.check")
        if path.is_file():  # else the check says so
            universe_of(path)
            require_writable(folder)
        found = check_universe(path, workers=universe.workers, n_boxes=self.boxes)
        text = f"{found.as_text()}\n{folder / 'universe.png'}"
        try:
            write_universe_report(folder, found)
        except OutputError:
            typer.echo(found.as_text())  # minutes of work
            raise
        if found.passed is False:
            typer.echo(text)
            raise typer.Exit(1)
        return text


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != []
