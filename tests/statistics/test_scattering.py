"""Scattering coefficients, if kymatio is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import scattering, wavelet_scattering

needs_kymatio = pytest.mark.skipif(
    find_spec("kymatio") is None,
    reason="kymatio is not installed (extra 'scattering')",
)


def wave(period: int, angle: float = 0.0, n: int = 64) -> np.ndarray:
    y, x = np.mgrid[:n, :n]
    return np.cos(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)


@needs_kymatio
def test_waves_are_found_at_their_scale_whatever_their_direction() -> None:
    fields = np.stack([wave(p, a) for a in (0.0, np.pi / 2) for p in (3, 6, 12)])
    found = wavelet_scattering(fields).first.reshape(2, 3, 3)
    # wavelets of scale 2^j have a central wavelength of 8/3 2^j pixels
    assert found.argmax(-1).tolist() == [[0, 1, 2]] * 2
    np.testing.assert_allclose(found[0], found[1], rtol=0.05, atol=1e-3)


@needs_kymatio
def test_coefficients_are_linear_and_blind_to_shifts_and_constants() -> None:
    fields = np.random.default_rng(0).normal(size=(2, 3, 64, 64))
    found = wavelet_scattering(fields, periodic=True)
    assert found.first.shape == found.second.shape == (2, 3, 3)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    again = wavelet_scattering(100 - 3 * fields, periodic=True)
    np.testing.assert_allclose(again.first, 3 * found.first, rtol=1e-6)
    np.testing.assert_allclose(again.second, 3 * found.second, rtol=1e-6)
    shifted = wavelet_scattering(np.roll(fields, (24, -16), axis=(-2, -1)), periodic=True)
    np.testing.assert_allclose(shifted.first, found.first, rtol=0.01)
    alone = wavelet_scattering(fields[1, 2], periodic=True)
    np.testing.assert_allclose(alone.second, found.second[1, 2], rtol=1e-9)


@needs_kymatio
def test_second_order_tells_clustered_from_even_noise() -> None:
    """The same variance at small scales, even in one field and bursting in the other."""
    noise = np.random.default_rng(1).normal(size=(6, 64, 64))
    envelope = 1 + wave(32) * wave(32, np.pi / 2)
    bursts = noise * envelope / np.sqrt((envelope**2).mean())
    even, clustered = (wavelet_scattering(x, n_scales=4, n_angles=2) for x in (noise, bursts))
    ratios = [(s.second[:, 2] / s.first[:, 0]).mean() for s in (even, clustered)]
    assert even.pairs[2] == (0, 3)
    assert ratios[1] > 1.2 * ratios[0]


@needs_kymatio
def test_one_scale_has_no_pairs_and_many_maps_are_taken_in_parts() -> None:
    fields = np.random.default_rng(2).normal(size=(130, 16, 16))
    found = wavelet_scattering(fields, n_scales=1)
    assert found.first.shape == (130, 1) and found.second.shape == (130, 0)
    np.testing.assert_allclose(
        found.first[100], wavelet_scattering(fields[100], n_scales=1).first, rtol=1e-9
    )


def test_without_kymatio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kymatio", None)
    scattering._transform.cache_clear()
    with pytest.raises(DataError, match=r"halo_cm\[scattering\]"):
        wavelet_scattering(np.ones((32, 32)))


def test_bad_input() -> None:
    with pytest.raises(DataError, match="at most 2 scales"):
        wavelet_scattering(np.ones((8, 8)), n_scales=3)
    with pytest.raises(DataError, match="NaN"):
        wavelet_scattering(np.full((32, 32), np.nan))
