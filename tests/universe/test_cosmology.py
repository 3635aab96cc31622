"""Growth, linear power and designs against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from halo_cm.universe.cosmology import (
    Cosmology,
    expansion_rate,
    growth_factor,
    growth_rate,
    linear_power,
    second_order_growth,
)


def _growth_by_integration(a: float, omega_m: float) -> tuple[float, float, float]:
    """D, f and D2 (with D2 -> -3/7 D^2) from their differential equations in ln a."""

    def equation(x: float, y: np.ndarray) -> list[float]:
        fraction = omega_m * np.exp(-3 * x) / expansion_rate(np.exp(x), omega_m) ** 2
        friction = 2 - 1.5 * fraction
        d, d_dot, d2, d2_dot = y
        source = 1.5 * fraction
        return [
            d_dot,
            source * d - friction * d_dot,
            d2_dot,
            source * (d2 - d**2) - friction * d2_dot,
        ]

    start = 1e-3
    begin = [start, start, -3 / 7 * start**2, -6 / 7 * start**2]
    span = (np.log(start), 0.0)
    solution = solve_ivp(equation, span, begin, rtol=1e-10, atol=1e-14, dense_output=True)
    d, d_dot, d2, _ = solution.sol(np.log(a))
    d_today = solution.sol(0.0)[0]
    return d / d_today, d_dot / d, d2 / d_today**2


@pytest.mark.parametrize("omega_m", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("a", [0.05, 0.5, 1.0])
def test_growth_solves_its_equation(a: float, omega_m: float) -> None:
    d, f, d2 = _growth_by_integration(a, omega_m)
    assert growth_factor(a, omega_m) == pytest.approx(d, rel=1e-5)
    assert growth_rate(a, omega_m) == pytest.approx(f, rel=1e-5)
    # the fit of Bouchet et al. is good to 1% in D2
    assert second_order_growth(a, omega_m)[0] == pytest.approx(d2, rel=0.01)


def test_growth_without_lambda_is_the_scale_factor() -> None:
    assert growth_factor(0.3, 1.0) == pytest.approx(0.3)
    assert growth_rate(0.3, 1.0) == pytest.approx(1.0)
    assert second_order_growth(0.3, 1.0) == pytest.approx((-3 / 7 * 0.09, 2.0))


def test_growth_agrees_with_colossus() -> None:
    cosmology = pytest.importorskip("colossus.cosmology.cosmology")
    flat = {"flat": True, "H0": 67.11, "Om0": 0.3, "Ob0": 0.049, "sigma8": 0.8, "ns": 0.9624}
    reference = cosmology.Cosmology(name="test", relspecies=False, persistence="", **flat)
    for z in (0.5, 2.0, 19.0):
        assert growth_factor(1 / (1 + z), 0.3) == pytest.approx(reference.growthFactor(z), rel=1e-4)


def test_linear_power_has_the_asked_sigma_8(tmp_path) -> None:
    cosmology = Cosmology(omega_m=0.3, sigma_8=0.7)
    k, power = linear_power(cosmology, 10.0, tmp_path)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    variance = np.trapezoid(k**3 * power * window**2, np.log(k)) / (2 * np.pi**2)
    assert np.sqrt(variance) == pytest.approx(0.7, rel=2e-3)
    again = linear_power(cosmology, 10.0, tmp_path)
    assert np.array_equal(again[1], power)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "shape", "nan"])
def test_a_damaged_spectrum_is_computed_again(damage, tmp_path, caplog) -> None:
    cosmology = Cosmology(omega_m=0.3, sigma_8=0.7)
    expected = np.stack(linear_power(cosmology, 10.0, tmp_path))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage in ("shape", "nan"):
        wrong = expected[:, :5] if damage == "shape" else expected * np.nan
        np.save(path, wrong)
    else:
        path.write_bytes({"empty": b"", "cut": whole[:1000], "garbage": b"PK" * 500}[damage])
    assert np.array_equal(np.stack(linear_power(cosmology, 10.0, tmp_path)), expected)
    assert f"{path}: " in caplog.text and "computed again" in caplog.text
    assert path.read_bytes() == whole
