"""Cumulative mass profiles of haloes: NFW, truncated NFW, gas, central galaxy, relaxed matter.

Profiles of many haloes are computed at once: x = r / R200c has shape (R,), parameters of haloes
have shape (H, 1) and profiles (H, R), normalised to 1 at the last radius.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[np.float64]


def nfw_mass(y: Array | float) -> Array:
    """NFW mass inside y = r / r_s over 4 pi rho_s r_s^3: ln(1 + y) - y / (1 + y)."""
    y = np.asarray(y, dtype=float)
    return np.log1p(y) - y / (1 + y)


def cumulative(density: Array, x: Array) -> Array:
    """Mass inside x of a density profile, up to 4 pi (trapezoids in ln x), shape (..., R)."""
    integrand = density * x**3
    steps = 0.5 * (integrand[..., 1:] + integrand[..., :-1]) * np.diff(np.log(x))
    # inside the first radius a density that is flat or falls like 1 / x encloses a third to a half
    centre = integrand[..., :1] / 2.5
    return np.concatenate([centre, centre + np.cumsum(steps, axis=-1)], axis=-1)


def truncated_nfw_profile(x: Array, concentration: Array, truncation: float) -> Array:
    """Truncated NFW halo (Schneider et al. 2019, eq. 2.8), *not* normalised.

    rho ~ 1 / (y (1 + y)^2 (1 + (x / epsilon)^2)^2), y = c x; mass inside x up to a constant.
    """
    y = concentration * x
    return cumulative(1 / (y * (1 + y) ** 2 * (1 + (x / truncation) ** 2) ** 2), x)


def gas_profile(
    x: Array, slope: Array, ejection: Array, core: float, gamma: float, delta: float
) -> Array:
    """Gas of Schneider et al. (2019, eq. 2.12), normalised at the last radius.

    rho ~ (1 + x / theta_co)^-beta (1 + (x / theta_ej)^gamma)^(-(delta - beta) / gamma).

    Parameters
    ----------
    x
        Radii, shape (R,).
    slope
        beta, shape (H, 1).
    ejection
        theta_ej, shape (H, 1).
    core, gamma, delta
        theta_co, gamma and delta.
    """
    outer = (1 + (x / ejection) ** gamma) ** (-(delta - slope) / gamma)
    return normalised(cumulative((1 + x / core) ** -slope * outer, x))


def gas_slope(mass: Array, mass_scale: Array, mu: float) -> Array:
    """beta = 3 (M / Mc)^mu / (1 + (M / Mc)^mu): shallow gas where feedback is strong (M < Mc)."""
    ratio = (mass / mass_scale) ** mu
    return 3 * ratio / (1 + ratio)


def central_profile(x: Array, half_radius: float) -> Array:
    """Central galaxy, M(<x) ~ erf(x / 2 R_h) (Mohammed et al. 2014), normalised."""
    return normalised(erf(x / (2 * half_radius)))


def relaxed_profile(
    x: Array,
    halo: Array,
    gas: Array,
    central: Array,
    fractions: tuple[Array, Array, Array],
    amplitude: float,
) -> Array:
    """Profile of the collisionless matter after it has relaxed to the new potential, normalised.

    Solves r_f / r_i = 1 + a [(M_i / M_f)^2 - 1] (Schneider & Teyssier 2015, eq. 2.18, after Abadi
    et al. 2010) at each final radius by iteration.

    Parameters
    ----------
    x
        Radii, evenly spaced in ln x, shape (R,).
    halo, gas, central
        Normalised profiles of the initial halo, the gas and the central galaxy, shape (H, R).
    fractions
        Mass fractions of collisionless matter, gas and central galaxy, shape (H, 1) each.
    amplitude
        a; without it nothing moves.
    """
    collisionless, gas_fraction, central_fraction = fractions
    log_x = np.log(x)
    ratio = np.ones_like(gas)  # zeta = r_f / r_i at the final radius x
    for _ in range(20):
        initial = _at(log_x - np.log(ratio), log_x, halo)
        final = collisionless * initial + gas_fraction * gas + central_fraction * central
        target = 1 + amplitude * ((initial / final) ** 2 - 1)
        ratio = np.clip(0.5 * (ratio + target), 0.5, 1.5)
    relaxed = _at(log_x - np.log(ratio), log_x, halo)
    return normalised(np.maximum.accumulate(relaxed, axis=-1))


def normalised(profile: Array) -> Array:
    """Divide by the value at the last radius."""
    return profile / profile[..., -1:]


def _at(log_points: Array, log_x: Array, profiles: Array) -> Array:
    """Interpolate each row of ``profiles`` (H, R), even in ln x, at its own points (H, R)."""
    position = (log_points - log_x[0]) / (log_x[1] - log_x[0])
    position = np.clip(position, 0, len(log_x) - 1.000001)
    left = position.astype(int)
    weight = position - left
    below = np.take_along_axis(profiles, left, axis=-1)
    above = np.take_along_axis(profiles, left + 1, axis=-1)
    return below + weight * (above - below)
