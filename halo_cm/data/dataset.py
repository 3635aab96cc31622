"""Training data in memory: batches that are a pure function of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from halo_cm.seeding import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halo_cm.containers import Cutouts, IntArray
    from halo_cm.data.normalize import Batch, Normalization

#: Rotations and reflections of the square.
N_SYMMETRIES = 8


class TrainingData:
    """The training cutouts on the device, shuffled and turned by seed and step alone.

    Resuming at any step therefore repeats exactly the batches of an uninterrupted run.

    Parameters
    ----------
    cutouts
        The training split, with targets.
    normalization
        Turns physical fields into a `Batch`.
    device
        Where the batches are made.
    """

    def __init__(self, cutouts: Cutouts, normalization: Normalization, device: torch.device):
        if cutouts.target is None:
            raise ValueError("training needs cutouts with targets")
        self._normalization = normalization
        self._condition, self._target, self._parameters = (
            torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)).to(device)
            for a in (cutouts.condition, cutouts.target, cutouts.parameters)
        )

        self._origin = [
            f"box {box} halo {halo} axis {axis} draw {draw}"
            for box, halo, axis, draw in zip(
                cutouts.box, cutouts.halo, cutouts.axis, cutouts.draw, strict=True
            )
        ]

    def __len__(self) -> int:
        return len(self._condition)

    def batch(self, rows: IntArray, symmetries: IntArray) -> Batch:
        """Cutouts ``rows``, each under one of the eight symmetries of the square."""
        index = torch.from_numpy(rows).to(self._condition.device)
        return self._normalization.encode(
            turn(self._target[index], symmetries),
            turn(self._condition[index], symmetries),
            self._parameters[index],
            index,
        )

    def describe(self, rows: Tensor) -> str:
        """Which cutouts ``rows`` are, for messages: row, box, halo, axis and draw of each."""
        return ", ".join(f"row {row} ({self._origin[row]})" for row in rows.tolist())


def batch_rows(seed: int, n_rows: int, step: int, batch_size: int) -> tuple[IntArray, IntArray]:
    """Rows and symmetries of the global batch at ``step``, shapes (batch_size,).

    Every epoch is a new permutation; a batch may straddle two epochs, so that no row is skipped.
    """
    position = step * batch_size + np.arange(batch_size)
    epochs, places = np.divmod(position, n_rows)
    rows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = generator(seed, "epoch", int(epoch)).permutation(n_rows)
        chosen = epochs == epoch
        rows[chosen] = order[places[chosen]]
    symmetries = generator(seed, "symmetry", step).integers(N_SYMMETRIES, size=batch_size)
    return rows, symmetries


def turn(maps: Tensor, symmetries: IntArray) -> Tensor:
    """Turn each map (B, C, H, W) by symmetry // 2 quarters, odd ones mirrored first."""
    out = torch.empty_like(maps)
    for symmetry, members in _groups(symmetries):
        part = maps[members]
        if symmetry % 2:
            part = part.flip(-1)
        out[members] = torch.rot90(part, symmetry // 2, (-2, -1))
    return out


def _groups(symmetries: IntArray) -> Iterator[tuple[int, Tensor]]:
    for symmetry in np.unique(symmetries):
        yield int(symmetry), torch.from_numpy(np.flatnonzero(symmetries == symmetry))
