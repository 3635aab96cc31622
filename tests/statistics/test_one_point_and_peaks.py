"""One-point distributions and peak counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from halo_cm.errors import DataError
from halo_cm.statistics import PDF_EDGES, isolated_pixels, one_point_pdf, peak_counts


def test_pdf_of_a_known_distribution() -> None:
    """log10(1 + m / m0) is drawn from a Gaussian of mean 3 and scatter 0.5."""
    x = np.random.default_rng(0).normal(3, 0.5, size=(20, 128, 128))
    found = one_point_pdf(1e6 * (10**x - 1), 1e6, occupied_mass=1e6 * 999)
    share = np.diff(norm.cdf(PDF_EDGES, 3, 0.5)) / 0.1
    assert found.density.shape == (20, 70)
    np.testing.assert_allclose(found.density.mean(0), share, atol=0.01)
    np.testing.assert_allclose((found.density * np.diff(found.edges)).sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(found.outside, 0, atol=1e-12)
    # above log10(1 + 999) = 3
    assert found.occupied.mean() == pytest.approx(0.5, abs=0.005)


def test_pdf_counts_pixels_by_hand() -> None:
    maps = np.array([[[0.0, 9e6], [99e6, 1e20]]])
    found = one_point_pdf(maps, 1e6, edges=(0, 0.5, 1.5, 2.5))
    np.testing.assert_allclose(found.density, [[0.25 / 0.5, 0.25, 0.25]])
    assert found.outside == pytest.approx(0.25)
    assert found.occupied == 0.75
    empty = one_point_pdf(np.zeros((4, 4)), 1e9)
    assert empty.density[0] == pytest.approx(10) and empty.occupied == 0


def test_isolated_pixels_by_hand() -> None:
    maps = np.zeros((2, 8, 8))
    maps[0, 2, 2] = maps[0, 0, 6] = 1e10  # alone; on the edge, of which too little is known
    maps[0, 5:7, 5] = 1e10  # each other's only neighbour
    maps[1, 3, 2:5] = 1e10, 2e6, 3e9  # two beside one that is merely occupied
    maps[1, 5, 6] = 1e10
    maps[1, 4, 5] = 5e5  # too faint to count as occupied
    assert isolated_pixels(maps).tolist() == [3, 3]
    assert isolated_pixels(maps, bright=5e9).tolist() == [3, 2]
    assert isolated_pixels(maps, occupied=1e5).tolist() == [3, 2]
    assert not isolated_pixels(np.full((3, 1, 5, 5), 1e11)).any()
    with pytest.raises(DataError, match="negative"):
        isolated_pixels(-maps)


def test_bad_pdf() -> None:
    for edges in ((1, 0), (0,), (0, np.nan), (0, 0, 1)):
        with pytest.raises(DataError, match="rising"):
            one_point_pdf(np.ones((4, 4)), 1e9, edges=edges)
    with pytest.raises(DataError, match="pixel_mass"):
        one_point_pdf(np.ones((4, 4)), 0.0)


def test_peaks_by_hand() -> None:
    maps = np.ones((8, 8))
    maps[2, 2], maps[5, 5], maps[0, 7] = 5, 3, 2
    # a plateau of two cells, and a neighbour of a peak, are none
    maps[2, 5] = maps[2, 6] = maps[5, 6] = 2.5
    assert peak_counts(maps, 8.0, [1, 2, 2.6, 3, 4, 6]).tolist() == [3, 3, 2, 2, 1, 0]
    # the third lies in the corner
    assert peak_counts(maps, 8.0, [1], periodic=False).tolist() == [2]
    shifted = np.roll(maps, (3, 4), axis=(0, 1))
    assert peak_counts(shifted, 8.0, [1, 3]).tolist() == [3, 2]


def test_a_wave_has_one_peak_a_period() -> None:
    x = np.arange(60) / 60
    wave = np.cos(2 * np.pi * 3 * x)
    maps = 10 + wave[:, None] + wave
    assert peak_counts(maps, 10.0, [11]).tolist() == [9]
    box = 10 + sum(np.meshgrid(*[np.cos(2 * np.pi * 2 * x[::3] * 1)] * 3))
    assert peak_counts(box, 10.0, [0], n_axes=3).tolist() == [8]


def test_noise_has_a_ninth_of_its_pixels_as_peaks() -> None:
    """The largest of nine independent values is in the middle once in nine times."""
    noise = np.random.default_rng(0).random((4, 200, 200))
    counts = peak_counts(noise, 1.0, [0, 0.9])
    assert counts[:, 0].mean() / 200**2 == pytest.approx(1 / 9, rel=0.01)
    # P(x > 0.9 and all others below): the integral of x^8 from 0.9 to 1
    assert counts[:, 1].mean() / 200**2 == pytest.approx((1 - 0.9**9) / 9, rel=0.01)
    box = np.random.default_rng(0).random((60, 60, 60))
    assert peak_counts(box, 1.0, [0], n_axes=3)[0] / 60**3 == pytest.approx(1 / 27, rel=0.02)


def test_smoothing_keeps_the_mass_and_lowers_the_peak() -> None:
    """A point of mass M becomes a Gaussian of height M / (2 pi s^2) per pixel area."""
    maps = np.zeros((64, 64))
    maps[10, 60] = 1e12
    height = 1e12 / (2 * np.pi * 4**2)
    counts = peak_counts(maps, 16.0, [0.98 * height, 1.02 * height], smoothing=1.0)
    assert counts.tolist() == [1, 0]


def test_constant_and_empty_maps_have_no_peaks() -> None:
    assert peak_counts(np.zeros((2, 9, 9)), 1.0, [0]).tolist() == [[0], [0]]
    assert peak_counts(np.full((9, 9), 0.1), 1.0, [0], smoothing=0.1).tolist() == [0]


def test_bad_peaks() -> None:
    with pytest.raises(DataError, match="thresholds"):
        peak_counts(np.ones((8, 8)), 1.0, [np.nan])
    with pytest.raises(DataError, match="smoothing"):
        peak_counts(np.ones((8, 8)), 1.0, [1], smoothing=0.6)
    with pytest.raises(DataError, match="at least 3"):
        peak_counts(np.ones((2, 2)), 1.0, [1])
