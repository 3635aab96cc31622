"""The command ``halo-cm``; every import that takes time stands inside the command that needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halo_cm.cli_ablate import AblateTask
from halo_cm.cli_benchmark import CompareTask
from halo_cm.cli_simulate import UniverseOptions, UniverseTask
from halo_cm.cli_support import ChoiceOptions, ConfigOptions, ModelOptions, WorkOptions, command
from halo_cm.errors import ConfigError, OutputError
from halo_cm.verbosity import set_verbosity

if TYPE_CHECKING:
    from halo_cm.benchmark import Summary

app = typer.Typer(
    name="halo-cm",
    help="Hydrodynamic fields around haloes from dark-matter-only maps, in one network evaluation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_CONTINUE_TRAINING = (
    "finished boxes and the last checkpoint are kept; the same command with --resume continues"
)
DataFile = Annotated[Path, typer.Option(help="Cutouts to condition on.", metavar="FILE")]
Steps = Annotated[
    int | None, typer.Option(help="Network evaluations per sample; the model's own if absent.")
]
Seed = Annotated[int, typer.Option(min=0, help="Fixes the result.")]


def main() -> None:
    """Entry point of ``halo-cm``."""
    prepare()
    app()


def train_main() -> None:
    """Entry point of ``train_unified.py``, which is ``halo-cm train``."""
    prepare()
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command()(train)
    alone()


def prepare() -> None:
    """Set what torch reads when it is imported."""
    # idle threads that spin would take the cores from the other training processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    set_verbosity("summary")


def _print_version(wanted: bool) -> None:
    if wanted:
        from halo_cm import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _choose_verbosity(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print it.", callback=_print_version, is_eager=True),
    ] = False,
    verbosity: Annotated[str, typer.Option(help="silent, warning, summary or debug.")] = "summary",
) -> None:
    try:
        set_verbosity(verbosity)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--verbosity") from error


@app.command()
@command("what is finished is kept; the same command continues")
def simulate(universe: UniverseOptions, task: UniverseTask) -> None:
    """Simulate an embedded universe: paired dark-matter-only and hydrodynamic cutouts."""
    typer.echo(task.run(universe))


@app.command()
@command(_CONTINUE_TRAINING)
def train(
    options: ConfigOptions,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished run.")] = False,
) -> None:
    """Train a model and benchmark it; what exists already is reused."""
    config = options.load()
    from halo_cm import pipeline

    _show(pipeline.run(config, resume=resume), config.run_folder / "report")


@app.command()
@command("a report without benchmark.json is unfinished; the same command starts again")
def benchmark(options: ConfigOptions, task: CompareTask) -> None:
    """Compare trained models with the truth on boxes that training never saw."""
    if task.models is not None:
        _show(*task.run(options))
        return
    task.refuse_alone()
    config = options.load()
    from halo_cm import pipeline
    from halo_cm.training.run_folder import RunFolder

    _show(pipeline.benchmark_run(config, RunFolder(config)), config.run_folder / "report")


@app.command()
@command("finished variants and the last checkpoint are kept; the same command continues")
def ablate(task: AblateTask) -> None:
    """Train variants of a model on a small budget and compare them, group by group."""
    for summary, folder in task.run():
        _show(summary, folder)


@app.command()
@command("nothing was written; the same command starts again")
def sample(
    model: ModelOptions,
    data: DataFile,
    out: Annotated[Path, typer.Option(help="File to write (netCDF).", metavar="FILE")],
    choice: ChoiceOptions,
    n_samples: Annotated[int, typer.Option(min=1, help="Samples of each halo.")] = 4,
    n_sampling_steps: Steps = None,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older file.")] = False,
) -> None:
    """Draw fields for a few haloes into one file: different haloes as long as there are some."""
    _check_free(out, data, overwrite=overwrite)
    from halo_cm.atomic import atomic_path
    from halo_cm.benchmark.selection import label_haloes, spread_rows
    from halo_cm.generate import generate_chunk
    from halo_cm.generation.catalogue import read_catalogue

    path = model.path()
    haloes = read_catalogue(data, choice.split)
    # other random draws of the truth have the same maps and parameters
    repeat = haloes["data_realization"].values
    haloes = haloes.isel(halo=repeat == repeat.min())
    labels = label_haloes(haloes["box"].values, haloes["halo_in_box"].values)
    haloes = haloes.isel(halo=spread_rows(labels, choice.n_haloes))
    haloes["mass"] = generate_chunk(
        path,
        data,
        haloes["halo"].values,
        n_realizations=n_samples,
        n_sampling_steps=n_sampling_steps,
        seed=seed,
    )
    with atomic_path(out) as temporary:
        haloes.assign_attrs(model=str(path), seed=seed).to_netcdf(temporary, engine="h5netcdf")
    typer.echo(f"{out}: {haloes.sizes['halo']} cutouts x {n_samples} samples")


@app.command()
@command("finished chunks are kept; the same command continues")
def generate(
    model: ModelOptions,
    data: DataFile,
    out: Annotated[Path, typer.Option(help="Store to fill or continue (zarr).", metavar="DIR")],
    work: WorkOptions,
    n_realizations: Annotated[int, typer.Option(help="Draws of each halo.")] = 1,
    n_sampling_steps: Steps = None,
    seed: Seed = 0,
) -> None:
    """Draw fields for all haloes of a file into one zarr store, chunk by chunk."""
    from dataclasses import asdict

    from halo_cm.generate import generate as run
    from halo_cm.generation.options import GenerateOptions

    run(
        model.path(),
        data,
        out,
        n_realizations=n_realizations,
        n_sampling_steps=n_sampling_steps,
        seed=seed,
        options=GenerateOptions(**asdict(work)),
    )


@app.command()
@command("nothing was changed")
def info(
    path: Annotated[
        Path | None,
        typer.Argument(help="Model, run folder, cutout file, zarr store or configuration."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Print this configuration, all defaults included.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of it.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Say what a file is: a configuration, a model or data."""
    if (path is None) == (config is None):
        raise ConfigError("give either a PATH or --config FILE")
    if path is not None and path.suffix in (".toml", ".ini"):
        path, config = None, path
    if config is not None:
        from halo_cm.config.loader import ConfigLoader, as_toml

        typer.echo(as_toml(ConfigLoader(config, changes or ())))
    elif path is not None:
        typer.echo(_describe(path))


def _check_free(out: Path, data: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if data.exists() and out.samefile(data):
        raise OutputError(f"--out {out} is the file of --data, which it would replace")
    if not overwrite:
        raise OutputError(f"{out} exists: choose another --out, or replace it with --overwrite")


def _describe(path: Path) -> str:
    if path.suffix == ".zarr":
        return _describe_store(path)
    if path.is_dir() or path.suffix == ".safetensors":
        return _describe_model(path if path.suffix else path / "model.safetensors")
    return _describe_data(path)


def _describe_model(path: Path) -> str:
    import tomli_w

    from halo_cm.config.loader import without_nones
    from halo_cm.training.checkpoint import read_facts

    return f"# model {path}\n" + tomli_w.dumps(without_nones(read_facts(path, "emulator")))


def _describe_data(path: Path) -> str:
    import xarray as xr

    from halo_cm.data.cutouts import read_geometry

    read_geometry(path)  # explains what is wrong with files that are no cutouts
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return f"cutouts {path}\n{dataset}"


def _describe_store(path: Path) -> str:
    import xarray as xr

    if not path.is_dir():
        raise ConfigError(f"{path}: no such store")
    with xr.open_zarr(path) as dataset:
        return f"generated haloes {path}\n{dataset}"


def _show(summary: Summary, report: Path) -> None:
    from rich.console import Console

    from halo_cm.report import rich_table

    Console().print(rich_table(summary))
    typer.echo(f"report: {report}")


if __name__ == "__main__":
    main()
