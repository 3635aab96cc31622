"""Weights that a training starts from: another run's model of the same network and data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from halo_cm.config.differences import differences
from halo_cm.errors import CheckpointError
from halo_cm.manager import load_emulator

if TYPE_CHECKING:
    from pathlib import Path

    from halo_cm.emulator import Emulator

#: Relative difference up to which statistics of the data are the same (rounding of their sums).
_SAME = 1e-4


def load_start(path: Path, emulator: Emulator) -> Emulator:
    """Model of a file, checked against the one that is to be trained.

    Parameters
    ----------
    path
        A model file (``.safetensors``).
    emulator
        Fresh, with the statistics of its training data.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or if channels, pixels, network, noise levels or the
        statistics of the data differ; the message lists the differences.
    """
    found = load_emulator(path)
    parts = ("network", "diffusion", "normalization")
    theirs, ours = (
        {
            **{part: getattr(e.config, part).model_dump(mode="json") for part in parts},
            "data": {k: v for k, v in asdict(e.geometry).items() if k != "provenance"},
        }
        for e in (found, emulator)
    )
    changes = differences(theirs, ours)
    statistics = dict(emulator.normalization.named_buffers())
    for name, theirs_now in found.normalization.named_buffers():
        before, now = theirs_now.double(), statistics[name].double().cpu()
        if before.shape != now.shape or not torch.allclose(before, now, rtol=_SAME, atol=_SAME):
            changes.append(f"{name} of the training data: {before.tolist()} there, {now.tolist()}")
    if changes:
        listed = "\n  ".join(changes)
        raise CheckpointError(
            f"{path} cannot be used here, it differs from this run:\n  {listed}\n"
            "use the network and the data that it was trained with, or train another"
        )
    return found
