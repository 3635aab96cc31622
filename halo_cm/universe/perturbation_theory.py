"""One-loop perturbation theory of P(k), with and without the waves that a box cannot hold.

P(k) = P_L(k) + P_22(k) + P_13(k) (Makino, Sasaki & Suto 1992; Bernardeau et al. 2002,
astro-ph/0112551, eqs. 166-170, Einstein-de Sitter kernels):

P_22 = 2 integral d^3q / (2 pi)^3 F_2(q, k - q)^2 P_L(q) P_L(|k - q|)
P_13 = k^2 P_L(k) / (252 (2 pi)^2) integral dq P_L(q) f(q / k)

In a box no wave is longer than its side, so that P_L vanishes below 2 pi / boxsize in both
integrals: waves lose to shorter ones (P_13 < 0) what longer ones would have given them (P_22).
The series is of use up to about 0.25 h/Mpc today; beyond, its terms are larger than their sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Range [h/Mpc] and number of wavenumbers, and number of angles, of the integrals.
_RANGE, _N_WAVES, _N_ANGLES = (1e-4, 30.0), 1500, 200


def one_loop(k: Array, linear: Callable[[Array], Array], longest: float = 0.0) -> Array:
    """One-loop power over linear power, 1 + (P_22 + P_13) / P_L.

    Parameters
    ----------
    k
        Wavenumbers [h/Mpc].
    linear
        Linear power [(Mpc/h)^3] at wavenumbers.
    longest
        Wavenumber of the longest waves that exist [h/Mpc]; 0 for an infinite universe.
    """
    return np.array([1 + _loops(float(at), linear, longest) for at in k])


def _loops(k: float, linear: Callable[[Array], Array], longest: float) -> float:
    q: Array = np.geomspace(*_RANGE, _N_WAVES).astype(np.float64)
    step = math.log(q[1] / q[0])
    # the longest waves themselves exist
    edge = 0.999 * longest

    def power(waves: Array) -> Array:
        inside = np.clip(waves, *_RANGE)
        return np.where(waves >= edge, linear(inside.ravel()).reshape(waves.shape), 0.0)

    mu, weights = np.polynomial.legendre.leggauss(_N_ANGLES)
    x = q[:, None] / k
    other = k * np.sqrt(np.maximum(1 + x**2 - 2 * x * mu, 1e-12))
    kernel = (3 * x + 7 * mu - 10 * x * mu**2) / (14 * x * (1 + x**2 - 2 * x * mu))
    angular = power(q[:, None]) * ((kernel**2 * power(other)) @ weights)[:, None]
    p_22 = 2 * (2 * math.pi) / (2 * math.pi) ** 3 * float((q**3 * angular[:, 0]).sum() * step)
    at_k = float(linear(np.array([k]))[0])
    p_13 = k**2 / (252 * 4 * math.pi**2) * float((power(q) * _kernel_13(q / k) * q).sum() * step)
    return p_22 / at_k + p_13


def _kernel_13(x: Array) -> Array:
    """The function f of P_13; its two limits where the formula cancels to rounding."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(np.abs((1 + x) / (1 - x)))
        exact = 12 / x**2 - 158 + 100 * x**2 - 42 * x**4
        exact = exact + 3 / x**3 * (x**2 - 1) ** 3 * (7 * x**2 + 2) * logarithm
    # at x = 1 the logarithm diverges, but not its product with (x^2 - 1)^3
    limits = [x < 0.01, x > 30, x == 1]
    return np.select(limits, [-168.0, -488 / 5, -88.0], exact)
