"""One-loop perturbation theory against scalings and limits that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.universe.cosmology import Cosmology, linear_power
from halo_cm.universe.perturbation_theory import _kernel_13, one_loop


def linear(k: np.ndarray) -> np.ndarray:
    """A spectrum with a turnover, [(Mpc/h)^3]."""
    return 2e4 * (k / 0.02) / (1 + (k / 0.02) ** 2) ** 1.3


def test_the_kernel_of_p_13_joins_its_limits():
    """f(x) -> -168 + 928/5 x^2 for x -> 0 and -> -488/5 for x -> infinity."""
    x = np.array([0.0099, 0.0101, 29.9, 30.1])
    found = _kernel_13(x)
    assert found[1] == pytest.approx(-168 + 928 / 5 * x[1] ** 2, abs=5e-3)
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert _kernel_13(np.array([1.0]))[0] == pytest.approx(
        _kernel_13(np.array([1.0001]))[0], abs=0.1
    )
    assert found[2] == pytest.approx(-488 / 5, rel=1e-3) and found[3] == -488 / 5


def test_p_22_is_the_integral_over_the_whole_space():
    """Monte Carlo of 2 F_2^2 P P over vectors q, for a spectrum without long and short waves."""

    def narrow(q: np.ndarray) -> np.ndarray:
        return 1e3 * np.exp(-0.5 * ((q - 0.3) / 0.08) ** 2) * (q < 1)

    rng, k, radius = np.random.default_rng(0), 0.2, 1.0
    q = rng.uniform(-radius, radius, (2_000_000, 3))
    other = np.array([0, 0, k]) - q
    lengths, others = np.linalg.norm(q, axis=1), np.linalg.norm(other, axis=1)
    cosine = (q * other).sum(1) / (lengths * others)
    kernel = 5 / 7 + cosine / 2 * (lengths / others + others / lengths) + 2 / 7 * cosine**2
    integrand = 2 * kernel**2 * narrow(lengths) * narrow(others) * (2 * radius / (2 * np.pi)) ** 3
    expected, error = integrand.mean(), integrand.std() / len(q) ** 0.5
    # P_13 of the same spectrum, by a fine sum
    grid = np.linspace(1e-3, 1, 20001)
    p_13 = (narrow(grid) * _kernel_13(grid / k)).sum() * (grid[1] - grid[0])
    p_13 *= k**2 / (252 * 4 * np.pi**2)
    loops = one_loop(np.array([k]), narrow)[0] - 1
    found = (loops - p_13) * narrow(np.array([k]))[0]
    assert found == pytest.approx(expected, abs=4 * error)
    assert error < 0.01 * expected


def test_loops_are_of_second_order_in_the_power():
    k = np.array([0.05, 0.15])
    one, two = (one_loop(k, lambda q, f=f: f * linear(q)) - 1 for f in (1.0, 2.0))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-10)


def test_without_shorter_and_longer_waves_nothing_is_coupled():
    """Waves longer than all others but themselves lose power only."""
    k = np.array([0.1256])
    cut = one_loop(k, linear, 2 * np.pi / 50) - 1
    assert cut[0] < 0
    assert abs(one_loop(k, linear, 100.0)[0] - 1) < 1e-12


def test_boxes_of_50_mpc_lose_what_the_documentation_says():
    cosmology = Cosmology(
        omega_m=0.3, sigma_8=0.8, omega_b=0.049, hubble=0.6711, spectral_index=0.9624
    )
    k, power = linear_power(cosmology, 50.0)

    def camb(q: np.ndarray) -> np.ndarray:
        return np.exp(np.interp(np.log(q), np.log(k), np.log(power)))

    at = np.array([0.126, 0.178, 0.25])
    np.testing.assert_allclose(one_loop(at, camb, 2 * np.pi / 50), [0.924, 0.870, 0.942], atol=2e-3)
    assert (one_loop(at, camb) > [1.05, 1.2, 1.4]).all()


def test_long_waves_of_an_infinite_universe_hardly_change():
    """At 0.02 h/Mpc the two terms cancel to some per cent, each being larger."""
    assert one_loop(np.array([0.02]), linear)[0] == pytest.approx(1, abs=0.03)
