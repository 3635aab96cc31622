"""Power of a box: every band is reached, whatever the size of the box."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from halo_cm.universe.box_power import LARGEST_K, BoxPower
from halo_cm.universe.measurements import POWER_BANDS, SUPPRESSION_BANDS


@pytest.mark.parametrize(("boxsize", "n"), [(50.0, 32), (200.0, 32), (400.0, 24)])
def test_all_bands_are_measured(boxsize: float, n: int) -> None:
    """Random particles have the same power in each: boxsize^3 / n^3."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, boxsize, (n**3, 3)).astype(np.float32) % np.float32(boxsize)
    matter = SimpleNamespace(n_particles=n**3, boxsize=boxsize)
    found = BoxPower.of_parts([(positions, 1.0)], matter)  # type: ignore[arg-type]
    assert (np.diff(found.k) > 0).all() and found.k[-1] > 0.95 * LARGEST_K
    for edges in (POWER_BANDS, SUPPRESSION_BANDS):
        bands = found.averages(found.power[None], edges)[0]
        reached = np.array(edges[1:]) > 3 * found.k[0]
        assert np.isfinite(bands[reached]).all()
        np.testing.assert_allclose(bands[reached][1:], boxsize**3 / n**3, rtol=0.2)


def test_bands_without_waves_are_not_numbers() -> None:
    power = BoxPower(np.array([1.0, 2.0]), np.ones(2), np.ones(2))
    found = power.averages(np.ones((1, 2)), (0.1, 0.5, 1.5, 2.1, 3.0))[0]
    np.testing.assert_array_equal(found, [np.nan, 1, 1, np.nan])
