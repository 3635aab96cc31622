"""Stochastic, component-wise baryonification: one hydrodynamic draw of a whole box.

Dark matter, gas and stars of every halo are displaced separately (Schneider & Teyssier 2015,
arXiv:1510.06034; component-wise as in Schneider et al. 2025, arXiv:2507.07892), with latent
variables per halo, so that p(hydro | DMO, parameters) can be drawn as often as wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halo_cm.config.universe import BaryonConfig
from halo_cm.seeding import generator
from halo_cm.universe import profiles
from halo_cm.universe.latents import Astrophysics, Latents, draw_latents, random_axis, random_waves
from halo_cm.universe.matter import Matter
from halo_cm.universe.stars import StarSampler

#: Radius within which random fields act [R200c]; their amplitude is zero there.
_RANDOM_REACH = 2.5
#: Displacements fade out between this part of the reach and the reach.
_TAPER_START = 0.9
#: Least part of its share of baryons that a gas particle keeps where stars form.
_LEAST_GAS = 0.1

Words = tuple[int | str, ...]


@dataclass(frozen=True)
class HydroDraw:
    """Particles of one draw (n moving particles of `Matter`, s star particles).

    Attributes
    ----------
    dm_positions, gas_positions
        Positions of the particles near haloes [Mpc/h], shape (n, 3).
    gas_masses
        Gas masses of the particles near haloes [Msun/h], shape (n,).
    field_gas_mass
        Gas mass of every other particle [Msun/h].
    star_positions, star_masses
        Star particles [Mpc/h], [Msun/h], shapes (s, 3) and (s,).
    halo_star_mass
        Stellar mass of each halo [Msun/h], shape (H,).
    """

    dm_positions: NDArray[np.float32]
    gas_positions: NDArray[np.float32]
    gas_masses: NDArray[np.float32]
    field_gas_mass: float
    star_positions: NDArray[np.float32]
    star_masses: NDArray[np.float32]
    halo_star_mass: NDArray[np.float64]


class BaryonModel:
    """Draws hydrodynamic realizations of one box.

    Parameters
    ----------
    matter
        The dark-matter-only box.
    constants
        Constants that no draw varies.
    """

    def __init__(self, matter: Matter, constants: BaryonConfig) -> None:
        self.matter, self.constants = matter, constants
        self._stars = StarSampler(matter, constants)
        haloes, x = matter.haloes, matter.radii
        shape = profiles.truncated_nfw_profile(
            x, haloes.concentration[:, None], constants.truncation
        )
        inside = np.array([np.interp(1.0, x, row) for row in shape])
        self._halo = profiles.normalised(shape)
        #: mass of the truncated halo inside the reach [Msun/h], shape (H, 1)
        self._halo_mass = (haloes.m200 * shape[:, -1] / inside)[:, None]
        #: mass inside each radius that does not belong to the halo (2-halo term), shape (H, R)
        self._other = np.maximum.accumulate(
            np.maximum(matter.enclosed_mass - self._halo * self._halo_mass, 0), axis=1
        )

    def draw(self, parameters: Astrophysics, *words: int | str) -> HydroDraw:
        """One joint draw for all haloes of the box.

        Parameters
        ----------
        parameters
            Astrophysical parameters.
        *words
            Name of the random stream: the same words give the same draw.
        """
        matter = self.matter
        latents = draw_latents(
            matter.haloes.m200, parameters, self.constants, matter.baryon_fraction, words
        )
        dm_shift, gas_shift = self.radial_shifts(parameters, latents)
        dm = matter.moving_positions.copy()
        gas = dm.copy()
        log_clumping = np.zeros(len(dm), np.float32)
        for h in range(len(matter.haloes)):
            self._displace(h, parameters, latents, words, (dm_shift[h], gas_shift[h]), dm, gas)
            self._clump(h, parameters, words, log_clumping)
        stars = self._stars.sample(parameters, latents, dm, words)
        gas_masses = self._gas_masses(log_clumping, stars.halo_mass)
        field_mass = matter.baryon_fraction * matter.particle_mass
        n_field = matter.n_particles - len(dm)
        baryons = matter.baryon_fraction * matter.total_mass
        gas_total = gas_masses.sum(dtype=np.float64) + field_mass * n_field
        rescale = (baryons - stars.masses.sum(dtype=np.float64)) / gas_total
        return HydroDraw(
            dm_positions=dm,
            gas_positions=gas,
            gas_masses=gas_masses * np.float32(rescale),
            field_gas_mass=field_mass * rescale,
            star_positions=stars.positions,
            star_masses=stars.masses,
            halo_star_mass=stars.halo_mass,
        )

    def radial_shifts(
        self, parameters: Astrophysics, latents: Latents
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Relative radial displacement of dark matter and gas of each halo.

        A component X moves from r to r' with M_tot G_X(r') + M_2h(r') = M_tot G_0(r) + M_2h(r).

        Returns
        -------
        dm, gas
            r' / r - 1 at the radii of the grid, shape (H, R) each; zero at the reach.
        """
        constants, x = self.constants, self.matter.radii
        mass = self.matter.haloes.m200[:, None]
        slope = profiles.gas_slope(mass, latents.mc[:, None], constants.gas_mu)
        gas = profiles.gas_profile(
            x,
            slope,
            latents.theta_ej[:, None],
            constants.gas_core,
            constants.gas_gamma,
            constants.gas_delta,
        )
        central = profiles.central_profile(x, constants.central_radius)
        f_b = self.matter.baryon_fraction
        stars, centrals = latents.star_fraction[:, None], latents.central_fraction[:, None]
        fractions = (1 - f_b + stars - centrals, f_b - stars, centrals)
        dm = profiles.relaxed_profile(
            x, self._halo, gas, central, fractions, constants.relaxation_amplitude
        )
        initial = self._halo * self._halo_mass + self._other
        taper = np.clip((1 - x / x[-1]) / (1 - _TAPER_START), 0, 1)
        return taper * self._moved(initial, dm), taper * self._moved(initial, gas)

    def _moved(
        self, initial: NDArray[np.float64], component: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """r' / r - 1 that gives ``component`` its profile, before the taper, shape (H, R)."""
        x = self.matter.radii
        final = component * self._halo_mass + self._other
        moved = [np.interp(m, f, x) for m, f in zip(initial, final, strict=True)]
        return np.array(moved).reshape(initial.shape) / x - 1

    def _displace(
        self,
        h: int,
        parameters: Astrophysics,
        latents: Latents,
        words: Words,
        shifts: tuple[NDArray[np.float64], NDArray[np.float64]],
        dm: NDArray[np.float32],
        gas: NDArray[np.float32],
    ) -> None:
        """Add halo ``h``'s displacements to the positions, in place."""
        near, constants = self.matter.neighbourhoods[h], self.constants
        r200 = self.matter.haloes.r200[h]
        rng = generator(*words, "displacement", h)
        axis, offset_axis = random_axis(rng), random_axis(rng)
        offset = offset_axis * (abs(rng.normal()) * constants.gas_offset)
        waves = random_waves(rng, (1.0, 8.0))
        dm_relative, gas_relative = near.interpolate(shifts[0]), near.interpolate(shifts[1])
        cosine = near.offset @ axis / (near.x * np.float32(r200))
        gas_relative *= 1 + np.float32(latents.anisotropy[h]) * (3 * cosine**2 - 1)
        dm[near.index] += near.offset * dm_relative[:, None]
        gas[near.index] += near.offset * gas_relative[:, None]
        n = near.count_within(_RANDOM_REACH)
        inner, window = near.index[:n], _window(near.x[:n], 3.0)[:, None]
        amplitude = np.float32(parameters.s_scatter * r200)
        shared = waves.vectors(near.offset[:n] / np.float32(r200)) * constants.chaotic_shift
        dm[inner] += amplitude * window * shared
        gas[inner] += amplitude * window * (shared + offset)

    def _clump(
        self, h: int, parameters: Astrophysics, words: Words, log_clumping: NDArray[np.float32]
    ) -> None:
        """Add halo ``h``'s log clumping of mean mass one, in place."""
        near = self.matter.neighbourhoods[h]
        n = near.count_within(_RANDOM_REACH)
        waves = random_waves(generator(*words, "clumping", h), (1.5, 10.0))
        r200 = np.float32(self.matter.haloes.r200[h])
        amplitude = np.float32(parameters.s_scatter * self.constants.clumping)
        spread = amplitude * _window(near.x[:n], 1.5)
        log_clumping[near.index[:n]] += (
            spread * waves.scalars(near.offset[:n] / r200) - 0.5 * spread**2
        )

    def _gas_masses(
        self, log_clumping: NDArray[np.float32], halo_star_mass: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Gas of the moving particles before the global rescaling [Msun/h], shape (n,)."""
        matter = self.matter
        star_share = np.zeros(len(log_clumping), np.float32)
        for near, mass in zip(matter.neighbourhoods, halo_star_mass, strict=True):
            inner = near.index[: near.count_within(1.0)]
            share = mass / max(len(inner), 1) / matter.particle_mass
            star_share[inner] = np.maximum(star_share[inner], share)
        f_b = matter.baryon_fraction
        left = np.maximum(f_b - star_share, _LEAST_GAS * f_b) * matter.particle_mass
        return (left * np.exp(log_clumping)).astype(np.float32)


def _window(x: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Weight of random fields: one at the centre, zero at their reach."""
    return np.maximum(1 - (x / np.float32(_RANDOM_REACH)) ** 2, 0) ** np.float32(power)
