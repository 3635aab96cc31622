"""The file that describes ablations: a base, a budget, groups of variants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tomli
from pydantic import Field, ValidationError

from halo_cm.config.section import Count, Counts, FilePath, Positive, Section
from halo_cm.config.suggest import explain
from halo_cm.errors import ConfigError

Changes = Annotated[tuple[str, ...], Field(strict=False)]
#: Names of groups and variants, which become folders.
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]


class AblationBenchmark(Section):
    """Size of the comparison of a group."""

    n_cutouts: Count = 64
    """Cutouts of the test split."""
    n_members: Annotated[int, Field(ge=2)] = 4
    """Samples of each of them."""
    n_resamples: Count = 200
    """Bootstrap resamples of the haloes."""


class AblationGroup(Section):
    """Variants that are compared with each other."""

    about: str
    """What the group asks, for its table."""
    changes: Changes = ()
    """Changes that all variants of the group share."""
    steps: Annotated[Counts, Field(min_length=1)] = (1, 2)
    """Sampling steps, a row of the table for each."""
    variants: Annotated[dict[FolderName, Changes], Field(min_length=1)]
    """By name, changes to the base, written as for ``--set``; none for the base itself."""


class Ablations(Section):
    """Everything that ``halo-cm ablate`` does."""

    config: FilePath
    """Configuration of the base, relative to the current directory."""
    changes: Changes = ()
    """Changes to it that all variants share: the budget."""
    benchmark: AblationBenchmark = AblationBenchmark()
    core_seconds_per_cutout: dict[str, Positive]
    """By objective, CPU time of one cutout of one step [s]: for estimates before anything runs."""
    groups: Annotated[dict[FolderName, AblationGroup], Field(min_length=1)]


def load_ablations(path: str | os.PathLike[str]) -> Ablations:
    """Read a file of ablations.

    Parameters
    ----------
    path
        A ``.toml`` file with the keys of `Ablations`.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or with everything in it that is not valid.
    """
    path = Path(path)
    try:
        values = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}") from error
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not valid TOML: {error.msg}") from error
    try:
        return Ablations.model_validate(values)
    except ValidationError as error:
        problems = explain(error, Ablations, values)
        raise ConfigError("\n".join(f"{path}: {text}" for _, text in problems)) from error
