"""Particles on a mesh by NGP, CIC or TSC, written from the definitions."""

from __future__ import annotations

import itertools

import numpy as np


def assign(positions: np.ndarray, n: int, boxsize: float, order: int) -> np.ndarray:
    """Particles (N, D) per cell of n^D by NGP, CIC or TSC (order 1, 2, 3)."""
    n_axes = positions.shape[1]
    scaled = positions * (n / boxsize) - 0.5
    base = np.rint(scaled).astype(int) if order != 2 else np.floor(scaled).astype(int)
    shifts = {1: (0,), 2: (0, 1), 3: (-1, 0, 1)}[order]

    def weight(axis: int, shift: int) -> np.ndarray:
        d = np.abs(scaled[:, axis] - base[:, axis] - shift)
        if order == 1:
            return np.ones(len(d))
        if order == 2:
            return 1 - d
        return np.where(d < 0.5, 0.75 - d**2, 0.5 * (1.5 - d) ** 2)

    mesh = np.zeros((n,) * n_axes)
    for cell in itertools.product(shifts, repeat=n_axes):
        weights = np.prod([weight(axis, shift) for axis, shift in enumerate(cell)], axis=0)
        np.add.at(mesh, tuple((base + np.array(cell)).T % n), weights)
    return mesh
