"""Mass profiles against closed forms and colossus."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.universe.profiles import (
    central_profile,
    cumulative,
    gas_profile,
    gas_slope,
    nfw_mass,
    relaxed_profile,
    truncated_nfw_profile,
)

X = 5 * np.logspace(-3, 0, 160)


def test_nfw_mass_agrees_with_colossus() -> None:
    nfw = pytest.importorskip("colossus.halo.profile_nfw")
    y = np.array([0.01, 0.5, 1.0, 7.0])
    assert np.allclose(nfw_mass(y), nfw.NFWProfile.mu(y), rtol=1e-12)


def test_cumulative_of_an_isothermal_sphere_is_linear() -> None:
    # rho = x^-2 has M(<x) = x; the innermost 10% of the radii carry the error of the centre
    mass = cumulative(X**-2.0, X)
    assert np.allclose(np.diff(mass), np.diff(X), rtol=1e-3)


def test_truncation_at_infinity_is_nfw() -> None:
    concentration = np.array([[4.0], [8.0]])
    profile = truncated_nfw_profile(X, concentration, 1e6)
    ratio = profile[:, 30:] / nfw_mass(concentration * X[30:])
    assert np.allclose(ratio / ratio[:, -1:], 1, atol=0.02)
    truncated = truncated_nfw_profile(X, concentration, 4.0)
    assert np.all(truncated[:, -1] / truncated[:, 80] < profile[:, -1] / profile[:, 80])


def test_gas_without_slope_and_truncation_is_uniform() -> None:
    far = np.array([[1e6]])
    profile = gas_profile(X, np.array([[0.0]]), far, core=0.1, gamma=2.0, delta=7.0)
    assert np.allclose(profile[0, 20:], (X[20:] / X[-1]) ** 3, rtol=0.01)


def test_gas_slope_grows_with_mass_from_0_to_3() -> None:
    slope = gas_slope(np.array([1e8, 1e13, 1e18]), np.array(1e13), 0.6)
    assert slope == pytest.approx([0.003, 1.5, 2.997], rel=0.01)


def test_strong_feedback_leaves_less_gas_inside() -> None:
    slopes = gas_slope(np.full((2, 1), 1e13), np.array([[1e12], [1e14]]), 0.6)
    profile = gas_profile(X, slopes, np.full((2, 1), 4.0), core=0.1, gamma=2.0, delta=7.0)
    inside = [np.interp(1.0, X, row) for row in profile]
    assert inside[0] > 2 * inside[1]


def test_nothing_relaxes_when_the_mass_profile_does_not_change() -> None:
    halo = truncated_nfw_profile(X, np.array([[5.0]]), 4.0)
    halo /= halo[:, -1:]
    central = central_profile(X, 0.015)
    same = (np.array([[0.8]]), np.array([[0.2]]), np.array([[0.0]]))
    assert np.allclose(relaxed_profile(X, halo, halo, central, same, 0.3), halo, rtol=1e-6)
    flat = gas_profile(X, np.array([[0.5]]), np.array([[4.0]]), 0.1, 2.0, 7.0)
    unmoved = relaxed_profile(X, halo, flat, central, same, 0.0)
    assert np.allclose(unmoved, halo, rtol=1e-6)


def test_relaxation_expands_without_gas_and_contracts_with_a_galaxy() -> None:
    halo = truncated_nfw_profile(X, np.array([[5.0]]), 4.0)
    halo /= halo[:, -1:]
    gas = gas_profile(X, np.array([[0.5]]), np.array([[4.0]]), 0.1, 2.0, 7.0)
    central = central_profile(X, 0.015)
    inner = slice(40, 90)
    expanded = relaxed_profile(
        X, halo, gas, central, (np.array([[0.84]]), np.array([[0.16]]), np.array([[0.0]])), 0.3
    )
    assert np.all(expanded[:, inner] < halo[:, inner])
    contracted = relaxed_profile(
        X, halo, gas, central, (np.array([[0.84]]), np.array([[0.11]]), np.array([[0.05]])), 0.3
    )
    assert np.all(contracted[:, 10:40] > halo[:, 10:40])
    for profile in (expanded, contracted):
        assert profile[0, -1] == 1
        assert np.all(np.diff(profile) >= 0)
