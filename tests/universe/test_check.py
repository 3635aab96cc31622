"""The physics gates: how they judge (fast), and every number of them (slow)."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from halo_cm.config.universe import UniverseConfig
from halo_cm.data.cutouts import read_cutouts, write_cutouts
from halo_cm.errors import DataError
from halo_cm.universe import check as check_module
from halo_cm.universe.box import particles_today
from halo_cm.universe.check import check_universe, judge
from halo_cm.universe.cosmology import Cosmology, linear_power
from halo_cm.universe.design import plan_box
from halo_cm.universe.expectations import MASSES, BoxTheory
from halo_cm.universe.gates import Gate, Topic, UniverseCheck, curve, gate
from halo_cm.universe.gravity_gates import PROTOTYPE_COUNTS
from halo_cm.universe.hydro_gates import CAMELS_STARS, stars_topic
from halo_cm.universe.measurements import (
    MASS_EDGES,
    STAR_CELLS,
    BoxMeasurement,
    CutoutMeasurement,
    measure_cutouts,
    star_statistics,
)
from halo_cm.universe.simulate import simulate

Make = Callable[..., UniverseConfig]
TOPICS = (
    *("mass_function", "power", "growth", "profiles"),
    *("suppression", "gas", "star", "conservation", "stars"),
)


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config(n_validation_boxes=0, n_test_boxes=0)


@pytest.fixture(scope="module")
def path(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(config, tmp_path_factory.mktemp("check") / "tiny.h5", workers=1)


@pytest.fixture(scope="module")
def tiny(path: Path) -> UniverseCheck:
    return check_universe(path, workers=1)


def test_structure(tiny: UniverseCheck, config: UniverseConfig) -> None:
    assert tuple(topic.name for topic in tiny.topics) == TOPICS
    assert (tiny.n_boxes, tiny.preset, tiny.seed) == (1, "ci", 0)
    assert tiny.fingerprint == config.fingerprint()
    assert tiny.n_haloes > 0 and tiny.n_cutouts > 0 and tiny.seconds > 0
    for topic in tiny.topics:
        assert topic.gates and topic.curves and topic.title
        for line in topic.curves:
            assert len(line.x) == len(line.y)
            assert line.error is None or len(line.error) == len(line.x)
    with pytest.raises(StopIteration):
        tiny.topic("unknown")


def test_what_the_resolution_does_not_allow_is_not_judged(tiny: UniverseCheck) -> None:
    for topic in tiny.topics:
        if topic.name == "conservation":
            continue
        assert topic.passed is None
        assert all("apart" in gate.reason for gate in topic.gates if gate.measured is not None)
    # mass is conserved at any resolution
    assert [g.passed for g in tiny.topic("conservation").gates] == [True, True, True, None]
    assert tiny.topic("mass_function").gates[0].measured is not None
    text = tiny.as_text().splitlines()
    assert len(text) == 5 and "gates: particles lie 1.6 Mpc/h apart" in text[3]
    assert text[-1].startswith("1 boxes")


def test_json_holds_everything(tiny: UniverseCheck) -> None:
    content = tiny.as_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content
    assert [topic["name"] for topic in content["topics"]] == list(TOPICS)
    assert content["topics"][0]["gates"][0].keys() == {
        *("name", "measured", "expected", "tolerance", "passed", "reason")
    }


def test_the_result_does_not_depend_on_the_workers(
    tiny: UniverseCheck, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(tasks, jobs, **_):  # type: ignore[no-untyped-def]
        for job in reversed(jobs):
            yield job, tasks[0](job, lambda: None)

    monkeypatch.setattr(check_module, "run_jobs", in_this_process)
    assert check_universe(path, workers=3).topics == tiny.topics


def test_gates_judge() -> None:
    assert gate("x", 1.14, 1, 0.15).passed is True
    assert gate("x", 1.16, 1, 0.15).passed is False
    assert gate("x", 1.16, 1, 0.15, unjudged="too coarse") == Gate(
        "x", 1.16, 1.0, 0.15, None, "too coarse"
    )
    assert gate("x", math.nan, 1, 0.15) == Gate("x", None, 1.0, 0.15, None, "nothing was measured")
    good, bad, none = gate("a", 1, 1, 0), gate("b", 2, 1, 0.5), gate("c", 2, 1, 0, unjudged="why")

    def topic(*gates: Gate) -> Topic:
        return Topic("t", "title", (), gates)

    assert topic(good, none).passed is True
    assert topic(good, bad, none).passed is False
    assert topic(none).passed is None
    found = UniverseCheck("f", "p", 0, "0", 1, 2, 3, 4.0, (topic(good, none), topic(bad)))
    assert not found.passed
    assert replace(found, topics=(topic(good, none),)).passed
    assert "FAILED  b: 2, expected 1 +- 0.5" in found.as_text()
    assert "not judged  1 gates: why" in found.as_text()
    assert found.as_text().endswith("1 boxes, 2 haloes: 1 passed, 1 failed, 1 not judged")
    assert curve("l", "measured", [1, 2], [math.nan, 3], [1, math.nan]).y == (3.0,)


def test_few_boxes_are_not_judged_and_failures_are_told(
    config: UniverseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    fine = UniverseConfig.from_preset("default")
    boxes = [_measurement() for _ in range(8)]
    growth = np.array([[1.0, 2.0, 3.0], [0.999, 0.99, 0.9]])
    cutouts = CutoutMeasurement(10, np.full(10, 1.2), np.array(CAMELS_STARS))
    topics = {topic.name: topic for topic in judge(fine, boxes, growth, cutouts)}
    assert [g.passed for g in topics["growth"].gates] == [True, False]
    assert [g.passed for g in topics["conservation"].gates[2:]] == [False, False]
    assert topics["stars"].passed is topics["mass_function"].passed is True
    few = {topic.name: topic for topic in judge(fine, boxes[:7], growth, cutouts)}
    assert few["power"].passed is few["mass_function"].passed is None
    assert "7 boxes" in few["power"].gates[0].reason
    assert few["profiles"].passed is not None
    # rare haloes are judged by their Poisson error, which is said
    rare = topics["mass_function"].gates[-1]
    assert "Poisson error is 32%" in rare.reason and rare.tolerance == pytest.approx(2 / 10**0.5)


def _measurement() -> BoxMeasurement:
    rng = np.random.default_rng(0)
    counts = np.array([[25, 14, 4, 1.25]] * 3)
    return BoxMeasurement(
        baryon_fraction=0.16,
        counts=counts,
        power=np.ones((2, 7)),
        fine_power=np.ones((2, 24)),
        linear=np.ones((3, 6)),
        profiles=np.ones((4, 8)),
        suppression=np.ones((3, 7)),
        fine_suppression=np.ones((3, 24)),
        haloes=np.stack([10 ** rng.uniform(13, 14.5, 40), rng.random(40), rng.random(40)]),
        conservation=np.zeros((2, 3)),
    )


def test_wrong_files_are_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        check_universe(tmp_path / "missing.h5")
    with pytest.raises(ValueError, match="workers"):
        check_universe(path, workers=0)
    cutouts = read_cutouts(path)
    geometry = cutouts.geometry
    other = tmp_path / "other.h5"
    write_cutouts(other, replace(cutouts, geometry=replace(geometry, provenance={})))
    with pytest.raises(DataError, match=r"other.h5.*'universe'"):
        check_universe(other)
    older = {**geometry.provenance, "fingerprint": "0123"}
    write_cutouts(other, replace(cutouts, geometry=replace(geometry, provenance=older)))
    with pytest.raises(DataError, match=r"other.h5.*fingerprint.*0123.*--overwrite"):
        check_universe(other)
    write_cutouts(other, replace(cutouts, target=None))
    with pytest.raises(DataError, match=r"other.h5.*'target'"):
        check_universe(other)


def test_cutouts_are_measured_in_parts_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutouts = read_cutouts(path, realization=None)
    assert cutouts.target is not None
    whole = measure_cutouts(path)
    assert whole.n_rows == len(cutouts)
    ratio = cutouts.target.sum((1, 2, 3)) / cutouts.condition[:, 0].sum((1, 2))
    np.testing.assert_allclose(whole.mass_ratio, ratio, rtol=1e-5)
    # 8 pixels of 0.78 Mpc/h cannot be compared
    assert np.isnan(whole.stars).all()
    monkeypatch.setattr("halo_cm.universe.measurements._BLOCK_ROWS", 2)
    part = measure_cutouts(path)
    assert part.n_rows <= 64 and set(part.mass_ratio) <= set(whole.mass_ratio)


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
    assert all(math.isnan(x) for x in star_statistics(0 * maps, 0.1, 0.1))
    nothing = CutoutMeasurement(0, np.ones(1), np.full((2, 3), np.nan))
    assert all(g.passed is None and g.measured is None for g in stars_topic(nothing, "").gates)


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


@pytest.fixture(scope="module")
def theory(config: UniverseConfig) -> BoxTheory:
    return BoxTheory.of_box(config, plan_box(config, 0))


def test_linear_theory_of_a_box(theory: BoxTheory) -> None:
    # 8 Mpc/h spheres have sigma_8
    mass = 4 * math.pi / 3 * 512 * theory.cosmology.omega_m * 2.77536627e11
    sigma = float(theory.sigma(np.array([mass]), of_box=False)[0])
    assert sigma == pytest.approx(theory.cosmology.sigma_8, rel=0.01)
    # long waves are missing
    of_box = theory.sigma(np.array([1e13, 1e15]), of_box=True)
    everywhere = theory.sigma(np.array([1e13, 1e15]), of_box=False)
    assert of_box[1] / everywhere[1] < of_box[0] / everywhere[0] < 1.05
    ratio = theory.box_power / theory.linear(theory.box_k)
    error = np.sqrt(2 / theory.box_modes)
    assert (np.abs(ratio - 1) < 5 * error).all()
    assert theory.linear_of_box(theory.box_k) == pytest.approx(theory.box_power)


def test_the_modes_are_those_that_gravity_starts_from(
    config: UniverseConfig, theory: BoxTheory
) -> None:
    """A box of hardly any growth keeps its initial power: drift of the random stream is noticed."""
    quiet = config.model_copy(update={"sigma_8": (0.02, 0.02), "n_steps": 10})
    plan = plan_box(quiet, 0)
    expected = BoxTheory.of_box(quiet, plan)
    assert expected.box_power / theory.box_power == pytest.approx(
        (0.02 / theory.cosmology.sigma_8) ** 2, rel=1e-3
    )
    positions = particles_today(quiet, plan)
    n = quiet.n_particles
    sites = (np.arange(n) + 0.5) * quiet.boxsize / n
    moved = positions.reshape(n, n, n, 3) - np.stack(np.meshgrid(*[sites] * 3, indexing="ij"), -1)
    moved -= quiet.boxsize * np.round(moved / quiet.boxsize)
    # the mode of one wave along the first axis: delta = -i k psi
    psi = np.fft.fftn(moved[..., 0])[1, 0, 0]
    k = 2 * np.pi / quiet.boxsize
    power = np.abs(k * psi) ** 2 * quiet.boxsize**3 / n**6
    noise_like = expected.box_power[0]
    assert 0.02 * noise_like < power < 8 * noise_like


@pytest.mark.parametrize("omega_m", [0.2, 0.4])
def test_mass_function_agrees_with_colossus(omega_m: float, theory: BoxTheory) -> None:
    from colossus.lss import mass_function

    ours = Cosmology(omega_m, 0.8)
    k, power = linear_power(ours, 20.0)
    found = replace(theory, cosmology=ours, k=k, power=power).mass_function(of_box=False)
    reference = mass_function.massFunction(
        MASSES, 0.0, mdef="200c", model="tinker08", q_out="dndlnM"
    )
    inside = (MASSES > 1e12) & (MASSES < 3e14)
    # its transfer function is that of Eisenstein & Hu (1998)
    np.testing.assert_allclose(found[inside], reference[inside], rtol=0.05)


def test_finite_box_factor_and_halofit(config: UniverseConfig, theory: BoxTheory) -> None:
    k = np.geomspace(0.2, 10, 20)
    factor = theory.finite_box_factor(k, config)
    assert ((factor > 0.1) & (factor < 1.4)).all()
    ratio = theory.halofit(k) / theory.linear(k)
    assert ratio[0] < 1.6 and ratio[-1] > 10
    counts = theory.counts(MASS_EDGES, of_box=False)
    assert (np.diff(counts) < 0).all() and len(counts) == len(PROTOTYPE_COUNTS)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> UniverseCheck:
    """The preset default, with few draws in the file: ten minutes on two cores."""
    folder = tmp_path_factory.mktemp("full")
    config = UniverseConfig.from_preset(
        "default", n_train_boxes=8, n_validation_boxes=0, n_test_boxes=0, n_draws=2
    )
    return check_universe(simulate(config, folder / "default.h5"))


def _numbers(check: UniverseCheck, topic: str) -> dict[str, float]:
    return {g.name: g.measured for g in check.topic(topic).gates if g.measured is not None}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_halo_counts(full: UniverseCheck) -> None:
    common, less, rare, rarest = full.topic("mass_function").gates
    assert common.measured == pytest.approx(1, abs=0.15)
    assert less.measured == pytest.approx(1, abs=0.15)
    for found in (rare, rarest):
        assert "Poisson" in found.reason
        assert found.measured == pytest.approx(1, abs=found.tolerance)
        assert found.tolerance < 0.7


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_power(full: UniverseCheck) -> None:
    long, *bands = _numbers(full, "power").values()
    assert long == pytest.approx(1, abs=0.15)
    assert bands[:2] == pytest.approx([1, 1], abs=0.25)
    assert bands[2:] == pytest.approx([1] * 5, abs=0.15)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_growth_and_profiles(full: UniverseCheck) -> None:
    assert list(_numbers(full, "growth").values()) == pytest.approx([1, 1], abs=0.005)
    assert list(_numbers(full, "profiles").values()) == pytest.approx([1, 1, 1], abs=0.10)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_suppression(full: UniverseCheck) -> None:
    disorder, *bands = _numbers(full, "suppression").values()
    assert disorder == 0
    gates = full.topic("suppression").gates[1:]
    assert len(gates) == len(bands) == 14
    for found in gates:
        last = "16-30" in found.name
        assert found.measured == pytest.approx(found.expected, abs=0.075 if last else 0.046)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_contents_of_haloes(full: UniverseCheck) -> None:
    gas_low, scatter_low, gas_high, scatter_high = _numbers(full, "gas").values()
    assert (gas_low, gas_high) == pytest.approx((0.46, 0.78), abs=0.10)
    assert (scatter_low, scatter_high) == pytest.approx((0.14, 0.19), abs=0.10)
    star_low, star_high = _numbers(full, "star").values()
    assert (star_low, star_high) == pytest.approx((0.020, 0.010), abs=0.005)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_mass_is_conserved(full: UniverseCheck) -> None:
    total, baryons, ratio, scatter = _numbers(full, "conservation").values()
    assert total < 1e-5 and baryons < 1e-5
    assert ratio == pytest.approx(1.0006, abs=0.0025)
    assert scatter == pytest.approx(0.0045, abs=0.0025)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_star_pixels(full: UniverseCheck) -> None:
    fine, coarse = np.array(list(_numbers(full, "stars").values())).reshape(2, 3)
    for found, expected in ((fine, CAMELS_STARS[0]), (coarse, CAMELS_STARS[1])):
        assert found[:2] == pytest.approx(expected[:2], abs=0.06)
        assert found[2] == pytest.approx(expected[2], abs=0.25)
    logging.getLogger("halo_cm").info(full.as_text())
    assert full.passed
