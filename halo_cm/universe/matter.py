"""The dark-matter-only box: particles, haloes and the particles that each halo can move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halo_cm.units import RHO_CRITICAL
from halo_cm.universe.haloes import Haloes, local_density, particle_tree, periodic_difference

#: Radii of profiles: this many, from the reach / 1000 to the reach.
_N_RADII = 160
#: Borders of the density groups that maps smooth differently [mean density].
_GROUP_BORDERS = (2.0, 10.0)
N_GROUPS = len(_GROUP_BORDERS) + 1


@dataclass(frozen=True)
class Neighbourhood:
    """Particles within the reach of one halo, by rising distance (n particles).

    Attributes
    ----------
    index
        Index among the moving particles, shape (n,).
    offset
        Position relative to the centre [Mpc/h], shape (n, 3).
    x
        Distance [R200c], shape (n,).
    left, weight
        Grid radius below each particle and the weight of the one above, shape (n,).
    """

    index: NDArray[np.int32]
    offset: NDArray[np.float32]
    x: NDArray[np.float32]
    left: NDArray[np.uint8]
    weight: NDArray[np.float32]

    def count_within(self, x: float) -> int:
        """Number of particles closer than ``x`` R200c."""
        return int(np.searchsorted(self.x, x))

    def interpolate(self, profile: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values at the particles of a profile given on the radial grid, shape (R,)."""
        values = profile.astype(np.float32)
        steps = np.append(np.diff(values), np.float32(0))
        return values[self.left] + self.weight * steps[self.left]


@dataclass(frozen=True)
class Matter:
    """A dark-matter-only box at redshift 0 (N particles, n of them within the reach of haloes).

    Attributes
    ----------
    boxsize
        Side of the box [Mpc/h].
    baryon_fraction
        Omega_b / Omega_m.
    particle_mass
        Mass of a particle [Msun/h].
    positions
        Particles [Mpc/h], shape (N, 3): the moving ones first, each part by density group.
    density
        Local density of each particle in units of the mean, shape (N,).
    n_moving
        Number of particles within the reach of a halo.
    groups
        Slices of equal smoothing: N_GROUPS of the moving particles, then N_GROUPS of the others.
    haloes
        The haloes.
    radii
        Radial grid, even in ln r, from reach / 1000 to the reach [R200c], shape (R,).
    neighbourhoods
        Particles within the reach of each halo.
    enclosed_mass
        Mass of particles inside each radius of the grid [Msun/h], shape (H, R).
    """

    boxsize: float
    baryon_fraction: float
    particle_mass: float
    positions: NDArray[np.float32]
    density: NDArray[np.float32]
    n_moving: int
    groups: tuple[slice, ...]
    haloes: Haloes
    radii: NDArray[np.float64]
    neighbourhoods: tuple[Neighbourhood, ...]
    enclosed_mass: NDArray[np.float64]

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return len(self.positions)

    @property
    def total_mass(self) -> float:
        """Mass of the box [Msun/h]."""
        return self.particle_mass * self.n_particles

    @property
    def moving_positions(self) -> NDArray[np.float32]:
        """Particles within the reach of haloes [Mpc/h], shape (n, 3)."""
        return self.positions[: self.n_moving]


def particle_mass(n_particles: int, omega_m: float, boxsize: float) -> float:
    """Mass of each of ``n_particles`` equal particles of a box [Msun/h]."""
    return omega_m * RHO_CRITICAL * boxsize**3 / n_particles


def arrange_matter(
    positions: NDArray[np.float32],
    haloes: Haloes,
    boxsize: float,
    omega_m: float,
    baryon_fraction: float,
    reach: float,
) -> Matter:
    """Sort the particles of a box for fast draws and find every halo's neighbourhood.

    Parameters
    ----------
    positions
        Sharpened particles [Mpc/h], shape (N, 3).
    haloes
        The haloes.
    boxsize
        Side of the box [Mpc/h].
    omega_m, baryon_fraction
        Omega_m and Omega_b / Omega_m.
    reach
        Radius within which a halo moves particles [R200c].
    """
    density = _density_at(positions, boxsize)
    tree = particle_tree(positions, boxsize)
    near = [
        np.array(tree.query_ball_point(centre, reach * r200), dtype=np.int64)
        for centre, r200 in zip(haloes.position, haloes.r200, strict=True)
    ]
    del tree
    fixed = np.ones(len(positions), bool)
    for index in near:
        fixed[index] = False
    key = np.digitize(density, _GROUP_BORDERS) + N_GROUPS * fixed
    order = np.argsort(key, kind="stable")
    borders = np.searchsorted(key[order], np.arange(2 * N_GROUPS + 1))
    new_index = np.empty(len(positions), np.int32)
    new_index[order] = np.arange(len(positions), dtype=np.int32)
    positions = positions[order]
    mass = particle_mass(len(positions), omega_m, boxsize)
    radii: NDArray[np.float64] = np.exp(np.linspace(np.log(1e-3), 0, _N_RADII)) * reach
    neighbourhoods, enclosed = [], np.empty((len(haloes), _N_RADII))
    for h, index in enumerate(near):
        there = new_index[index]
        offset = periodic_difference(positions[there] - haloes.position[h], boxsize)
        neighbourhoods.append(_neighbourhood(there, offset, haloes.r200[h], radii))
        enclosed[h] = mass * np.searchsorted(neighbourhoods[-1].x, radii)
    return Matter(
        boxsize=boxsize,
        baryon_fraction=baryon_fraction,
        particle_mass=mass,
        positions=positions,
        density=density[order],
        n_moving=int(borders[N_GROUPS]),
        groups=tuple(slice(*ends) for ends in np.stack([borders[:-1], borders[1:]], 1).tolist()),
        haloes=haloes,
        radii=radii,
        neighbourhoods=tuple(neighbourhoods),
        enclosed_mass=enclosed,
    )


def _density_at(positions: NDArray[np.float32], boxsize: float) -> NDArray[np.float32]:
    """Density of each particle's cell, of half a mean particle spacing, in units of the mean."""
    n_mesh = 2 * round(len(positions) ** (1 / 3))
    cells = (positions * (n_mesh / boxsize)).astype(np.int32) % n_mesh
    return local_density(positions, n_mesh, boxsize)[cells[:, 0], cells[:, 1], cells[:, 2]]


def _neighbourhood(
    index: NDArray[np.int32],
    offset: NDArray[np.floating],
    r200: float,
    radii: NDArray[np.float64],
) -> Neighbourhood:
    x = np.linalg.norm(offset, axis=1) / r200 + 1e-6
    order = np.argsort(x, kind="stable")
    x = x[order].astype(np.float32)
    step = np.log(radii[1] / radii[0])
    place = np.clip(np.log(x / radii[0]) / step, 0, len(radii) - 1)
    left = place.astype(np.uint8)
    return Neighbourhood(
        index=index[order],
        offset=offset[order].astype(np.float32),
        x=x,
        left=left,
        weight=(place - left).astype(np.float32),
    )
