"""Spherical-overdensity haloes around density peaks, and their masses in 200 times critical."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from halo_cm.units import RHO_CRITICAL
from halo_cm.universe.particle_mesh import deposit
from halo_cm.universe.profiles import nfw_mass

#: A peak is tried when the smoothed density of its cell exceeds this many times the mean.
_PEAK_OVERDENSITY = 40.0
#: Smoothing of the density field in which peaks are sought [cells of half a particle spacing].
_PEAK_SMOOTHING = 0.75
#: Fewest particles that define a halo's centre.
_FEWEST_PARTICLES = 20


@dataclass(frozen=True)
class Haloes:
    """Haloes of one box, most massive first (H haloes).

    Attributes
    ----------
    position
        Centres [Mpc/h], shape (H, 3).
    m80, r80
        Mass [Msun/h] and radius [Mpc/h] at 80 times the critical density, shape (H,).
    m200, r200
        The same at 200 times the critical density, from an NFW profile, shape (H,).
    concentration
        R200c over the scale radius, shape (H,).
    """

    position: NDArray[np.float64]
    m80: NDArray[np.float64]
    r80: NDArray[np.float64]
    m200: NDArray[np.float64]
    r200: NDArray[np.float64]
    concentration: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.m80)


def overdensity_radius(mass: NDArray[np.floating], overdensity: float) -> NDArray[np.float64]:
    """Radius [Mpc/h] of a sphere of ``overdensity`` times the critical density today."""
    return np.cbrt(3 * mass / (4 * math.pi * overdensity * RHO_CRITICAL))


def periodic_difference(difference: NDArray[np.floating], boxsize: float) -> NDArray[np.floating]:
    """Shortest periodic image of position differences [Mpc/h], changed in place."""
    difference -= boxsize * np.round(difference / boxsize)
    return difference


def particle_tree(positions: NDArray[np.float32], boxsize: float) -> cKDTree:
    """Periodic tree; unbalanced and not compacted, which builds several times faster."""
    return cKDTree(
        positions, boxsize=boxsize, leafsize=32, balanced_tree=False, compact_nodes=False
    )


def local_density(
    positions: NDArray[np.float32], n_mesh: int, boxsize: float
) -> NDArray[np.float32]:
    """Density on a mesh in units of the mean, shape (n_mesh, n_mesh, n_mesh)."""
    mesh = deposit(torch.from_numpy(positions), n_mesh, boxsize)
    return (mesh * (n_mesh**3 / len(positions))).numpy()


def find_haloes(
    positions: NDArray[np.float32],
    tree: cKDTree,
    boxsize: float,
    particle_mass: float,
    min_mass: float,
    overdensity: float = 80.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spheres of a given overdensity around density peaks, densest peak first.

    The particle mesh is right at R80c and puffy at R200c, hence the default. A peak inside a
    sphere that was found before belongs to it.

    Parameters
    ----------
    positions
        Particles [Mpc/h], shape (n, 3).
    tree
        Their tree, of `particle_tree`.
    boxsize
        Side of the box [Mpc/h].
    particle_mass
        Mass of a particle [Msun/h].
    min_mass
        Least mass of a halo [Msun/h].
    overdensity
        Mean density of a sphere in units of the critical density.

    Returns
    -------
    centres, masses
        Shapes (H, 3) [Mpc/h] and (H,) [Msun/h], by falling mass.
    """
    least_radius = float(overdensity_radius(np.array(min_mass), overdensity))
    found_centres: NDArray[np.float64] = np.zeros((0, 3))
    found_masses: NDArray[np.float64] = np.zeros(0)
    for peak in _density_peaks(positions, boxsize):
        if _is_inside(peak, found_centres, found_masses, overdensity, boxsize):
            continue
        centre = _shrink_to_centre(peak, positions, tree, boxsize, least_radius)
        if centre is None:
            continue
        mass = _enclosed_mass(
            centre, positions, tree, boxsize, particle_mass, overdensity, 1.5 * least_radius
        )
        if mass < min_mass:
            continue
        if _is_inside(centre, found_centres, found_masses, overdensity, boxsize):
            continue
        found_centres = np.vstack([found_centres, centre])
        found_masses = np.append(found_masses, mass)
    order = np.argsort(-found_masses, kind="stable")
    return found_centres[order], found_masses[order]


def haloes_with_nfw(
    centres: NDArray[np.float64],
    m80: NDArray[np.float64],
    mean_concentration: float,
    slope: float,
    factors: NDArray[np.float64],
) -> Haloes:
    """Convert masses at 80 times critical to M200c with NFW profiles of given c200c(M).

    Parameters
    ----------
    centres
        Shape (H, 3) [Mpc/h].
    m80
        Mass in 80 times the critical density [Msun/h], shape (H,).
    mean_concentration
        c200c at M200c = 10^13 Msun/h.
    slope
        d ln c / d ln M.
    factors
        Each halo's concentration over the mean of its mass, shape (H,).
    """
    r80 = overdensity_radius(m80, 80.0)
    m200 = m80 / 1.3
    for _ in range(30):
        concentration = factors * mean_concentration * (m200 / 1e13) ** slope
        r200 = overdensity_radius(m200, 200.0)
        m200 = m80 * nfw_mass(concentration) / nfw_mass(concentration * r80 / r200)
    return Haloes(centres, m80, r80, m200, overdensity_radius(m200, 200.0), concentration)


def _density_peaks(positions: NDArray[np.float32], boxsize: float) -> NDArray[np.float64]:
    """Local maxima of the smoothed density, densest first, shape (P, 3) [Mpc/h]."""
    n_mesh = 2 * round(len(positions) ** (1 / 3))
    density = local_density(positions, n_mesh, boxsize)
    density = gaussian_filter(density, _PEAK_SMOOTHING, mode="wrap")
    dense = density > _PEAK_OVERDENSITY
    peaks = np.argwhere(dense & (density == maximum_filter(density, 3, mode="wrap")))
    order = np.argsort(-density[tuple(peaks.T)], kind="stable")
    return (peaks[order] + 0.5) * (boxsize / n_mesh)


def _is_inside(
    point: NDArray[np.float64],
    centres: NDArray[np.float64],
    masses: NDArray[np.float64],
    overdensity: float,
    boxsize: float,
) -> bool:
    distance = np.linalg.norm(periodic_difference(centres - point, boxsize), axis=1)
    return bool(np.any(distance < overdensity_radius(masses, overdensity)))


def _shrink_to_centre(
    centre: NDArray[np.float64],
    positions: NDArray[np.float32],
    tree: cKDTree,
    boxsize: float,
    radius: float,
) -> NDArray[np.float64] | None:
    """Centre of mass in shrinking spheres (Power et al. 2003); None where too few lie."""
    for factor in (0.6, 0.6, 0.4, 0.4, 0.25, 0.25):
        near = tree.query_ball_point(centre, factor * radius)
        if len(near) < _FEWEST_PARTICLES:
            return centre if len(near) > _FEWEST_PARTICLES // 4 else None
        offset = periodic_difference(positions[near] - centre, boxsize)
        centre = (centre + offset.mean(0)) % boxsize
    return centre


def _enclosed_mass(
    centre: NDArray[np.float64],
    positions: NDArray[np.float32],
    tree: cKDTree,
    boxsize: float,
    particle_mass: float,
    overdensity: float,
    radius: float,
) -> float:
    """Mass of the largest sphere around ``centre`` that is denser than the threshold [Msun/h]."""
    while True:
        near = tree.query_ball_point(centre, radius)
        offset = periodic_difference(positions[near] - centre, boxsize)
        distance = np.sort(np.linalg.norm(offset, axis=1))
        mass = particle_mass * np.arange(1, len(distance) + 1)
        dense = np.flatnonzero(overdensity_radius(mass, overdensity) > distance)
        if not len(dense):
            return 0.0
        last = int(dense[-1])
        if last < len(distance) - 1 or radius > boxsize / 4:
            return float(mass[last])
        radius *= 1.6
