"""Compare trained models as a referee would: the same haloes, machine and run for all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from halo_cm.benchmark import (
    ExactDraws,
    Row,
    Settings,
    Summary,
    copied_input,
    describe_run,
    evaluate,
    read_exact_draws,
    spread_over_haloes,
    stellar_fraction,
)
from halo_cm.benchmark.selection import identities
from halo_cm.containers import SPLITS
from halo_cm.data.cutouts import read_cutouts, read_geometry
from halo_cm.data.geometry import check_geometry
from halo_cm.data.ranges import already_warned
from halo_cm.data.splits import has_realization
from halo_cm.errors import ConfigError, DataError
from halo_cm.manager import ModelManager
from halo_cm.report import write_report
from halo_cm.sampling import DEVICE_BATCH, sample
from halo_cm.training.checkpoint import MODEL_KIND, read_facts
from halo_cm.versions import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from halo_cm.containers import Cutouts, FloatArray
    from halo_cm.emulator import Emulator

logger = logging.getLogger(__name__)

#: A sample of more network evaluations than this is slow: fewer members of it are drawn.
SLOW_NFE = 8
#: Evaluations over which the posterior mean averages what is left of the noise.
_MEAN_OVER = 4
#: Objective whose model has one prediction, the posterior mean.
_REGRESSION = "regression"


@dataclass(frozen=True)
class CompareOptions:
    """Size of a comparison.

    Attributes
    ----------
    steps
        Numbers of sampling steps of consistency models; others take their own default.
    split
        Whose cutouts decide, if there are no exact draws: ``"test"``, or ``"validation"`` to choose
        between models.
    n_cutouts
        Most cutouts of it.
    n_members, n_slow_members
        Samples of each cutout, and those of models that need many evaluations for one.
    n_resamples
        Bootstrap resamples of the haloes.
    seed
        Of the samples.
    """

    steps: tuple[int, ...] = (1, 2, 4)
    split: str = "test"
    n_cutouts: int = 256
    n_members: int = 8
    n_slow_members: int = 2
    n_resamples: int = 1000
    seed: int = 0


def compare(
    models: Mapping[str, Path],
    data: Path,
    out: Path,
    *,
    oracle: Path | None = None,
    options: CompareOptions | None = None,
) -> Summary:
    """Evaluate models beside the floors, and write the report.

    Parameters
    ----------
    models
        Model files by the names they have in the table. Of a model that was trained by regression
        the posterior mean is taken, as one of the floors.
    data
        Cutout file with a test (or validation) split that none of the models was trained on.
    out
        Folder of the report.
    oracle
        File of ``halo-cm simulate --oracle``: its cutouts and exact draws are taken in place of
        the test split.
    options
        Size of the comparison.

    Raises
    ------
    CheckpointError
        If a model cannot be read.
    ConfigError
        If no model has any of the numbers of steps, or none draws samples.
    DataError
        If the data do not fit a model, or do not hold what `halo_cm.benchmark.evaluate` needs.
    """
    options = options or CompareOptions()
    cutouts, redraw = _cutouts(data, oracle, options)
    rows = [row for name, path in models.items() for row in _rows(name, path, cutouts, options)]
    drawing = [row.label for row in rows if row.kind == "model"]
    if not drawing:
        raise ConfigError(
            f"none of the models ({', '.join(models)}) draws samples: a regression is a floor to "
            "beat; add a model to compare with it"
        )
    rows.append(copied_input(stellar_fraction(read_cutouts(data, "train"))))
    used = {name: _identified(path) for name, path in models.items()}
    with already_warned():  # the models' own checks have said it
        benchmark = evaluate(
            rows,
            cutouts,
            redraw,
            members=options.n_members,
            seed=options.seed,
            settings=Settings(n_resamples=options.n_resamples),
            provenance={
                **describe_run(data, read_geometry(data)),
                "models": used,
                "oracle": None if oracle is None else _identified(oracle),
            },
        )
    write_report(out, benchmark, shown=drawing[0])
    return benchmark.summary


def load_on_device(path: Path) -> Emulator:
    """Model, on the GPU if there is one."""
    return ModelManager.load(path).to("cuda" if torch.cuda.is_available() else "cpu")


def model_row(
    name: str,
    model: Emulator,
    n_steps: int,
    members: int | None = None,
    core_seconds: float | None = None,
) -> Row:
    """Row that samples a model; ``core_seconds`` is what `training_core_seconds` found."""

    def generate(cutouts: Cutouts, n_members: int, seed: int) -> FloatArray:
        return sample(
            model, cutouts.condition, n_members, n_steps, parameters=cutouts.parameters, seed=seed
        )

    nfe = model.nfe(n_steps)
    return Row(name, n_steps, nfe, generate, members=members, training_core_seconds=core_seconds)


def posterior_mean_row(name: str, model: Emulator, core_seconds: float | None = None) -> Row:
    """Floor that predicts the posterior mean of a model trained by regression or denoising."""

    @torch.inference_mode()
    def generate(cutouts: Cutouts, members: int, seed: int) -> FloatArray:
        arrays = (cutouts.condition, cutouts.parameters.astype("float32"))
        condition, parameters = (torch.from_numpy(a).to(model.device) for a in arrays)
        source = torch.Generator(model.device).manual_seed(seed)
        means = []
        for c, p in _batches(model, condition, parameters):
            shape = (len(c), *model.field_shape(c))
            noise = (
                torch.randn(shape, generator=source, device=model.device) for _ in range(_MEAN_OVER)
            )
            means.append(model.posterior_mean(c, p, noise).cpu())
        return torch.cat(means)[:, None].numpy()

    return Row(
        *(name, None, _MEAN_OVER, generate, "floor", "deterministic"),
        training_core_seconds=core_seconds,
    )


def training_core_seconds(path: Path) -> float | None:
    """Processor time of the training of a model file [s]; None if not all of it is recorded."""
    training = read_facts(path, MODEL_KIND).get("training", {})
    return training.get("core_seconds") if training.get("cost_complete", True) else None


def second_draws(path: Path, cutouts: Cutouts, split: str = "test") -> Cutouts | None:
    """Independent draws of the truth, if the file has one for every cutout."""
    drawn = read_cutouts(path, split, 1) if has_realization(path, split, 1) else None
    if drawn is None or not set(identities(cutouts)) <= set(identities(drawn)):
        logger.info("%s holds no second draws of the truth: no floor truth against truth", path)
        return None
    return drawn


def exact_draws(oracle: Path, data: Path) -> ExactDraws:
    """Exact draws of the universe that ``data`` was made from.

    Raises
    ------
    DataError
        If they are of another universe.
    """
    name = "universe_fingerprint"
    theirs, ours = (read_geometry(path).provenance.get(name) for path in (oracle, data))
    if theirs is None or theirs != ours:
        raise DataError(
            f"{oracle} holds exact draws of another universe than {data}: {name} is {theirs} "
            f"there, {ours} here; make them with `halo-cm simulate --oracle` of the same preset "
            "and settings"
        )
    found = read_exact_draws(oracle)
    _say_if_seen(oracle, found.cutouts)
    return found


def _say_if_seen(path: Path, cutouts: Cutouts) -> None:
    for split in sorted({SPLITS[i] for i in cutouts.split} - {"test"}):
        logger.warning("%s: cutouts of the split %r decide: models have seen them", path, split)


def _batches(model: Emulator, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    size = DEVICE_BATCH.get(model.device.type, 32)
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _identified(path: Path) -> dict[str, str]:
    return {"file": str(path), "sha256": file_sha256(path)}


def _cutouts(
    data: Path, oracle: Path | None, options: CompareOptions
) -> tuple[Cutouts, Cutouts | ExactDraws | None]:
    if oracle is not None:
        draws = exact_draws(oracle, data)
        return draws.cutouts, draws
    # the same haloes for models of any seed, so that they can be compared
    cutouts = read_cutouts(data, options.split, 0)
    _say_if_seen(data, cutouts)
    chosen = spread_over_haloes(cutouts, options.n_cutouts, seed=0)
    return chosen, second_draws(data, chosen, options.split)


def _rows(name: str, path: Path, cutouts: Cutouts, options: CompareOptions) -> list[Row]:
    model = load_on_device(path)
    check_geometry(name, cutouts.geometry, model.geometry)
    inputs = (torch.as_tensor(cutouts.condition), torch.as_tensor(cutouts.parameters))
    model.normalization.trained.check(*inputs)
    core_seconds = training_core_seconds(path)
    if read_facts(path, MODEL_KIND).get("training", {}).get("phase") == _REGRESSION:
        return [posterior_mean_row(name, model, core_seconds)]
    if model.sampler.name != "consistency":
        steps: tuple[int, ...] = (model.default_steps,)
    else:
        known = model.config.sampling.known_steps(model.config.diffusion)
        steps = tuple(n for n in options.steps if n in known)
        if missing := [str(n) for n in options.steps if n not in known]:
            logger.warning(
                "%s has no noise levels for %s steps: left out", name, ", ".join(missing)
            )
        if not steps:
            raise ConfigError(
                f"{name}: none of the steps {', '.join(map(str, options.steps))} has noise levels; "
                f"the model knows {', '.join(map(str, known))}"
            )
    return [
        model_row(
            *(name, model, n, options.n_slow_members if model.nfe(n) > SLOW_NFE else None),
            core_seconds=core_seconds,
        )
        for n in steps
    ]
