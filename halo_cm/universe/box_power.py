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
#: Logarithmic bins of the radii of haloes' particles, and the smallest radius [Mpc/h].
_RADIAL_BINS, _SMALLEST_RADIUS = 1000, 1e-4


@dataclass(frozen=True)
class BoxPower:
    """Power of a box over a wide range of scales, from a mesh and folded ones.

    A mesh is read up to `_SPLIT` of its Nyquist wavenumber; beyond that the box is folded
    `_FOLDS` times more along each side (Jenkins et al. 1998, ApJ 499, 20), as often as it takes to
    reach `LARGEST_K`, whatever the size of the box.

    No shot noise is subtracted: particles start from a lattice. `noise_of_haloes` says what there
    is in boxes of dark matter only.

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


def noise_of_haloes(matter: Matter, k: Array) -> Array:
    """Power of the particles' own discreteness inside haloes [(Mpc/h)^3], at each ``k`` [h/Mpc].

    Sharpening lays the radii of a halo's particles on its profile by their ranks: only their
    directions are random. A particle at radius r then adds 1 - sinc^2(k r) of the noise V / N^2 of
    one that is anywhere. Outside haloes the particles start from a lattice, and have no noise that
    is known; Poisson's, of all of them, would be 0.06 (Mpc/h)^3 or 4% of the power at 14-25 h/Mpc
    in the preset default.

    Parameters
    ----------
    matter
        A box with V = boxsize^3 and N particles, sharpened inside R80c.
    k
        Wavenumbers, shape (n,).
    """
    haloes = matter.haloes
    depth, radius = np.full((2, matter.n_moving), np.inf)
    for near, r80, r200 in zip(matter.neighbourhoods, haloes.r80, haloes.r200, strict=True):
        inside = slice(near.count_within(r80 / r200))
        index, r = near.index[inside], near.x[inside] * r200
        deeper = r / r80 < depth[index]  # a particle follows the halo in which it lies deepest
        depth[index[deeper]], radius[index[deeper]] = (r / r80)[deeper], r[deeper]
    r = np.maximum(radius[np.isfinite(radius)], _SMALLEST_RADIUS)
    count, edges = np.histogram(np.log(r), _RADIAL_BINS)
    r = np.exp((edges[1:] + edges[:-1]) / 2)
    noise = (1 - np.sinc(k[:, None] * r / math.pi) ** 2) @ count
    return np.asarray(noise * matter.boxsize**3 / matter.n_particles**2, float)
