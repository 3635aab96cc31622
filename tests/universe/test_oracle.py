"""The oracle: the same process as the universe's own draws, independent, repeatable, bimodal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from halo_cm import universe
from halo_cm.config.universe import BaryonConfig, UniverseConfig
from halo_cm.containers import Cutouts
from halo_cm.data.cutouts import read_cutouts, read_geometry, write_cutouts
from halo_cm.errors import ConfigError, DataError
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.box import Box
from halo_cm.universe.given import as_astrophysics
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.matter import Matter
from halo_cm.universe.oracle import OracleOptions, simulate_oracle, universe_of
from halo_cm.universe.simulate import simulate

Make = Callable[..., UniverseConfig]


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config()


@pytest.fixture(scope="module")
def path(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(config, tmp_path_factory.mktemp("oracle") / "haloes.h5", workers=1)


@pytest.fixture(scope="module")
def test_rows(path: Path) -> Cutouts:
    return read_cutouts(path, "test", None)


@pytest.fixture(scope="module")
def box(path: Path, test_rows: Cutouts) -> Box:
    return universe.open_box(path, int(test_rows.box[0]))


def _gas(fields: np.ndarray) -> np.ndarray:
    """Gas mass of the middle of each field [Msun/h]."""
    return fields[:, 1, 2:6, 2:6].sum((-2, -1))


def test_the_draws_of_the_file_come_from_the_same_process(box: Box, test_rows: Cutouts) -> None:
    """With the stream of the file, the oracle's box gives the file's fields bit by bit."""
    assert test_rows.target is not None
    for i in (0, 5, len(test_rows) - 1):
        row = test_rows.select(slice(i, i + 1))
        j, axis, halo = int(row.draw[0]), int(row.axis[0]), row.halo
        draw = box.draw(box.plan.draws[j], *box.plan.words(j, int(row.realization[0])))
        assert np.array_equal(box.targets(draw, axis, halo), row.target)
        assert np.array_equal(box.conditions(axis, halo), row.condition)
        assert np.array_equal(box.parameters(box.plan.draws[j], halo), row.parameters)


def test_draws_are_repeatable_and_distinct(box: Box, test_rows: Cutouts) -> None:
    row = test_rows.parameters[0]
    halo = int(test_rows.halo[0])
    fields = universe.draw_conditional(box, halo, row, 4, seed=3)
    assert fields.shape == (4, 3, 8, 8) and fields.dtype == np.float32
    again = universe.draw_conditional(box, halo, row, 2, seed=3)
    assert np.array_equal(fields[:2], again)
    other = universe.draw_conditional(box, halo, row, 4, seed=4)
    both = np.concatenate([fields, other])
    assert len(np.unique(_gas(both))) == 8
    names = dict(zip(("log10_Mc", "theta_ej", "A_star", "s_scatter"), row[2:6], strict=True))
    assert np.allclose(universe.draw_conditional(box, halo, names, 2, seed=3), again, rtol=1e-4)


def test_draws_follow_the_distribution_of_the_file(path: Path, config: UniverseConfig) -> None:
    """Gas of one halo: 60 draws of the oracle against 60 of the universe, at one parameter."""
    many = config.model_copy(update={"n_test_realizations": 60, "n_draws": 1, "n_projections": 1})
    box = universe.open_box(many, 2)
    halo, parameters = int(box.chosen[0]), box.plan.draws[0]
    simulated = np.stack(
        [box.targets(box.draw(parameters, *box.plan.words(0, r)), 0, [halo])[0] for r in range(60)]
    )
    drawn = universe.draw_conditional(box, halo, parameters, 60, seed=0)
    for channel in range(3):
        masses = (f[:, channel, 2:6, 2:6].sum((-2, -1)) for f in (simulated, drawn))
        assert ks_2samp(*masses).pvalue > 0.01
    other = replace(parameters, log10_mc=parameters.log10_mc + 1.5)
    moved = universe.draw_conditional(box, halo, other, 60, seed=0)
    assert ks_2samp(_gas(moved), _gas(simulated)).pvalue < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halo": 10_000}, "has no cutout of halo 10000"),
        ({"axis": 3}, "axis must be 0, 1 or 2"),
        ({"n": 0}, "n must be at least 1"),
        ({"seed": -1}, "seed not negative"),
        ({"parameters": np.ones(4)}, r"shape \(4,\), expected \(7,\)"),
        ({"parameters": {"log10_Mc": 12.0}}, "missing theta_ej, A_star, s_scatter"),
        ({"parameters": np.ones(7)}, r"Omega_m = 1, but box 2 was simulated with 0\."),
    ],
)
def test_bad_requests_are_explained(
    changes: dict[str, object], message: str, box: Box, test_rows: Cutouts
) -> None:
    given: dict[str, object] = {
        "halo": int(test_rows.halo[0]),
        "parameters": test_rows.parameters[0],
        "n": 1,
        "seed": 0,
    }
    with pytest.raises(DataError, match=message):
        universe.draw_conditional(box, **{**given, **changes})  # type: ignore[arg-type]


def test_values_that_make_no_fields_are_refused(
    box: Box, test_rows: Cutouts, caplog: pytest.LogCaptureFixture
) -> None:
    halo, values = (
        int(test_rows.halo[0]),
        {"log10_mc": 12.5, "theta_ej": 4.0, "a_star": 0.06, "s_scatter": 1.0},
    )
    names = {"log10_mc": "log10_Mc", "a_star": "A_star"}
    for changes, words in (
        ({"log10_mc": np.nan}, "log10_Mc = nan, expected one finite number"),
        ({"theta_ej": np.inf}, "theta_ej = inf, expected one finite number"),
        ({"a_star": "much"}, "A_star = much, expected one finite number"),
        ({"log10_mc": 1e13}, r"log10_Mc = 1e\+13: too far outside .*11\.5 to 13\.5.*logarithm"),
        ({"log10_mc": 15.6}, r"log10_Mc = 15\.6: too far outside .* within 9\.5 to 15\.5;"),
        ({"a_star": -0.01}, r"A_star = -0\.01: .*expected a positive value within 0 to 0\.21"),
        ({"theta_ej": -1.0}, r"theta_ej = -1: too far outside"),
        ({"s_scatter": -0.1}, r"s_scatter = -0\.1: too far outside"),
    ):
        given = {**values, **changes}
        mapping = {names.get(name, name): value for name, value in given.items()}
        for parameters in (mapping, Astrophysics(**given)):  # type: ignore[arg-type]
            with pytest.raises(DataError, match=words):
                universe.draw_conditional(box, halo, parameters, 1, seed=0)  # type: ignore[arg-type]
    assert not caplog.records
    for value, said in (
        (0.06, ""),
        (0.2, "outside the ranges of the universe: A_star = 0.2, varied"),
    ):
        caplog.clear()
        universe.draw_conditional(box, halo, Astrophysics(12.5, 4.0, value, 1.0), 1, seed=0)
        assert said in caplog.text
        assert ("outside the ranges" in caplog.text) == bool(said)


def test_a_parameter_that_is_not_varied_may_be_rounded_as_in_a_file(
    tiny_config: Make, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    fixed = Box(tiny_config(a_star=(0.06, 0.06)), box.index, box.matter)
    values = [12.5, 4.0, float(np.float32(0.06)), 1.0]
    assert as_astrophysics(Astrophysics(*values), fixed).a_star == values[2]
    assert not caplog.records
    values[2] = 0.07
    assert as_astrophysics(Astrophysics(*values), fixed).a_star == 0.07
    assert "A_star = 0.07, varied from 0.06 to 0.06" in caplog.text


def test_the_row_of_another_halo_is_refused(box: Box, test_rows: Cutouts) -> None:
    first = test_rows.halo[0]
    other = int(np.flatnonzero(test_rows.halo != first)[0])
    row = test_rows.parameters[other]
    words = rf"halo {first} of box 2 has .* the row is of halo {test_rows.halo[other]};"
    with pytest.raises(DataError, match=words):
        universe.draw_conditional(box, int(first), row, 1, seed=0)
    with pytest.raises(DataError, match="the row is of no halo of box 2"):
        universe.draw_conditional(box, int(first), [*row[:6], 15.5], 1, seed=0)  # type: ignore[arg-type]
    shorter = row[:6]  # says nothing of the halo
    assert universe.draw_conditional(box, int(first), shorter, 1, seed=0).shape == (1, 3, 8, 8)


def test_haloes_that_are_not_cut_out_are_refused(tiny_config: Make, box: Box) -> None:
    """Haloes are sorted by M80c and chosen by M200c: near the limit there may be a gap."""
    m200, light = box.matter.haloes.m200.copy(), len(box.chosen) - 2
    m200[[light, light + 1]] = m200[[light + 1, light]]  # the next one is heavier
    matter = replace(box.matter, haloes=replace(box.matter.haloes, m200=m200))
    limit = float(m200[[light, light + 1]].mean())
    gap = Box(tiny_config(min_halo_mass=limit), box.index, matter)
    assert light not in gap.chosen and light + 1 in gap.chosen
    beyond = len(m200) + 5
    draw = box.draw(box.plan.draws[0], "gap")
    for halo in (light, beyond, -1):
        for call in (
            lambda h: gap.conditions(0, np.array([h])),
            lambda h: gap.targets(draw, 0, [h]),
            lambda h: universe.draw_conditional(gap, h, gap.plan.draws[0], 1, seed=0),
        ):
            with pytest.raises(
                DataError, match=rf"box 2 has no cutout of halo {halo}: its \d+ halo"
            ):
                call(halo)
    with pytest.raises(DataError, match=rf"are (0 to )?{light - 1}, {light + 1}"):
        gap.check_chosen([light])
    assert np.array_equal(gap.conditions(0, gap.chosen), box.conditions(0, gap.chosen))


def test_boxes_of_foreign_files_are_refused(path: Path, test_rows: Cutouts, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.h5"
    geometry = replace(test_rows.geometry, provenance={})
    write_cutouts(foreign, replace(test_rows, geometry=geometry))
    with pytest.raises(DataError, match=r"foreign\.h5: its attribute 'universe'"):
        universe.open_box(foreign, 0)
    provenance = {**test_rows.geometry.provenance, "universe_fingerprint": "0123456789abcdef"}
    older = replace(test_rows, geometry=replace(test_rows.geometry, provenance=provenance))
    write_cutouts(foreign, older)
    with pytest.raises(DataError, match=r"is 0123456789abcdef, expected .* another physics"):
        universe.open_box(foreign, 0)
    with pytest.raises(DataError, match="no box 7: the universe has boxes 0 to 2"):
        universe.open_box(path, 7)


OPTIONS = OracleOptions(n_haloes=5, n_draws=3, n_parameters=2)


@pytest.fixture(scope="module")
def oracle(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oracle") / "oracle.h5"
    return simulate_oracle(config, path, OPTIONS, workers=1)


def test_the_file_has_the_layout_of_cutouts(
    oracle: Path, config: UniverseConfig, test_rows: Cutouts
) -> None:
    rows = read_cutouts(oracle, "test", None)
    assert len(rows) == 15 and set(rows.box) == {2} and set(rows.split) == {2}
    assert rows.realization.tolist() == [0, 1, 2] * 5
    assert len(set(rows.draw)) == 2
    first = rows.in_split("test", 0)
    keys = list(zip(first.halo, first.axis, first.draw, strict=True))
    assert len(set(keys)) == 5
    there_keys = zip(test_rows.halo, test_rows.axis, test_rows.draw, strict=True)
    by_key = {key: i for i, key in enumerate(there_keys)}
    assert test_rows.target is not None and rows.target is not None
    for i, key in enumerate(keys):
        there = by_key[key]
        assert np.array_equal(first.condition[i], test_rows.condition[there])
        assert np.array_equal(first.parameters[i], test_rows.parameters[there])
        # the draws are independent of those of the universe, and of each other
        fields = [*rows.target[3 * i : 3 * i + 3], test_rows.target[there]]
        assert len({float(f[1].sum()) for f in fields}) == 4
    assert universe_of(oracle) == config
    assert read_geometry(oracle).provenance["fingerprint"] != config.fingerprint()


def test_any_number_of_workers_writes_the_same_bytes(
    oracle: Path, config: UniverseConfig, tmp_path: Path
) -> None:
    again = simulate_oracle(config, tmp_path / "oracle.h5", OPTIONS, workers=2)
    assert again.read_bytes() == oracle.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["oracle.h5"]
    with pytest.raises(DataError, match="another configuration"):
        simulate_oracle(config, again, OracleOptions(n_haloes=6, n_draws=3))


def test_boxes_of_another_split(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(n_train_boxes=3)
    options = OracleOptions(n_haloes=4, n_draws=2, n_parameters=1, split="train", n_boxes=2)
    rows = read_cutouts(simulate_oracle(config, tmp_path / "train.h5", options, workers=1))
    assert rows.box.tolist() == [0] * 4 + [2] * 4 and set(rows.split) == {0}
    with pytest.raises(ConfigError, match=r"n_boxes is 4, but the universe has 3 train box"):
        simulate_oracle(config, tmp_path / "a.h5", replace(options, n_boxes=4))
    with pytest.raises(ConfigError, match=r"split 'tset' is unknown, expected one of train, val"):
        OracleOptions(split="tset")
    with pytest.raises(ConfigError, match="n_boxes must be at least 1, found 0"):
        OracleOptions(n_boxes=0)


def test_files_of_the_test_split_are_those_of_versions_before() -> None:
    """Their fingerprints hold the options: a choice that came later must not change them."""
    assert OracleOptions().as_dict() == {"n_haloes": 64, "n_draws": 64, "n_parameters": 4}
    assert OracleOptions(split="train", n_boxes=2).as_dict() == {
        "n_haloes": 64, "n_draws": 64, "n_parameters": 4, "split": "train", "n_boxes": 2
    }  # fmt: skip


def test_impossible_oracles_are_refused(tiny_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="n_haloes must be at least 1, found 0"):
        OracleOptions(n_haloes=0)
    with pytest.raises(ConfigError, match="no test box"):
        simulate_oracle(tiny_config(n_test_boxes=0), tmp_path / "a.h5")
    options = OracleOptions(n_haloes=1000, n_draws=1, n_parameters=1)
    with pytest.raises(DataError, match=r"1000 cutouts of it are wanted.*lower n_haloes"):
        simulate_oracle(tiny_config(), tmp_path / "a.h5", options, workers=1)


def _log_gas_inside(matter: Matter, constants: BaryonConfig, n: int) -> np.ndarray:
    """ln of the gas mass within R200c of the heaviest halo, in n draws of little other scatter."""
    model = BaryonModel(matter, constants)
    near = matter.neighbourhoods[0]
    masses = []
    for r in range(n):
        draw = model.draw(Astrophysics(12.8, 4.0, 0.06, 0.3), 0, "agn", r)
        offset = draw.gas_positions[near.index] - matter.haloes.position[0]
        offset -= matter.boxsize * np.round(offset / matter.boxsize)
        inside = np.linalg.norm(offset, axis=1) < matter.haloes.r200[0]
        masses.append(draw.gas_masses[near.index][inside].sum())
    return np.log(masses)


def test_an_active_nucleus_makes_two_modes(matter: Matter) -> None:
    n = 60
    off = _log_gas_inside(matter, BaryonConfig(), n)
    on = _log_gas_inside(matter, BaryonConfig(agn_fraction=0.4), n)
    always = _log_gas_inside(matter, BaryonConfig(agn_fraction=1.0), n)
    # the same latents but for the nucleus: each draw equals one of the two pure cases
    quiet, active = np.isclose(on, off, atol=0.02), np.isclose(on, always, atol=0.02)
    assert (quiet ^ active).all()
    assert active.mean() == pytest.approx(0.4, abs=0.2)
    # and the modes lie apart (Ashman's D > 2 is a clean separation)
    width = np.sqrt(0.5 * (on[quiet].var() + on[active].var()))
    assert (on[quiet].mean() - on[active].mean()) / width > 3
