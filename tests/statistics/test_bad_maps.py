"""What every statistic of maps says to maps that it cannot use, and that empty maps are no NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from halo_cm.errors import DataError
from halo_cm.statistics import (
    aperture_masses,
    bispectrum_2d,
    conditional_deviation_by_radius,
    cross_power_spectrum_2d,
    field_features,
    frechet_features,
    masses_around,
    masses_within,
    one_point_pdf,
    peak_counts,
    power_spectrum_2d,
    profiles_around,
    radial_profile,
)

Statistic = Callable[[np.ndarray, float], object]
CENTRE = np.array([[1.0, 2.0]])

#: Each takes maps (4, n, n) and their width.
STATISTICS: dict[str, Statistic] = {
    "power": power_spectrum_2d,
    "cross power": lambda m, width: cross_power_spectrum_2d(m, m, width),
    "bispectrum": bispectrum_2d,
    "apertures": lambda m, width: aperture_masses(m, width, (1.0,)),
    "own apertures": lambda m, width: masses_within(m, width, np.ones(len(m))),
    "around": lambda m, width: masses_around(m, width, CENTRE, [1.0]),
    "profile": lambda m, width: radial_profile(m, width, [0, 1, 2]),
    "profiles around": lambda m, width: profiles_around(m, width, CENTRE, [0, 1]),
    "deviation": lambda m, width: conditional_deviation_by_radius(m[None], width, [0, 1], 1e9),
    "features": field_features,
    "frechet": lambda m, width: frechet_features(m[:3], width),
    "peaks": lambda m, width: peak_counts(m, width, [1e9]),
}
WITHOUT_WIDTH: dict[str, Statistic] = {"pdf": lambda m, width: one_point_pdf(m, 1e9)}
EVERY = pytest.mark.parametrize("statistic", [*STATISTICS.values(), *WITHOUT_WIDTH.values()])


def maps(n: int = 16) -> np.ndarray:
    return 1e9 * np.random.default_rng(0).lognormal(size=(4, n, n))


@EVERY
def test_good_maps_are_taken(statistic: Statistic) -> None:
    statistic(maps(), 6.25)


@EVERY
def test_broken_pixels_are_counted(statistic: Statistic) -> None:
    broken = maps()
    broken[1, 3, 4] = np.nan
    with pytest.raises(DataError, match=r"1 .*NaN or infinite"):
        statistic(broken, 6.25)
    broken[1, 3, 4] = -1e8
    with pytest.raises(DataError, match="must not be negative"):
        statistic(broken, 6.25)


@EVERY
def test_maps_that_are_not_square_are_named(statistic: Statistic) -> None:
    with pytest.raises(DataError, match=r"shape \(.*16, 8\), expected"):
        statistic(maps()[..., :8], 6.25)


@EVERY
def test_no_map_at_all(statistic: Statistic) -> None:
    with pytest.raises(DataError):
        statistic(maps()[:0], 6.25)


@pytest.mark.parametrize("statistic", STATISTICS.values())
@pytest.mark.parametrize("boxsize", [0.0, -1.0, np.nan, np.inf])
def test_a_width_that_is_none(statistic: Statistic, boxsize: float) -> None:
    with pytest.raises(DataError, match=f"boxsize .* found {boxsize}"):
        statistic(maps(), boxsize)


@pytest.mark.parametrize("name", ["power", "cross power", "bispectrum"])
def test_empty_maps_have_no_overdensity(name: str) -> None:
    some = maps()
    some[2] = 0
    with pytest.raises(DataError, match="1 of 4 maps hold no mass"):
        STATISTICS[name](some, 6.25)


@pytest.mark.parametrize(
    "name", sorted({*STATISTICS, *WITHOUT_WIDTH} - {"power", "cross power", "bispectrum"})
)
def test_empty_maps_give_numbers_elsewhere(name: str) -> None:
    found = {**STATISTICS, **WITHOUT_WIDTH}[name](0 * maps(), 6.25)
    values = found.density if name == "pdf" else found
    assert np.isfinite(values).all()


def test_spectra_of_maps_of_other_pixels_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(16, 16\) and \(32, 32\)"):
        cross_power_spectrum_2d(maps(16), maps(32), 6.25)
