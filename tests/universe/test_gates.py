"""How gates judge: what fails, what passes, and what is not judged for a reason that is told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.check import judge
from halo_cm.universe.expectations import COUPLING_ERROR, SUPPRESSION
from halo_cm.universe.gates import Array, Gate, Topic, UniverseCheck, curve, gate, no_waves
from halo_cm.universe.gravity_gates import mass_function_topic, power_topic
from halo_cm.universe.hydro_gates import (
    CAMELS_STARS,
    NOTED_SUPPRESSION,
    stars_topic,
    suppression_topic,
)
from halo_cm.universe.measurements import (
    STAR_CELLS,
    STRENGTHS,
    BoxMeasurement,
    CutoutMeasurement,
    GravityMeasurement,
    star_statistics,
)
from halo_cm.universe.same_modes import SAME_MODES_ERROR

LONGEST = 2 * math.pi / 50
OMEGA_B = 0.3 * 0.16


def make_gravity(**changes: Array) -> GravityMeasurement:
    """A box that passes all gates on its counts and power."""
    fine = GravityMeasurement(
        counts=np.array([[25, 14, 7, 6]] * 3),
        power=np.ones((4, 7)),
        fine_power=np.ones((4, 24)),
        longest=np.array([0.16, 1.0, 1.0]),
        profiles=np.ones((4, 8)),
    )
    return replace(fine, **changes)


def make_box(**changes: Array) -> BoxMeasurement:
    """A box that passes all gates on its dark matter and S(k), at Omega_m = 0.3."""
    rng = np.random.default_rng(0)
    box = BoxMeasurement(
        gravity=make_gravity(),
        baryon_fraction=0.16,
        suppression=np.array([SUPPRESSION[strength] for strength in STRENGTHS]),
        fine_suppression=np.ones((3, 24)),
        haloes=np.stack([10 ** rng.uniform(13, 14.5, 40), rng.random(40), rng.random(40)]),
        conservation=np.zeros((2, 3)),
    )
    return replace(box, **changes)  # type: ignore[arg-type]


def test_gates_judge() -> None:
    assert gate("x", 1.14, 1, 0.15).passed is True
    assert gate("x", 1.16, 1, 0.15).passed is False
    assert gate("x", 1.16, 1, 0.15, unjudged="too coarse") == Gate(
        "x", 1.16, 1.0, 0.15, None, "too coarse"
    )
    assert curve("l", "measured", [1, 2], [math.nan, 3], [1, math.nan]).y == (3.0,)
    numbers = gate("x", 1, 1, 0, details={"a": 2, "b": math.nan}).details
    assert numbers == {"a": 2.0, "b": None}


def test_what_could_not_be_measured_fails() -> None:
    broken = gate("x", math.nan, 1, 0.15, reason="5%")
    assert broken == Gate("x", None, 1.0, 0.15, False, "nothing was measured")
    # but for a reason that is known beforehand
    told = gate("x", math.nan, 1, 0.15, unjudged="too coarse")
    assert told == Gate("x", None, 1.0, 0.15, None, "too coarse")
    found = _check((broken,))
    assert found.passed is False
    assert "FAILED  x: not measured, expected 1 +- 0.15 (nothing was measured)" in found.as_text()


def _check(*topics: tuple[Gate, ...]) -> UniverseCheck:
    panels = tuple(Topic("t", "title", (), gates) for gates in topics)
    return UniverseCheck("f", "p", 0, "0", 1, 2, 3, 4.0, panels)


def test_the_verdict_on_a_universe() -> None:
    good, bad, none = gate("a", 1, 1, 0), gate("b", 2, 1, 0.5), gate("c", 2, 1, 0, unjudged="why")
    passed = _check((good, none), (good,))
    assert (passed.passed, passed.verdict) == (True, "passed")
    assert (passed.n_judged, passed.n_passed) == (2, 2)
    assert passed.as_text().endswith("passed: 1 box, 2 haloes: passed 2 of 2 judged, 1 not judged")
    # a topic that is not judged leaves the verdict open
    unknown = _check((good,), (none, none))
    assert (unknown.passed, unknown.verdict) == (None, "not judged")
    assert unknown.as_text().endswith(": passed 1 of 1 judged, 2 not judged")
    assert "not judged  2 gates: why" in unknown.as_text()
    failed = _check((good, bad), (none,))
    assert (failed.passed, failed.verdict) == (False, "failed")
    assert "FAILED  b: 2, expected 1 +- 0.5" in failed.as_text()
    last = failed.as_text().splitlines()[-1]
    assert last == "FAILED: 1 box, 2 haloes: passed 1 of 2 judged, 1 failed, 1 not judged"
    content = json.loads(json.dumps(failed.as_dict()))
    assert (content["n_judged"], content["n_passed"], content["verdict"]) == (2, 1, "failed")
    assert [topic.passed for topic in failed.topics] == [False, None]


def test_failures_and_few_boxes() -> None:
    fine = UniverseConfig.from_preset("default")
    boxes = [make_box() for _ in range(8)]
    growth = np.array([[1.0, 2.0, 3.0], [0.999, 0.99, 0.9]])
    cutouts = CutoutMeasurement(10, np.full(10, 1.2), np.array(CAMELS_STARS))
    topics = {topic.name: topic for topic in judge(fine, boxes, growth, cutouts)}
    assert [g.passed for g in topics["growth"].gates] == [True, False]
    assert [g.passed for g in topics["conservation"].gates[2:]] == [False, False]
    assert topics["stars"].passed is topics["mass_function"].passed is True
    assert topics["power"].passed is topics["suppression"].passed is True
    few = {topic.name: topic for topic in judge(fine, boxes[:7], growth, cutouts)}
    assert few["power"].passed is few["mass_function"].passed is None
    assert "7 boxes of different phases" in few["power"].gates[0].reason
    assert few["profiles"].passed is not None
    # the boxes of the set 1P have the same phases
    same = judge(UniverseConfig.from_preset("1P"), boxes, growth, cutouts)
    assert same[0].passed is same[1].passed is None
    assert "1 box, and the gate is set for 8" in same[0].gates[0].reason


def test_further_boxes_count_for_gravity_alone() -> None:
    fine = UniverseConfig.from_preset("default")
    growth = np.array([[1.0, 2.0], [0.999, 0.999]])
    cutouts = CutoutMeasurement(10, np.ones(10), np.array(CAMELS_STARS))
    further = [make_gravity(counts=np.array([[35, 14, 7, 6], [25, 14, 7, 6], [25, 14, 7, 6]]))] * 5
    topics = judge(fine, [make_box()] * 8, growth, cutouts, further)
    found = {topic.name: topic for topic in topics}
    assert found["mass_function"].gates[0].measured == pytest.approx((8 * 25 + 5 * 35) / 13 / 25)
    assert found["mass_function"].gates[0].passed is False
    assert found["mass_function"].note.startswith("13 boxes")
    # they also make up for boxes without draws, but not in S(k)
    few = {t.name: t for t in judge(fine, [make_box()] * 3, growth, cutouts, further)}
    assert few["power"].passed is True and few["suppression"].passed is None
    assert "3 boxes of different phases" in few["suppression"].gates[0].reason


def test_rare_haloes_are_not_judged_unless_they_are_far_off() -> None:
    counts = np.array([[25, 14, 4, 1.25], [25, 14, 4, 1.3], [25, 14, 4, 1.25]])
    common, less, rare, rarest = mass_function_topic([make_gravity(counts=counts)] * 8, "").gates
    assert common.passed is less.passed is True
    assert rare.passed is rarest.passed is None
    assert "10 haloes of 1e14 and more Msun/h expected" in rarest.reason
    assert "a Poisson error of 32% where the gate is 15%" in rarest.reason
    assert "0.96 of Tinker08 and 1.00 of Tinker08 for the box's modes, +0.0 sigma" in rarest.reason
    assert rarest.tolerance == 0.15
    assert rarest.details["expected count"] == 10
    assert rarest.details["over Tinker08"] == pytest.approx(0.96, abs=2e-3)
    # 20 where 10 are expected
    counts[0, 3] = 2.5
    far = mass_function_topic([make_gravity(counts=counts)] * 8, "").gates[3]
    assert far.passed is False and far.measured == 2
    assert far.tolerance == pytest.approx(3 / 10**0.5)
    few = mass_function_topic([make_gravity(counts=counts)] * 8, "few").gates[3]
    assert few.passed is None
    # common haloes have the 15% of their gate
    counts[0, 0] = 30
    assert mass_function_topic([make_gravity(counts=counts)] * 8, "").gates[0].passed is False


def test_which_mass_function_decides() -> None:
    """Tinker08, but for masses of which a box of this size cannot have as many."""
    counts = np.array([[25, 14, 7, 4.5], [25, 14, 7.5, 6], [25, 14, 7, 4.5]])
    *_, less, massive = mass_function_topic([make_gravity(counts=counts)] * 32, "").gates
    assert less.name.endswith("/ Tinker08") and less.measured == pytest.approx(7 / 7.5)
    assert "Tinker08 decides" in less.reason
    assert massive.name.endswith("Tinker08 of the box's modes") and massive.passed is True
    assert massive.measured == 1 and massive.tolerance == 0.15
    assert "found 0.75 of Tinker08 and 1.00 of Tinker08 for the box's modes" in massive.reason
    assert "the box's modes give 0.75 of Tinker08: these modes decide" in massive.reason
    counts[0, 3] = 6
    massive = mass_function_topic([make_gravity(counts=counts)] * 32, "").gates[3]
    assert massive.passed is False and massive.details["over Tinker08"] == 1


def test_power_is_judged_by_its_standard_error() -> None:
    def gates_of(values: list[float]) -> tuple[Gate, ...]:
        boxes = []
        for value in values:
            power = np.ones((4, 7))
            power[0, 2] = value
            boxes.append(make_gravity(power=power))
        return power_topic(boxes, "", LONGEST).gates

    same = gates_of([1.06] * 8)
    assert [g.passed for g in same] == [True, True, True, False, True, True, True, True]
    assert [g.tolerance for g in same[1:]] == [0.05] * 7
    spread = gates_of([0.86, 1.26] * 4)
    error = 0.2 * (8 / 7) ** 0.5 / 8**0.5
    assert spread[3].details["standard error"] == pytest.approx(error)
    assert spread[3].tolerance == pytest.approx(2 * error) and spread[3].passed is True
    missing = gates_of([math.nan] * 8)[3]
    assert missing.passed is False and missing.measured is None


def test_power_of_the_same_modes_has_no_error_of_its_expectation() -> None:
    power = np.ones((4, 7))
    power[0, 0] = 1.06
    apart, same = (
        make_gravity(power=power),
        replace(make_gravity(power=power), from_same_modes=True),
    )

    def first(boxes: list[GravityMeasurement]) -> Gate:
        return power_topic(boxes, "", LONGEST).gates[1]

    both, mixed, none = (first([same] * 8), first([same, apart] * 4), first([apart] * 8))
    assert [g.details["standard error"] for g in (both, mixed, none)] == [
        SAME_MODES_ERROR,
        pytest.approx(0.5 * (SAME_MODES_ERROR + COUPLING_ERROR)),
        COUPLING_ERROR,
    ]
    name = "share of boxes with the power of their own modes"
    assert [g.details[name] for g in (both, mixed, none)] == [1, 0.5, 0]
    # what theory alone says stays on record
    assert both.details["over halofit in a box of these modes"] == pytest.approx(1.06)
    assert both.details["standard error of that"] == COUPLING_ERROR
    assert "JaxPM from the same modes" in both.name and "halofit" in mixed.name
    assert not both.passed and both.tolerance == 0.05


def test_power_of_boxes_of_another_size() -> None:
    # a box may be too small for a band
    small = power_topic([make_gravity()] * 8, "", 1.0).gates
    assert [g.passed for g in small[1:4]] == [None, None, True]
    assert "longest have k = 1 h/Mpc" in small[1].reason and no_waves(2.0, 1.0) == ""
    # what a box of another size takes from its waves is not known
    wide = power_topic([make_gravity()] * 8, "", 2 * math.pi / 100).gates
    assert [g.passed for g in wide[1:4]] == [None, None, True]
    assert "known for boxes of 50 Mpc/h, not for 100 Mpc/h" in wide[1].reason
    # whatever was measured, nothing can be expected there
    power = np.ones((4, 7))
    power[1, :2] = np.nan
    unknown = power_topic([make_gravity(power=power)] * 8, "", 2 * math.pi / 100).gates
    assert [g.passed for g in unknown[1:4]] == [None, None, True]
    assert [g.measured for g in unknown[1:3]] == [None, None]
    nearly = power_topic([make_gravity()] * 8, "", 2 * math.pi / 50.5).gates
    assert all(g.passed for g in nearly)


def test_power_is_drawn_beside_linear_theory() -> None:
    lines = {line.label: line for line in power_topic([make_gravity()] * 8, "", LONGEST).curves}
    assert lines["linear"].kind == "expected" and len(lines["linear"].x) == 24


def test_suppression_is_judged_by_the_independent_table() -> None:
    def topic_of(values: Array) -> Topic:
        suppression = make_box().suppression.copy()
        suppression[2] = values
        boxes = [make_box(suppression=suppression)] * 8
        return suppression_topic(boxes, OMEGA_B, "", LONGEST)

    table = np.array(SUPPRESSION[13.2])
    assert all(g.passed for g in topic_of(table - 0.019).gates)
    far = topic_of(table - 0.021).gates
    assert [g.passed for g in far] == [True] * 15 + [False] * 7
    last = far[-1]
    assert last.name == "S(k) at 16-30 h/Mpc, log10 Mc = 13.2"
    assert last.expected == pytest.approx(table[6]) and last.tolerance == pytest.approx(0.02)
    assert last.details["measured - expected"] == pytest.approx(-0.021)
    noted = NOTED_SUPPRESSION[13.2][6]
    assert last.details["measured - noted table"] == pytest.approx(table[6] - 0.021 - noted)
    # nothing was noted down for the strength between
    assert far[8].details["noted table of the prototype"] is None
    shown = [line for line in topic_of(table).curves if line.kind == "reference"]
    assert [line.y for line in shown] == list(NOTED_SUPPRESSION.values())


def test_the_expected_suppression_is_in_order() -> None:
    rows = np.array([SUPPRESSION[strength] for strength in STRENGTHS])
    assert rows.shape == (3, 7) and (np.diff(rows, axis=0) < 0).all()


def test_a_missing_band_of_suppression_fails() -> None:
    """Also its order in strength, which is not known then."""
    suppression = make_box().suppression.copy()
    suppression[:, 6] = math.nan
    boxes = [make_box(suppression=suppression)] * 8
    disorder, *bands = suppression_topic(boxes, OMEGA_B, "", LONGEST).gates
    assert disorder.passed is False and disorder.measured is None
    assert [g.passed for g in bands] == ([True] * 6 + [False]) * 3
    assert all(g.passed is None for g in suppression_topic(boxes, OMEGA_B, "few", LONGEST).gates)


def test_star_statistics() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 0, 0], maps[0, 0, 1], maps[1, 3, 3] = 1e8, 1e4, 1e6
    occupied, filled, mean = star_statistics(maps, 0.1, 0.1)
    assert (occupied, filled) == (1 / 32, 3 / 32)
    assert mean == pytest.approx(6)
    occupied, filled, mean = star_statistics(maps, 0.1, 0.2)
    assert (occupied, filled) == (1 / 8, 2 / 8)
    assert mean == pytest.approx((np.log10(1.0001e8) + 6) / 2, abs=1e-6)
    assert all(math.isnan(x) for x in star_statistics(maps, 0.1, 0.3))
    assert all(math.isnan(x) for x in star_statistics(maps[:0], 0.1, 0.1))


def test_a_file_without_stars_fails() -> None:
    occupied, filled, mean = star_statistics(np.zeros((2, 4, 4), np.float32), 0.1, 0.1)
    assert occupied == filled == 0 and math.isnan(mean)
    empty = np.array([[occupied, filled, mean]] * 2)
    found = stars_topic(CutoutMeasurement(2, np.ones(1), empty), "").gates
    assert [g.passed for g in found] == [False] * 6
    assert [g.measured for g in found] == [0, 0, None] * 2
    # pixels that cannot be compared are another thing
    reasons = ("pixels of 200 kpc/h do not sum to this width", "")
    wide = CutoutMeasurement(2, np.ones(1), np.full((2, 3), math.nan), reasons)
    found = stars_topic(wide, "").gates
    assert [g.passed for g in found] == [None] * 3 + [False] * 3
    assert found[0].reason == reasons[0]


def test_camels_numbers_are_those_of_the_pair(shared: Path) -> None:
    """A real pair: 128 pixels of 48.8 kpc/h."""
    file = shared / "data" / "camels_sb35_pair.npz"
    if not file.is_file():
        pytest.skip("no CAMELS pair among the shared data")
    with np.load(file, allow_pickle=False) as pair:
        stars = pair["target"][2:]
    for width, expected in zip(STAR_CELLS, CAMELS_STARS, strict=True):
        found = star_statistics(stars, 6.25 / 128, width)
        assert found[:2] == pytest.approx(expected[:2], abs=6e-4)
        assert found[2] == pytest.approx(expected[2], abs=6e-3)
