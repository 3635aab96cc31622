"""Power that another code finds from the same initial modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe import measurements
from halo_cm.universe.design import plan_box, with_boxes
from halo_cm.universe.expectations import BoxTheory
from halo_cm.universe.measurements import GravityMeasurement
from halo_cm.universe.same_modes import power_of_same_modes

K = np.array([0.05, 0.15, 0.3, 0.9, 1.0, 5.0])


@pytest.fixture(scope="module")
def default() -> UniverseConfig:
    return with_boxes(UniverseConfig.from_preset("default"), 33)


@pytest.fixture(scope="module")
def first(default: UniverseConfig) -> BoxTheory:
    return BoxTheory.of_box(default, plan_box(default, 0))


def test_boxes_of_the_preset_are_known(default: UniverseConfig, first: BoxTheory) -> None:
    found = power_of_same_modes(first, K)
    assert found is not None
    np.testing.assert_array_equal(np.isfinite(found), [False, True, True, True, False, False])
    # of the order of what is expected without knowing the modes' phases, and not the same
    expected = first.finite_box_factor(K, default) * first.coupling(K)
    np.testing.assert_allclose(found[1:4], expected[1:4], rtol=0.4)
    last = power_of_same_modes(BoxTheory.of_box(default, plan_box(default, 31)), K)
    assert last is not None and last[1:4] != pytest.approx(found[1:4], rel=0.01)
    assert power_of_same_modes(BoxTheory.of_box(default, plan_box(default, 32)), K) is None


def test_every_box_of_the_table_is_its_own(default: UniverseConfig) -> None:
    found = [
        power_of_same_modes(BoxTheory.of_box(default, plan_box(default, i)), K[1:4])
        for i in (9, 18, 27)
    ]
    assert len({tuple(row.tolist()) for row in found if row is not None}) == 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_particles": 64}, {"sigma_8": (0.6, 0.95)}])
def test_other_modes_are_not_known(default: UniverseConfig, change: dict[str, object]) -> None:
    other = default.model_copy(update=change)
    assert power_of_same_modes(BoxTheory.of_box(other, plan_box(other, 0)), K) is None


def test_the_size_of_the_box_counts(
    first: BoxTheory, tiny_config: Callable[..., UniverseConfig]
) -> None:
    assert power_of_same_modes(replace(first, boxsize=25.0), K) is None
    tiny = tiny_config()
    assert power_of_same_modes(BoxTheory.of_box(tiny, plan_box(tiny, 0)), K) is None


def test_gravity_is_compared_with_them_and_its_noise_subtracted(
    tiny_config: Callable[..., UniverseConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()

    def measure() -> GravityMeasurement:
        return measurements.measure_gravity(config, 0, lambda: None)

    before = measure()
    assert not before.from_same_modes
    np.testing.assert_array_equal(before.power[1], before.power[3])
    noise = measurements.noise_of_haloes
    monkeypatch.setattr(
        measurements, "power_of_same_modes", lambda _, k: np.where(k < 1, 0.5, np.nan)
    )
    monkeypatch.setattr(measurements, "noise_of_haloes", lambda *a: 0 * noise(*a))
    after = measure()
    assert after.from_same_modes
    low = np.array(measurements.POWER_BANDS[1:]) <= 1
    inside = low & np.isfinite(before.power[1])
    assert inside.any()
    assert after.power[1][inside] == pytest.approx(0.5)
    np.testing.assert_array_equal(after.power[1][~low], before.power[1][~low])
    np.testing.assert_array_equal(after.power[3], before.power[3])
    # without its noise a box has less power, the more the smaller the scale
    lost = (after.power[0] - before.power[0])[np.isfinite(before.power[0])]
    assert lost.min() > 0 and lost[-1] > lost[0]
