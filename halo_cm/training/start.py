"""Weights from outside a run: those that it starts from, and those of a teacher."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from halo_cm.config.differences import differences
from halo_cm.config.sampling import PLAIN_SAMPLERS
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.emulator import Emulator
from halo_cm.errors import CheckpointError
from halo_cm.manager import load_emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halo_cm.config.schema import Config
    from halo_cm.objectives.base import Objective

#: Relative difference up to which statistics of the data are the same (rounding of their sums).
_SAME = 1e-4


def require_models(config: Config) -> None:
    """Check that the model files that a training begins with exist, before anything is simulated.

    Raises
    ------
    CheckpointError
        If one is missing.
    """
    named = {"training.start": config.training.start}
    for index, phase in enumerate(config.training.phases):
        named[f"training.phases.{index}.objective.teacher"] = phase.objective.get("teacher")
    for key, path in named.items():
        if path is not None and not Path(path).is_file():
            run = Path(path).parent.name
            raise CheckpointError(
                f"{key} = {str(path)!r}: there is no such model file; train it first, as with "
                f"`python train_unified.py --model {run}` if it is a run of this folder"
            )


def load_start(path: Path, emulator: Emulator, *, other_data: bool = False) -> Emulator:
    """Model of a file whose weights a training can start from.

    Rings in the embedding (``condition_rings``) that the file's network has not start without
    effect.

    Parameters
    ----------
    path
        A model file (``.safetensors``).
    emulator
        Fresh, with the statistics of its training data.
    other_data
        Of another simulation, whose statistics may differ: the weights, which see normalised
        fields, are tuned to those of ``emulator``.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or if channels, pixels, network (but for added rings),
        noise levels or (unless ``other_data``) the statistics of the data differ; the message lists
        the differences.
    """
    parts = ("network", "diffusion", "normalization")
    advice = ', or tune its weights to the data of this run: training.start_data = "other"'
    return _load(path, emulator, parts, other_data=other_data, advice=advice, may_grow=True)


def with_rings(model: Emulator, n_rings: int) -> Emulator:
    """The same map with means of the condition in rings as further input, without effect yet.

    Parameters
    ----------
    model
        Left as it is.
    n_rings
        The setting ``network.condition_rings``.

    Returns
    -------
    Emulator
        ``model`` itself if it has rings or none are wanted.
    """
    shape, sampler = model.config.network, model.sampler
    if shape.condition_rings or not n_rings:
        return model
    wider = shape.model_copy(update={"condition_rings": n_rings})
    config = model.config.model_copy(update={"network": wider})
    grown = Emulator(config, model.normalization, "consistency")
    grown.use_sampler(sampler.name, sampler.settings, uses_latent=model.uses_latent)
    weights, name = model.denoiser.state_dict(), "network.embedding.mlp.0.weight"
    before, after = weights[name], grown.denoiser.state_dict()[name]
    padding = (0, after.shape[1] - before.shape[1])  # the rings are its last inputs
    grown.denoiser.load_state_dict({**weights, name: functional.pad(before, padding)})
    return grown.requires_grad_(False).eval()


def make_teacher(objective: Objective, emulator: Emulator, origin: Path | None) -> Denoiser | None:
    """Frozen teacher of a phase, or None if its objective needs none.

    A teacher is a plain denoiser, with the identity at level 0, whatever the student is.

    Parameters
    ----------
    objective
        With `uses_teacher`; its setting ``teacher`` may name a model file of any network.
    emulator
        With the weights that the phase starts from, which are the teacher if no file is named.
    origin
        File that these weights are still those of, if any.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, no plain denoiser or of other data.
    """
    if not objective.uses_teacher:
        return None
    path = getattr(objective, "teacher", None)
    if path is not None:
        denoiser = _load(path, emulator, ("diffusion", "normalization"), plain=True).denoiser
    else:
        if origin is not None:
            _load(origin, emulator, (), plain=True, other_data=True)  # as `load_start` allowed
        own = emulator.denoiser
        denoiser = Denoiser(copy.deepcopy(own.network), own.sigma_data, 0.0, own.n_latent)
    return denoiser.to(emulator.device).requires_grad_(False).eval()


def _load(
    path: Path,
    emulator: Emulator,
    parts: Sequence[str],
    *,
    plain: bool = False,
    other_data: bool = False,
    advice: str = "",
    may_grow: bool = False,
) -> Emulator:
    """Model of a file with the channels, the statistics and these parts of the config alike."""
    found = load_emulator(path)
    if may_grow:
        found = with_rings(found, emulator.config.network.condition_rings)
    theirs, ours = (
        {
            **{part: getattr(e.config, part).model_dump(mode="json") for part in parts},
            "data": {k: v for k, v in asdict(e.geometry).items() if k != "provenance"},
        }
        for e in (found, emulator)
    )
    changes, apart = differences(theirs, ours), []
    if plain and found.sampler.name not in PLAIN_SAMPLERS:
        kind = found.sampler.name
        changes.append(f"a teacher must be a plain denoiser, there is a model sampled by {kind}")
    statistics = dict(emulator.normalization.named_buffers())
    for name, theirs_now in found.normalization.named_buffers():
        before, now = theirs_now.double(), statistics[name].double().cpu()
        if before.shape != now.shape or not torch.allclose(before, now, rtol=_SAME, atol=_SAME):
            apart.append(f"{name} of the training data: {before.tolist()} there, {now.tolist()}")
    if changes or (apart and not other_data):
        listed = "\n  ".join(changes + apart)
        raise CheckpointError(
            f"{path} cannot be used here, it differs from this run:\n  {listed}\n"
            f"use what it was trained with, or train another{'' if changes else advice}"
        )
    return found
