"""Power spectrum of the particles of a box, from the longest waves to the inside of haloes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from halo_cm.statistics import power_spectrum_3d
from halo_cm.universe.matter import Matter
from halo_cm.universe.particle_mesh import deposit

Array = NDArray[np.float64]

#: Wavenumber that every measurement reaches [h/Mpc].
LARGEST_K = 30.0
#: Part of the Nyquist wavenumber up to which a mesh is read, factor of the next folding, and most
#: cells along each side of a mesh.
_SPLIT, _FOLDS, _MOST_CELLS = 0.375, 4, 256


@dataclass(frozen=True)
class BoxPower:
    """Power of a box over a wide range of scales, from a mesh and folded ones.

    A mesh is read up to `_SPLIT` of its Nyquist wavenumber; beyond that the box is folded
    `_FOLDS` times more along each side (Jenkins et al. 1998, ApJ 499, 20), as often as it takes to
    reach `LARGEST_K`, whatever the size of the box.

    No shot noise is subtracted: the particles start from a lattice, and those of a halo's inside
    are moved along its profile, so that their noise is not Poisson's. At 0.06 (Mpc/h)^3 it would
    be 4% of the power at 14-25 h/Mpc.

    Attributes
    ----------
    k, power, n_modes
        Wavenumber [h/Mpc], power [(Mpc/h)^3] and number of modes of each bin.
    """

    k: Array
    power: Array
    n_modes: Array

    @classmethod
    def of_parts(
        cls, parts: list[tuple[NDArray[np.float32], NDArray[np.float32] | float]], matter: Matter
    ) -> BoxPower:
        """Measure particles (positions [Mpc/h], masses [Msun/h]) of a box."""
        n_mesh = min(2 * round(matter.n_particles ** (1 / 3)), _MOST_CELLS)
        nyquist = math.pi * n_mesh / matter.boxsize
        pieces, folds, reached = [], 1, 0.0
        while reached < LARGEST_K:
            width, first = matter.boxsize / folds, reached
            half = 0.5 * folds * nyquist
            reached = half if half >= LARGEST_K else _SPLIT * folds * nyquist
            mesh = np.zeros((n_mesh,) * 3, np.float32)
            for positions, masses in parts:
                weights = torch.from_numpy(
                    np.broadcast_to(np.float32(masses), len(positions)).copy()
                )
                folded = torch.from_numpy(positions).remainder(width)
                mesh += deposit(folded, n_mesh, width, weights).numpy()
            found = power_spectrum_3d(mesh, width, mass_assignment="CIC")
            used = (found.k >= first) & (found.k < reached)
            pieces.append((found.k[used], found.power[used] * folds**3, found.n_modes[used]))
            folds *= _FOLDS
        return cls(*(np.concatenate(column) for column in zip(*pieces, strict=True)))

    def averages(self, curves: Array, edges: tuple[float, ...]) -> Array:
        """Mean over the modes of each band of curves of shape (c, n_bins); NaN in empty bands."""
        band = np.digitize(self.k, edges) - 1
        found = np.full((len(curves), len(edges) - 1), np.nan)
        for i in range(len(edges) - 1):
            inside = band == i
            # a band that the meshes do not reach to its end is not measured
            if inside.any() and self.k[-1] > 0.95 * edges[i + 1]:
                found[:, i] = np.average(curves[:, inside], weights=self.n_modes[inside], axis=1)
        return found
