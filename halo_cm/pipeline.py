"""The main job: simulate, train, sample, compare with the truth, report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from halo_cm.benchmark import (
    Row,
    Settings,
    Summary,
    copied_input,
    describe_run,
    evaluate,
    read_summary,
    spread_over_haloes,
    stellar_fraction,
)
from halo_cm.compare import (
    load_on_device,
    model_row,
    posterior_mean_row,
    second_draws,
    training_core_seconds,
)
from halo_cm.data.cutouts import read_cutouts, read_geometry
from halo_cm.data.geometry import check_geometry
from halo_cm.data.ranges import already_warned
from halo_cm.data.splits import check_splits
from halo_cm.errors import DataError
from halo_cm.report import FIGURES, write_report
from halo_cm.statistics import STATISTICS_VERSION, scattering_available
from halo_cm.training.launch import refuse_foreign_launcher
from halo_cm.training.run import train
from halo_cm.training.start import require_models
from halo_cm.universe.simulate import simulate
from halo_cm.versions import file_sha256, installed

if TYPE_CHECKING:
    from halo_cm.config.schema import Config
    from halo_cm.emulator import Emulator
    from halo_cm.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

DENOISER, POSTERIOR_MEAN = "denoiser", "posterior mean"


def run(config: Config, *, resume: bool = False) -> Summary:
    """Everything that ``python train_unified.py --model consistency`` does.

    Stages that an earlier call has finished are reused, which the log says.

    Parameters
    ----------
    config
        The resolved tree.
    resume
        Continue an unfinished training.

    Returns
    -------
    Summary
        Figures of merit on the unseen boxes; the report is in ``<output>/<name>/report``.
    """
    refuse_foreign_launcher()
    require_models(config)
    prepare_data(config)
    folder = train(config, resume=resume)
    return benchmark_run(config, folder, reuse=True)


def prepare_data(config: Config) -> Path:
    """Path of the cutout file, simulated first if the config describes a universe.

    Raises
    ------
    DataError
        If the file is absent and no universe is described.
    """
    path, universe = Path(config.data.path), config.data.universe
    if universe is not None:
        path = simulate(universe, path)
    elif not path.is_file():
        raise DataError(
            f"{path} does not exist, and the config has no [data.universe] to simulate it from: "
            "give a cutout file with --data, or a preset"
        )
    check_splits(path)
    return path


def benchmark_run(config: Config, folder: RunFolder, *, reuse: bool = False) -> Summary:
    """Compare the trained models of a run with the truth of the test split, and write the report.

    Rows: the run's model at ``config.benchmark.steps`` and its denoiser if a phase trained one.
    Floors: truth against truth, the posterior mean (of a phase with the objective regression, else
    of the denoiser), the input copied.

    Parameters
    ----------
    config, folder
        Settings, and the trained models.
    reuse
        Return the summary of an earlier report of the same models, data and settings.

    Raises
    ------
    DataError
        If the cutouts have other parameters or pixels than those that the model was trained on.
    """
    settings, path = config.benchmark, config.data.path
    geometry = read_geometry(path)
    inputs = _inputs(config, folder)
    if reuse and (found := _earlier_summary(folder, inputs)) is not None:
        logger.info("reusing the report %s", folder.report)
        return found
    test = read_cutouts(path, "test", 0)
    # the same haloes for models of any seed, so that they can be compared
    chosen = spread_over_haloes(test, settings.n_cutouts, seed=0)
    model = load_on_device(folder.model)
    check_geometry(path, geometry, model.geometry)
    model.use_sampling(config.sampling)
    seconds = training_core_seconds(folder.model)
    rows = [
        model_row(config.name, model, n, core_seconds=seconds) for n in _step_counts(config, model)
    ]
    rows += _denoiser_rows(config, folder) + _posterior_mean_rows(config, folder)
    rows.append(copied_input(stellar_fraction(read_cutouts(path, "train"))))
    inputs_of_all = (torch.as_tensor(chosen.condition), torch.as_tensor(chosen.parameters))
    model.normalization.trained.check(*inputs_of_all)
    with already_warned():  # once for all rows of the table
        benchmark = evaluate(
            rows,
            chosen,
            second_draws(path, chosen),
            members=settings.n_members,
            seed=config.seed,
            settings=Settings(),
            provenance={**describe_run(path, geometry), "inputs": inputs},
        )
    write_report(folder.report, benchmark, shown=rows[0].label, training_log=folder.log)
    return benchmark.summary


def _inputs(config: Config, folder: RunFolder) -> dict[str, Any]:
    """What a report depends on."""
    relevant = config.model_dump(mode="json", include={"benchmark", "sampling", "seed"})
    models = [folder.model, *sorted(folder.path.glob("phases/*.safetensors"))]
    return {
        "halo_cm": installed("halo_cm")["halo_cm"],
        "statistics": STATISTICS_VERSION,
        "scattering": scattering_available(),
        **relevant,
        "data": folder.data_fingerprint(),
        "models": {path.name: file_sha256(path) for path in models if path.is_file()},
    }


def _earlier_summary(folder: RunFolder, inputs: dict[str, Any]) -> Summary | None:
    if not all((folder.report / name).is_file() for name in FIGURES):
        return None
    try:
        summary = read_summary(folder.report / "benchmark.json")
    except DataError:
        return None  # none yet, or of another version: it is made anew
    return summary if summary.provenance.get("inputs") == inputs else None


def _step_counts(config: Config, model: Emulator) -> tuple[int, ...]:
    return config.benchmark.steps if model.sampler.name == "consistency" else (model.default_steps,)


def _denoiser_rows(config: Config, folder: RunFolder) -> list[Row]:
    """The last denoiser among the phases before the last one, by its many-step sampler."""
    phase = _last_phase(config, "denoising")
    if phase is None:
        logger.info("no denoising phase: the report has no many-step row")
        return []
    if phase == len(config.training.phases) - 1:
        return []  # the run's model is this denoiser
    path = folder.phase_model(phase, "denoising")
    model, seconds = load_on_device(path), training_core_seconds(path)
    return [model_row(DENOISER, model, model.default_steps, members=2, core_seconds=seconds)]


def _posterior_mean_rows(config: Config, folder: RunFolder) -> list[Row]:
    for objective in ("regression", "denoising"):
        phase = _last_phase(config, objective)
        if phase is None:
            continue
        path = folder.phase_model(phase, objective)
        model, seconds = load_on_device(path), training_core_seconds(path)
        return [posterior_mean_row(POSTERIOR_MEAN, model, seconds)]
    logger.info("no regression and no denoising phase: the report has no posterior mean")
    return []


def _last_phase(config: Config, objective: str) -> int | None:
    names = [phase.objective["name"] for phase in config.training.phases]
    return len(names) - 1 - names[::-1].index(objective) if objective in names else None
