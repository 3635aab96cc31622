"""Star particles: central galaxies with diffuse light, satellites, and galaxies of the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halo_cm.config.universe import BaryonConfig
from halo_cm.seeding import generator
from halo_cm.universe.latents import Astrophysics, Latents, random_axes
from halo_cm.universe.matter import Matter
from halo_cm.universe.profiles import central_profile

#: Most particles of the compact part of a central galaxy, of its diffuse light, of a small galaxy.
_MOST_COMPACT, _MOST_DIFFUSE, _MOST_SMALL = 200, 2000, 60
#: Median radius [R200c] and scatter of ln r of the diffuse light.
_DIFFUSE_RADIUS, _DIFFUSE_SCATTER = 0.15, 0.8
#: Wander of the central galaxy [R200c], scaled by s_scatter.
_CENTRAL_OFFSET = 0.01
#: Field galaxies: least density [mean], and the excess over it at which their rate saturates.
_FIELD_DENSITY, _FIELD_RANGE = 4.0, 80.0
#: A_star at which the mean masses of small galaxies hold.
_PIVOT_A_STAR = 0.06

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Stars:
    """Star particles (s particles).

    Attributes
    ----------
    positions
        [Mpc/h], shape (s, 3).
    masses
        [Msun/h], shape (s,).
    halo_mass
        Stellar mass of each halo [Msun/h], shape (H,).
    """

    positions: NDArray[np.float32]
    masses: NDArray[np.float32]
    halo_mass: FloatArray


class StarSampler:
    """Samples star particles around haloes and in the field.

    Parameters
    ----------
    matter
        The dark-matter-only box.
    constants
        Constants of the baryon model.
    """

    def __init__(self, matter: Matter, constants: BaryonConfig) -> None:
        self.matter, self.constants = matter, constants
        self._compact = central_profile(matter.radii, constants.central_radius)
        inside = np.zeros(matter.n_particles, bool)
        for near in matter.neighbourhoods:
            inside[near.index[: near.count_within(1.0)]] = True
        self._hosts = np.flatnonzero(~inside & (matter.density > _FIELD_DENSITY))
        excess = np.minimum(matter.density[self._hosts] - _FIELD_DENSITY, _FIELD_RANGE)
        rate = constants.field_galaxies_per_mass * matter.particle_mass
        self._rate = rate * excess / _FIELD_RANGE

    def sample(
        self,
        parameters: Astrophysics,
        latents: Latents,
        moved: NDArray[np.float32],
        words: tuple[int | str, ...],
    ) -> Stars:
        """Star particles of one draw.

        Parameters
        ----------
        parameters
            Astrophysical parameters.
        latents
            Latents of the haloes.
        moved
            Dark matter after its displacement, whose particles host satellites, shape (n, 3).
        words
            Name of the random stream.
        """
        boxsize = self.matter.boxsize
        pieces, halo_mass = [], np.zeros(len(self.matter.haloes))
        for h in range(len(halo_mass)):
            rng = generator(*words, "stars", h)
            central = self._central(h, parameters, latents, rng)
            satellites = self._satellites(h, latents, moved, rng)
            halo_mass[h] = central[1].sum() + satellites[1].sum()
            pieces += [central, satellites]
        pieces.append(self._field(parameters, moved, generator(*words, "field")))
        positions = np.concatenate([p for p, _ in pieces]) % boxsize
        masses = np.concatenate([m for _, m in pieces])
        return Stars(positions.astype(np.float32), masses.astype(np.float32), halo_mass)

    def _central(
        self, h: int, parameters: Astrophysics, latents: Latents, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Compact galaxy with an erf profile, and diffuse light around it."""
        haloes, constants = self.matter.haloes, self.constants
        r200, mass = haloes.r200[h], latents.central_fraction[h] * haloes.m200[h]
        wander = abs(rng.normal()) * _CENTRAL_OFFSET * parameters.s_scatter * r200
        centre = haloes.position[h] + wander * random_axes(rng, 1)
        diffuse_mass = constants.diffuse_fraction * mass
        n_compact = self._n_particles(mass - diffuse_mass, _MOST_COMPACT)
        n_diffuse = self._n_particles(diffuse_mass, _MOST_DIFFUSE)
        compact = np.interp(rng.uniform(size=n_compact), self._compact, self.matter.radii)
        diffuse = rng.lognormal(np.log(_DIFFUSE_RADIUS), _DIFFUSE_SCATTER, n_diffuse)
        x = np.concatenate([compact, np.minimum(diffuse, 1.0)])
        positions = centre + random_axes(rng, len(x)) * (r200 * x)[:, None]
        masses = np.repeat(
            [(mass - diffuse_mass) / n_compact, diffuse_mass / n_diffuse], [n_compact, n_diffuse]
        )
        return positions, masses

    def _satellites(
        self, h: int, latents: Latents, moved: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Poisson number of small galaxies on dark-matter particles inside R200c."""
        near = self.matter.neighbourhoods[h]
        hosts = near.index[: near.count_within(1.0)]
        mass = (latents.star_fraction[h] - latents.central_fraction[h]) * self.matter.haloes.m200[h]
        mean = self.constants.satellite_mass
        chosen = rng.choice(hosts, rng.poisson(mass / mean))
        return self._small_galaxies(moved[chosen], mean, self.constants.satellite_scatter, rng)

    def _field(
        self, parameters: Astrophysics, moved: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Poisson galaxies on dense particles outside the haloes."""
        hosts = np.repeat(self._hosts, rng.poisson(self._rate))
        positions = self.matter.positions[hosts]
        moving = hosts < len(moved)
        positions[moving] = moved[hosts[moving]]
        mean = self.constants.field_mass * parameters.a_star / _PIVOT_A_STAR
        return self._small_galaxies(positions, mean, self.constants.field_scatter, rng)

    def _small_galaxies(
        self,
        centres: NDArray[np.float32],
        mean: float,
        scatter: float,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """Galaxies of lognormal mass as Gaussian clouds of star particles."""
        masses = mean * rng.lognormal(-0.5 * scatter**2, scatter, len(centres))
        counts = masses / self.constants.star_particle_mass
        n = np.clip(counts, 1, _MOST_SMALL).astype(int)
        spread = rng.normal(0, self.constants.small_galaxy_radius, (int(n.sum()), 3))
        return np.repeat(centres, n, axis=0) + spread, np.repeat(masses / n, n)

    def _n_particles(self, mass: float, most: int) -> int:
        return int(np.clip(mass / self.constants.star_particle_mass, 1, most))
