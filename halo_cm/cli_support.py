"""What the commands share: groups of options, errors without tracebacks, names to paths."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from halo_cm.errors import CheckpointError, ConfigError, DataError, HaloCMError

if TYPE_CHECKING:
    from halo_cm.config.schema import Config

logger = logging.getLogger(__name__)

_CONFIGS = Path("configs")
_MODEL_FILE = "model.safetensors"
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@dataclass(frozen=True)
class ConfigOptions:
    """Options that choose and change a configuration."""

    model: Annotated[str | None, typer.Option(help="Take configs/NAME.toml.", metavar="NAME")] = (
        None
    )
    config: Annotated[
        Path | None,
        typer.Option(help="Take this .toml or .ini file, whatever --model says.", metavar="FILE"),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(help="Read cutouts of yours and simulate nothing.", metavar="FILE"),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that holds the folders of runs (runs).", metavar="DIR"),
    ] = None
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change a setting, as training.batch_size=64.", metavar="KEY=VALUE"
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of training and samples.")] = None

    def load(self) -> Config:
        """The configuration.

        Raises
        ------
        ConfigError
            If there is no such configuration, or if it is not valid.
        DataError
            If ``data`` does not exist.
        """
        from halo_cm.config.loader import ConfigLoader

        overrides = list(self.changes or ())
        if self.seed is not None:
            overrides.append(f"seed={self.seed}")
        if self.out is not None:
            overrides.append(f"output={json.dumps(str(self.out), ensure_ascii=False)}")
        config = ConfigLoader(self.config or _named_config(self.model), overrides)
        if self.data is None:
            return config
        if not self.data.is_file():
            raise DataError(
                f"--data {self.data}: no such file; without --data the embedded universe is used"
            )
        return config.with_data(self.data)


@dataclass(frozen=True)
class ModelOptions:
    """Options that choose a trained model."""

    model: Annotated[str, typer.Option(help="Name of a run, its folder, or a model file.")]
    runs: Annotated[
        Path, typer.Option(help="Folder that holds the folders of runs.", metavar="DIR")
    ] = Path("runs")

    def path(self) -> Path:
        """The model file: of a run, or else of the model of this name in the package.

        Raises
        ------
        CheckpointError
            If there is none; the message lists the trained models.
        """
        from halo_cm.config.suggest import nearest
        from halo_cm.pretrained import pretrained_models, pretrained_path

        name, runs = self.model, self.runs
        for path in (Path(name), Path(name) / _MODEL_FILE, runs / name / _MODEL_FILE):
            if path.is_file():
                return path
        packaged = pretrained_models()
        if name in packaged:
            path = pretrained_path(name)
            logger.warning(
                "no run %r in %s: taking the model that comes with the package, %s",
                *(name, runs, path),
            )
            return path
        problem = f"no trained model {name!r} in {runs}"
        if (_CONFIGS / f"{name}.toml").is_file():
            raise CheckpointError(
                f"{problem}: train it with `halo-cm train --model {name}`, or say where the runs "
                "are with --runs"
            )
        trained = {path.parent.name for path in runs.glob(f"*/{_MODEL_FILE}")}
        raise CheckpointError(f"{problem}{nearest(name, {*trained, *packaged})}")


@dataclass(frozen=True)
class ChoiceOptions:
    """Options that choose cutouts of a file."""

    n_haloes: Annotated[int, typer.Option(min=1, help="How many cutouts of the split.")] = 16
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test"


@dataclass(frozen=True)
class WorkOptions:
    """Options that say how a generation is split (`halo_cm.generation.options`)."""

    split: Annotated[
        str | None, typer.Option(help="Only this split: train, validation or test.")
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(help="Do part i of n, from 0; SLURM's array is understood.", metavar="i/n"),
    ] = None
    haloes_per_chunk: Annotated[
        int | None, typer.Option("--chunk", help="Haloes in a chunk of the store.")
    ] = None
    workers: Annotated[
        int | None, typer.Option(help="Processes (one per core); 0: only this one.")
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto"


def command(advice: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command: flat options, and messages in place of tracebacks.

    Parameters that are dataclasses become one option for each of their fields.

    Parameters
    ----------
    advice
        What is kept after Ctrl-C, and how to go on.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = _annotated_hints(function)
        groups: dict[str, Any] = {n: hint for n, hint in hints.items() if is_dataclass(hint)}

        @functools.wraps(function)
        def run(**values: Any) -> None:
            for name, group in groups.items():
                values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
            try:
                function(**values)
            except HaloCMError as error:
                typer.secho(f"error: {error}", err=True, fg="red")
                raise typer.Exit(1) from error
            except KeyboardInterrupt as error:
                typer.echo(f"\ninterrupted: {advice}", err=True)
                raise typer.Exit(_INTERRUPTED) from error

        parameters = _flat_parameters(function, hints, groups)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return run

    return decorate


def _annotated_hints(function: Callable[..., None]) -> dict[str, Any]:
    """Type hints with what `Annotated` says of options.

    Python 3.10 makes ``Optional[Annotated[...]]`` of a parameter whose default is None, in which
    typer does not look for it.
    """
    hints = get_type_hints(function, include_extras=True)
    for name, hint in hints.items():
        inside = [part for part in get_args(hint) if get_origin(part) is Annotated]
        if get_origin(hint) is not Annotated and inside:
            hints[name] = inside[0]
    return hints


def _named_config(model: str | None) -> Path:
    from halo_cm.config.suggest import nearest

    known = sorted(path.stem for path in _CONFIGS.glob("*.toml") if path.stem != "ablations")
    if not known:
        raise ConfigError(
            f"there is no {_CONFIGS}/*.toml in {os.curdir!r}: go to the folder of the repository, "
            "or give --config FILE"
        )
    if model is None:
        raise ConfigError(f"give --model NAME ({', '.join(known)}) or --config FILE")
    if model not in known:
        raise ConfigError(f"unknown model {model!r}{nearest(model, known)}")
    return _CONFIGS / f"{model}.toml"


def _flat_parameters(
    function: Callable[..., None], hints: dict[str, Any], groups: dict[str, Any]
) -> list[inspect.Parameter]:
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            types = get_type_hints(groups[name], include_extras=True)
            options = [(f.name, types[f.name], f.default) for f in fields(groups[name])]
        else:
            options = [(name, hints[name], parameter.default)]
        for option, annotation, default in options:
            default = inspect.Parameter.empty if default is MISSING else default
            flat.append(
                inspect.Parameter(
                    option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                )
            )
    return flat
