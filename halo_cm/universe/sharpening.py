"""Sharpening of particle-mesh haloes: particles move radially until the profile is NFW."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from halo_cm.universe.haloes import Haloes, periodic_difference
from halo_cm.universe.profiles import nfw_mass

#: Radii at which the NFW profile is tabulated [R80c].
_RADII = np.logspace(-4, 0, 400)


def sharpen(
    positions: NDArray[np.float32], tree: cKDTree, boxsize: float, haloes: Haloes
) -> NDArray[np.float32]:
    """Give every halo its NFW profile inside R80c, without changing the mass inside R80c.

    A particle at radius r moves to r' with M_NFW(<r') = M_PM(<r). A particle inside two spheres
    follows the one in whose centre it lies deeper.

    Parameters
    ----------
    positions
        Particles [Mpc/h], shape (n, 3).
    tree
        Their tree.
    boxsize
        Side of the box [Mpc/h].
    haloes
        The haloes.

    Returns
    -------
    NDArray
        New positions in [0, boxsize), shape (n, 3).
    """
    sharpened = positions.copy()
    depth = np.full(len(positions), np.inf)
    for centre, r80, r200, c in zip(
        haloes.position, haloes.r80, haloes.r200, haloes.concentration, strict=True
    ):
        inside = np.array(tree.query_ball_point(centre, r80))
        offset = periodic_difference(positions[inside] - centre, boxsize)
        radius = np.linalg.norm(offset, axis=1) + 1e-6
        rank = np.empty(len(radius))
        rank[np.argsort(radius)] = (np.arange(len(radius)) + 0.5) / len(radius)
        profile = nfw_mass(c * _RADII * r80 / r200) / nfw_mass(c * r80 / r200)
        target = np.interp(rank, profile, _RADII * r80)
        deeper = radius / r80 < depth[inside]
        chosen = inside[deeper]
        depth[chosen] = (radius / r80)[deeper]
        shift = offset * (target / radius - 1)[:, None]
        sharpened[chosen] = positions[chosen] + shift[deeper]
    sharpened %= boxsize
    sharpened[sharpened >= boxsize] = 0.0
    return sharpened
