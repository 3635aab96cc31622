"""Latent variables of haloes and random plane-wave fields: what parameters do not determine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halo_cm.config.universe import BaryonConfig
from halo_cm.seeding import generator

_N_WAVES = 24
#: Largest part of a halo's baryons in stars, and of its stars in the central galaxy.
_MOST_STARS, _MOST_CENTRAL = 0.5, 0.9


@dataclass(frozen=True)
class Astrophysics:
    """Conditioning numbers of one draw.

    Attributes
    ----------
    log10_mc
        log10 of the mass below which haloes lose their gas [Msun/h].
    theta_ej
        Ejection radius [R200c].
    a_star
        Amplitude of the stellar fraction.
    s_scatter
        Factor on the latent scatter of haloes.
    """

    log10_mc: float
    theta_ej: float
    a_star: float
    s_scatter: float


@dataclass(frozen=True)
class Latents:
    """What one draw makes of each halo, shape (H,) each.

    Attributes
    ----------
    mc
        The halo's own Mc [Msun/h], raised where its AGN is active.
    theta_ej
        Its ejection radius [R200c].
    star_fraction, central_fraction
        Mass of all stars and of the central galaxy over M200c.
    anisotropy
        Strength of its bipolar ejection.
    """

    mc: NDArray[np.float64]
    theta_ej: NDArray[np.float64]
    star_fraction: NDArray[np.float64]
    central_fraction: NDArray[np.float64]
    anisotropy: NDArray[np.float64]


def draw_latents(
    mass: NDArray[np.float64],
    parameters: Astrophysics,
    constants: BaryonConfig,
    baryon_fraction: float,
    words: tuple[int | str, ...],
) -> Latents:
    """Draw the latents of all haloes.

    Parameters
    ----------
    mass
        M200c [Msun/h], shape (H,).
    parameters
        Means and the common factor of the scatter.
    constants
        Amplitudes of the scatter and the stellar mass relation.
    baryon_fraction
        Omega_b / Omega_m.
    words
        Name of the random stream.
    """
    streams = [generator(*words, "latents", h) for h in range(len(mass))]
    z = np.array([rng.normal(size=4) for rng in streams]).reshape(-1, 4).T
    # drawn after the normal numbers, which are the same with the switch off
    active = np.array([rng.random() for rng in streams]) < constants.agn_fraction
    z *= parameters.s_scatter
    rho = constants.gas_star_correlation
    star_factor = np.exp(constants.scatter_ln_star * (rho * z[0] + math.sqrt(1 - rho**2) * z[1]))
    pivot = constants.star_pivot / mass
    stars = parameters.a_star * pivot**constants.star_slope * star_factor
    stars = np.minimum(stars, _MOST_STARS * baryon_fraction)
    central = parameters.a_star * pivot**constants.central_slope * star_factor
    log10_mc = parameters.log10_mc + constants.scatter_log10_mc * z[0]
    log10_mc += constants.agn_boost * active
    return Latents(
        mc=10**log10_mc,
        theta_ej=parameters.theta_ej * np.exp(constants.scatter_ln_ejection * z[2]),
        star_fraction=stars,
        central_fraction=np.minimum(central, _MOST_CENTRAL * stars),
        # the factor 1 + a (3 mu^2 - 1) of the displacement must stay positive in all directions
        anisotropy=np.clip(constants.anisotropy * z[3], -0.45, 0.9),
    )


@dataclass(frozen=True)
class RandomWaves:
    """Sum of random plane waves of unit variance (W waves).

    Attributes
    ----------
    wavevectors
        Wavevectors [1 / R200c], shape (W, 3).
    phases, amplitudes
        Shape (W,).
    directions
        Unit vectors of the vector field, shape (W, 3).
    """

    wavevectors: NDArray[np.float32]
    phases: NDArray[np.float32]
    amplitudes: NDArray[np.float32]
    directions: NDArray[np.float32]

    def scalars(self, offset: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scalar field at ``offset`` [R200c] of shape (n, 3)."""
        return np.cos(offset @ self.wavevectors.T + self.phases) @ self.amplitudes

    def vectors(self, offset: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vector field, of unit mean square length, at ``offset`` [R200c] of shape (n, 3)."""
        waves = np.cos(offset @ self.wavevectors.T + self.phases)
        return waves @ (self.amplitudes[:, None] * self.directions)


def random_axis(rng: np.random.Generator) -> NDArray[np.float32]:
    """Isotropic unit vector, shape (3,)."""
    return random_axes(rng, 1)[0]


def random_axes(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Isotropic unit vectors, shape (n, 3)."""
    v = rng.normal(size=(n, 3))
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def random_waves(rng: np.random.Generator, frequencies: tuple[float, float]) -> RandomWaves:
    """Plane waves with a Kolmogorov-like spectrum, amplitude ~ k^(-1/3) per logarithm of k.

    Parameters
    ----------
    rng
        Random generator.
    frequencies
        Least and largest number of waves in a length of 2 R200c.
    """
    least, most = np.log(frequencies)
    k = math.pi * np.exp(rng.uniform(least, most, _N_WAVES))
    amplitudes = k ** (-1 / 3)
    amplitudes *= np.sqrt(2 / np.sum(amplitudes**2))
    return RandomWaves(
        wavevectors=(k[:, None] * random_axes(rng, _N_WAVES)).astype(np.float32),
        phases=rng.uniform(0, 2 * math.pi, _N_WAVES).astype(np.float32),
        amplitudes=amplitudes.astype(np.float32),
        directions=random_axes(rng, _N_WAVES),
    )
