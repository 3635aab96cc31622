"""The options of ``halo-cm ablate``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halo_cm.errors import DataError

if TYPE_CHECKING:
    from halo_cm.benchmark import Summary


@dataclass(frozen=True)
class AblateTask:
    """What is ablated, and where to."""

    config: Annotated[
        Path, typer.Option(help="The file that describes the variants.", metavar="FILE")
    ] = Path("configs/ablations.toml")
    only: Annotated[
        str | None, typer.Option(help="This group alone.", metavar="GROUP", show_default=False)
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(help="Read cutouts of yours and simulate nothing.", metavar="FILE"),
    ] = None
    out: Annotated[Path, typer.Option(help="Folder of all runs and tables.", metavar="DIR")] = Path(
        "runs/ablations"
    )
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the variants and their cost, train nothing.")
    ] = False

    def run(self) -> Iterator[tuple[Summary, Path]]:
        """Train and compare group by group; with ``dry_run``, print the plan and yield nothing.

        Raises
        ------
        ConfigError
            If the file is not valid or has no such group.
        DataError
            If ``data`` does not exist.
        """
        from halo_cm.ablate import ablate, chosen_groups, describe_plan, plan
        from halo_cm.config.ablations import load_ablations

        if self.data is not None and not self.data.is_file():
            raise DataError(
                f"--data {self.data}: no such file; without --data the embedded universe is used"
            )
        ablations = load_ablations(self.config)
        if not self.dry_run:
            yield from ablate(ablations, self.out, data=self.data, only=self.only)
            return
        names = chosen_groups(ablations, self.only)
        variants = plan(ablations, self.out, data=self.data)
        typer.echo(describe_plan([variant for variant in variants if variant.group in names]))
