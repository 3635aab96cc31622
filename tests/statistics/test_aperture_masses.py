"""Aperture masses and features of maps."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import (
    FEATURES,
    aperture_masses,
    field_features,
    log_mass,
    occupied_fraction,
)


@pytest.mark.parametrize("n_pixels", [32, 33, 64])
def test_uniform_surface_density_gives_the_area_of_the_circle(n_pixels: int) -> None:
    surface_density, boxsize, radii = 3e12, 6.25, (0.4, 1.0, 3.125)
    pixel_mass = surface_density * (boxsize / n_pixels) ** 2
    masses = aperture_masses(np.full((2, n_pixels, n_pixels), pixel_mass), boxsize, radii)
    expected = surface_density * np.pi * np.square(radii)
    np.testing.assert_allclose(masses, np.stack([expected, expected]), rtol=0.01)


def test_the_mass_of_a_central_source_is_found_in_every_aperture() -> None:
    maps = np.zeros((16, 16))
    maps[7:9, 7:9] = 1e11
    np.testing.assert_allclose(aperture_masses(maps, 16.0, (1.5, 4.0)), 4e11, rtol=1e-12)
    maps = np.roll(maps, 6, axis=0)
    np.testing.assert_allclose(aperture_masses(maps, 16.0, (1.5, 4.0)), 0)


def test_apertures_that_do_not_fit_are_refused() -> None:
    for radius in (0.0, 3.2):
        with pytest.raises(DataError, match="does not fit"):
            aperture_masses(np.ones((8, 8)), 6.25, (radius,))
    with pytest.raises(DataError, match="expected"):
        aperture_masses(np.ones((8, 4)), 6.25, (1.0,))


def test_features_of_a_rescaled_map() -> None:
    """Ten times the mass adds one to each log mass and leaves the powers of overdensities."""
    maps = 1e10 * np.exp(np.random.default_rng(0).normal(size=(2, 3, 32, 32)))
    one, ten = field_features(maps, 6.25), field_features(10 * maps, 6.25)
    assert one.shape == (2, 3, len(FEATURES))
    change = (ten - one).reshape(-1, len(FEATURES)).mean(0)
    is_mass = np.array([name.startswith("mass") for name in FEATURES])
    np.testing.assert_allclose(change, is_mass, atol=2e-3)


def test_features_of_an_empty_map_are_finite() -> None:
    features = field_features(np.zeros((16, 16)), 6.25)
    np.testing.assert_allclose(features, [8] * 4 + [-6] * 4)


def test_features_of_a_plane_wave_lie_in_its_band() -> None:
    x = np.arange(64) / 64
    for mode, band in ((2, 0), (6, 1), (12, 2), (24, 3)):
        maps = np.broadcast_to(1e10 * (1 + 0.5 * np.cos(2 * np.pi * mode * x)), (64, 64))
        assert field_features(maps, 6.25)[4:].argmax() == band


def test_maps_too_small_for_the_bands_are_refused() -> None:
    with pytest.raises(DataError, match="too small"):
        field_features(np.ones((6, 6)), 6.25)


def test_occupied_fraction_and_log_mass() -> None:
    maps = np.array([[0, 1e6], [2e6, 1e9]])
    assert occupied_fraction(maps) == 0.5
    np.testing.assert_allclose(log_mass(maps, 1e6)[0], [0, np.log10(2)])
