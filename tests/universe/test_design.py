"""What is varied: Sobol designs, one parameter at a time (1P), the phases alone (CV)."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from halo_cm.config.universe import VARIATIONS_1P, UniverseConfig
from halo_cm.universe.design import BoxPlan, plan_box, sobol_design, with_boxes


def _values(plan: BoxPlan, draw: int) -> tuple[float, ...]:
    return (plan.cosmology.omega_m, plan.cosmology.sigma_8, *astuple(plan.draws[draw]))


def test_design_extends_and_fills_its_ranges() -> None:
    ranges = [(0.2, 0.4), (-1.0, 1.0)]
    short, long = (sobol_design(n, ranges, 3, "test") for n in (5, 64))
    assert np.array_equal(short, long[:5])
    assert not np.array_equal(short, sobol_design(5, ranges, 4, "test"))
    for column, (low, high) in zip(long.T, ranges, strict=True):
        counts, _ = np.histogram(column, bins=8, range=(low, high))
        assert counts.min() >= 6  # 8 points each for a perfectly even design


def test_boxes_of_a_sobol_universe_differ_in_everything() -> None:
    config = UniverseConfig(n_draws=3)
    plans = [plan_box(config, box) for box in range(config.n_boxes)]
    vectors = [_values(plan, j) for plan in plans for j in range(3)]
    assert all(len({v[i] for v in vectors}) == len(vectors) for i in range(2, 6))
    assert len({v[:2] for v in vectors}) == config.n_boxes
    assert [plan.phases for plan in plans] == list(range(config.n_boxes))
    assert len({plan.words(j, 0) for plan in plans for j in range(3)}) == len(vectors)
    with pytest.raises(IndexError, match="box 10 of 10"):
        plan_box(config, 10)


def test_1p_varies_one_parameter_at_a_time_with_the_same_phases() -> None:
    config = UniverseConfig.from_preset("1P")
    plans = [plan_box(config, box) for box in range(config.n_boxes)]
    vectors = [_values(plan, j) for plan in plans for j in range(len(plan.draws))]
    fiducial = vectors[0]
    assert fiducial == pytest.approx((0.3, 0.8, 12.5, 4.25, 0.06, 1.0))
    changed = [tuple(i for i in range(6) if v[i] != fiducial[i]) for v in vectors]
    assert changed[0] == () and all(len(which) == 1 for which in changed[1:])
    for i in range(6):
        assert changed.count((i,)) == len(VARIATIONS_1P)
    by_omega_m = [v[0] for v, which in zip(vectors, changed, strict=True) if which == (0,)]
    assert by_omega_m == pytest.approx([0.2, 0.25, 0.35, 0.4])
    assert {plan.phases for plan in plans} == {0}
    assert {plan.words(j, 0) for plan in plans for j in range(len(plan.draws))} == {
        ("box", 0, "draw", 0, "realization", 0)
    }


def test_cv_varies_the_phases_alone() -> None:
    config = UniverseConfig.from_preset("CV")
    plans = [plan_box(config, box) for box in range(config.n_boxes)]
    assert len(plans) == 27 and all(len(plan.draws) == 1 for plan in plans)
    assert {_values(plan, 0) for plan in plans} == {_values(plans[0], 0)}
    assert [plan.phases for plan in plans] == list(range(27))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"design": "1P"}, "1P has 9 boxes, found 10"),
        (
            {"n_train_boxes": 0, "n_validation_boxes": 0, "n_test_boxes": 0},
            "expected at least one box",
        ),
    ],
)
def test_impossible_designs_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UniverseConfig(**changes)


def test_a_universe_is_continued() -> None:
    """By boxes of phases and cosmologies that it does not have."""
    config = UniverseConfig.from_preset("default")
    more = with_boxes(config, 32)
    assert more.n_boxes == 32 and with_boxes(config, 5) == config
    plans = [plan_box(more, i) for i in range(32)]
    assert plans[: config.n_boxes] == [plan_box(config, i) for i in range(config.n_boxes)]
    assert len({plan.phases for plan in plans}) == len({plan.cosmology for plan in plans}) == 32
    same = UniverseConfig.from_preset("1P")
    assert with_boxes(same, 32) == same
