"""Whole boxes on disk: the particles of the box, readable as CAMELS is, resumed, never mixed."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from halo_cm.atomic import LOCK_NAME, lock
from halo_cm.config.universe import PARAMETER_NAMES, UniverseConfig
from halo_cm.data.cutouts import read_cutouts
from halo_cm.errors import ConfigError, DataError, OutputError
from halo_cm.universe import gadget
from halo_cm.universe.baryons import HydroDraw
from halo_cm.universe.box import Box, simulate_box
from halo_cm.universe.design import plan_box
from halo_cm.universe.haloes import overdensity_radius
from halo_cm.universe.maps import projected_axes, sum_blocks, target_maps
from halo_cm.universe.particle_mesh import deposit
from halo_cm.universe.snapshots import parameter_table, simulations, write_snapshots

Make = Callable[..., UniverseConfig]
Arrays = dict[str, Any]

HYDRO, DMO = "halo_cm/L50n32/LH/LH_0", "halo_cm_DM/L50n32/LH/LH_0"
TABLE = "halo_cm/L50n32/LH/CosmoAstroSeed_halo_cm_L50n32_LH.txt"
SNAPSHOT, GROUPS = "snap_090.hdf5", "groups_090.hdf5"


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config()


@pytest.fixture(scope="module")
def folder(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots of all boxes, written by one worker; tests must not change them."""
    return write_snapshots(config, tmp_path_factory.mktemp("one") / "snapshots", workers=1)


@pytest.fixture(scope="module")
def box(config: UniverseConfig) -> Box:
    return Box.simulate(config, 0)


@pytest.fixture(scope="module")
def draw(box: Box) -> HydroDraw:
    return box.draw(box.plan.draws[0], *box.plan.words(0, 0))


def read(path: Path) -> tuple[Arrays, Arrays]:
    """Header, and datasets by path."""
    datasets: Arrays = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item[:]

    with h5py.File(path) as file:
        header = dict(file["Header"].attrs)
        file.visititems(keep)
    return header, datasets


def masses(path: Path) -> dict[int, float]:
    """Total mass of each type of particles [Msun/h]."""
    header, data = read(path)
    total = {}
    for kind in (0, 1, 4):
        if f"PartType{kind}/Masses" in data:
            total[kind] = data[f"PartType{kind}/Masses"].sum(dtype=float) * 1e10
        elif header["NumPart_Total"][kind]:
            total[kind] = header["NumPart_Total"][kind] * header["MassTable"][kind] * 1e10
    return total


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files(config: UniverseConfig, folder: Path) -> None:
    expected = {TABLE, "README.txt"}
    for run in ("halo_cm", "halo_cm_DM"):
        for index in range(config.n_boxes):
            expected |= {f"{run}/L50n32/LH/LH_{index}/{name}" for name in (SNAPSHOT, GROUPS)}
    assert set(tree(folder)) == expected
    text = (folder / "README.txt").read_text()
    assert "kpc/h" in text and "Missing: velocities" in text and "--snapshots" in text


@pytest.mark.parametrize("run", [HYDRO, DMO])
def test_header(run: str, config: UniverseConfig, folder: Path) -> None:
    header, data = read(folder / run / SNAPSHOT)
    cosmology = plan_box(config, 0).cosmology
    expected = {
        "BoxSize": 50_000.0,
        "Redshift": 0.0,
        "Time": 1.0,
        "HubbleParam": 0.6711,
        "Omega0": cosmology.omega_m,
        "OmegaLambda": 1 - cosmology.omega_m,
        "OmegaBaryon": 0.049,
        "NumFilesPerSnapshot": 1,
        "UnitLength_in_cm": 3.085678e21,
        "UnitMass_in_g": 1.989e43,
        "UnitVelocity_in_cm_per_s": 1e5,
        "halo_cm_fingerprint": config.fingerprint(),
    }
    assert {name: header[name] for name in expected} == expected
    assert UniverseConfig.model_validate_json(header["halo_cm_universe"]) == config
    assert "no velocities" in header["Comment"]
    assert not any("Velocities" in name for name in data)
    counts = [len(data.get(f"PartType{kind}/Coordinates", ())) for kind in range(6)]
    assert counts[1] == 32**3 and bool(counts[0]) == bool(counts[4]) == (run == HYDRO)
    for name in ("NumPart_ThisFile", "NumPart_Total"):
        assert header[name].tolist() == counts
    assert header["NumPart_Total_HighWord"].tolist() == [0] * 6
    assert np.flatnonzero(header["MassTable"]).tolist() == [1] and len(header["MassTable"]) == 6


@pytest.mark.parametrize("run", [HYDRO, DMO])
def test_particles(run: str, folder: Path) -> None:
    header, data = read(folder / run / SNAPSHOT)
    ids = []
    for kind in np.flatnonzero(header["NumPart_Total"]):
        here = {n.split("/")[1]: v for n, v in data.items() if n.startswith(f"PartType{kind}")}
        positions = here["Coordinates"]
        assert positions.dtype == np.float32 and np.isfinite(positions).all()
        assert positions.min() >= 0 and positions.astype(float).max() < header["BoxSize"]
        assert positions.max() > 0.99 * header["BoxSize"]
        assert ("Masses" in here) == (kind != 1)
        if kind != 1:
            assert here["Masses"].shape == (len(positions),) and here["Masses"].min() > 0
        ids.append(here["ParticleIDs"])
    joined = np.concatenate(ids)
    assert joined.dtype == np.uint32 and joined.min() == 1
    assert len(np.unique(joined)) == len(joined) == header["NumPart_Total"].sum()
    if run == HYDRO:
        assert data["PartType4/GFM_StellarFormationTime"].min() > 0


def test_mass_is_conserved(box: Box, draw: HydroDraw, folder: Path) -> None:
    dmo, hydro = masses(folder / DMO / SNAPSHOT), masses(folder / HYDRO / SNAPSHOT)
    assert dmo == {1: pytest.approx(box.matter.total_mass, rel=1e-9)}
    assert sum(hydro.values()) == pytest.approx(dmo[1], rel=1e-6)
    baryons = 0.049 / box.plan.cosmology.omega_m
    assert (hydro[0] + hydro[4]) / dmo[1] == pytest.approx(baryons, rel=1e-6)
    assert hydro[4] == pytest.approx(draw.star_masses.sum(dtype=float), rel=1e-6)


def test_particles_are_those_of_the_box(box: Box, draw: HydroDraw, folder: Path) -> None:
    dmo, hydro = (read(folder / run / SNAPSHOT)[1] for run in (DMO, HYDRO))
    n = box.matter.n_moving
    there = box.matter.positions

    def difference(found: Any, expected: Any) -> float:
        apart = found.astype(float) / 1e3 - expected
        return float(np.abs(apart - 50 * np.round(apart / 50)).max())

    assert difference(dmo["PartType1/Coordinates"], there) < 1e-5
    for kind, moved in ((1, draw.dm_positions), (0, draw.gas_positions)):
        positions = hydro[f"PartType{kind}/Coordinates"]
        assert difference(positions[:n], moved) < 1e-5
        assert difference(positions[n:], there[n:]) < 1e-5
    assert np.allclose(hydro["PartType0/Masses"][:n] * 1e10, draw.gas_masses, rtol=1e-6)
    assert np.allclose(hydro["PartType0/Masses"][n:] * 1e10, draw.field_gas_mass, rtol=1e-6)
    # the same id is the same particle in both runs
    assert np.array_equal(hydro["PartType1/ParticleIDs"], dmo["PartType1/ParticleIDs"])
    assert np.array_equal(hydro["PartType0/ParticleIDs"], dmo["PartType1/ParticleIDs"] + 32**3)


@pytest.mark.parametrize("axis", range(3))
def test_dmo_snapshot_gives_the_condition_map(axis: int, box: Box, folder: Path) -> None:
    header, data = read(folder / DMO / SNAPSHOT)
    positions = torch.from_numpy(data["PartType1/Coordinates"] / np.float32(1e3))
    counts = deposit(positions[:, projected_axes(axis)], box.config.n_map, 50.0).numpy()
    found = sum_blocks(counts * header["MassTable"][1] * 1e10, 16)
    # maps smooth sparse particles by .5 Mpc/h here, in blocks of 6.25 Mpc/h that hardly matters
    expected = sum_blocks(box.projector.dmo[axis], 16)
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-5)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.998
    assert np.std(found / expected) < 0.05


@pytest.mark.parametrize("axis", range(3))
def test_stars_give_the_star_channel(axis: int, box: Box, draw: HydroDraw, folder: Path) -> None:
    config, data = box.config, read(folder / HYDRO / SNAPSHOT)[1]
    plane = torch.from_numpy(data["PartType4/Coordinates"] / np.float32(1e3))
    weights = torch.from_numpy(data["PartType4/Masses"] * np.float32(1e10))
    stars = deposit(plane[:, projected_axes(axis)], config.n_map, 50.0, weights).numpy()
    targets = box.targets(draw, axis, box.chosen)[:, 2]
    assert (targets > 0).any()
    for halo, expected in zip(box.chosen, targets, strict=True):
        centre = box.projector.centre_cell(box.matter.haloes.position[halo], axis)
        found = target_maps(stars[None], centre, config.n_pixels, config.oversampling)[0]
        # float32 kpc/h moves a particle by 1e-5 of a cell
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_catalogue(box: Box, folder: Path) -> None:
    haloes, contents = box.matter.haloes, {}
    for run in (DMO, HYDRO):
        header, data = read(folder / run / GROUPS)
        contents[run] = data = {name.removeprefix("Group/"): v for name, v in data.items()}
        assert header["Ngroups_Total"] == header["Ngroups_ThisFile"] == len(haloes)
        assert (header["BoxSize"], header["Redshift"], header["Time"]) == (50_000.0, 0.0, 1.0)
        assert all(len(values) == len(haloes) for values in data.values())
        assert np.allclose(data["GroupPos"] / 1e3, haloes.position, atol=1e-5)
        assert np.allclose(data["Group_M_Crit200"] * 1e10, haloes.m200)
        assert np.allclose(data["Group_R_Crit200"] / 1e3, haloes.r200)
        assert np.allclose(data["GroupMass"] * 1e10, haloes.m80)
        assert np.array_equal(data["GroupLen"], data["GroupLenType"].sum(1))
    # sharpening keeps the mass inside R80c, but for particles that a neighbour pulls away
    measured = contents[DMO]["GroupMassType"][:, 1]
    assert np.allclose(measured, contents[DMO]["GroupMass"], rtol=0.1)
    assert np.median(measured / contents[DMO]["GroupMass"]) == pytest.approx(1, abs=1e-6)
    kinds = contents[HYDRO]["GroupMassType"]
    assert (kinds[:, [2, 3, 5]] == 0).all() and (kinds[:, [0, 1, 4]] > 0).all()


def test_catalogue_counts_the_particles_of_the_snapshot(folder: Path) -> None:
    _, groups = read(folder / HYDRO / GROUPS)
    header, data = read(folder / HYDRO / SNAPSHOT)
    radius = overdensity_radius(groups["Group/GroupMass"].astype(float) * 1e10, 80.0) * 1e3
    for kind in (0, 1, 4):
        positions = data[f"PartType{kind}/Coordinates"].astype(float)
        for h in range(0, len(radius), 3):
            apart = positions - groups["Group/GroupPos"][h]
            apart -= header["BoxSize"] * np.round(apart / header["BoxSize"])
            inside = np.linalg.norm(apart, axis=1) < radius[h]
            assert abs(inside.sum() - groups["Group/GroupLenType"][h, kind]) <= 1
            if kind != 1:
                mass = data[f"PartType{kind}/Masses"][inside].sum(dtype=float)
                assert groups["Group/GroupMassType"][h, kind] == pytest.approx(mass, rel=0.02)


def test_catalogue_holds_the_haloes_of_the_cutouts(
    config: UniverseConfig, folder: Path, tmp_path: Path
) -> None:
    simulate_box(config, 0, tmp_path / "box.h5")
    cutouts = read_cutouts(tmp_path / "box.h5")
    _, groups = read(folder / HYDRO / GROUPS)
    rows = cutouts.halo
    assert np.allclose(groups["Group/Group_M_Crit200"][rows] * 1e10, cutouts.halo_mass, rtol=1e-6)
    assert np.allclose(groups["Group/Group_R_Crit200"][rows] / 1e3, cutouts.halo_radius, rtol=1e-6)
    assert np.allclose(groups["Group/GroupPos"][rows] / 1e3, cutouts.halo_position, atol=1e-5)


def test_positions_that_round_to_the_boxsize_become_zero(box: Box) -> None:
    positions = np.array([[50.0, 50 - 1e-9, -1e-9], [49.99, -0.01, 100.5]])
    found = gadget._coordinates(box, positions)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 0], pytest.approx([49_990, 49_990, 500])]


def test_workers_do_not_change_the_bytes(
    config: UniverseConfig, folder: Path, tmp_path: Path
) -> None:
    other = write_snapshots(config, tmp_path / "two", workers=2)
    assert tree(other) == tree(folder)


def test_resumes_with_what_is_missing(config: UniverseConfig, folder: Path, tmp_path: Path) -> None:
    resumed = tmp_path / "resumed"
    shutil.copytree(folder, resumed)
    (resumed / HYDRO / GROUPS).unlink()
    (resumed / HYDRO / f".{GROUPS}.1234.tmp").write_bytes(b"left by a killed process")
    (resumed / DMO / f".{SNAPSHOT}.1234.tmp").write_bytes(b"left by a killed process")
    (resumed / ".README.txt.1234.tmp").write_bytes(b"left by a killed process")
    (resumed / TABLE).unlink()
    kept = [p for p in resumed.rglob("*.hdf5") if "LH_0" not in p.parts or "halo_cm_DM" in p.parts]
    before = [path.stat().st_mtime_ns for path in kept]
    write_snapshots(config, resumed, workers=1)
    assert tree(resumed) == tree(folder)
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_finished_folder_is_reused(
    config: UniverseConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halo_cm.universe.snapshots.run_jobs", None)
    assert write_snapshots(config, folder) == folder


def test_chosen_boxes(config: UniverseConfig, folder: Path, tmp_path: Path) -> None:
    some = write_snapshots(config, tmp_path / "some", boxes=[2], workers=1)
    whole = tree(folder)
    expected = {n: v for n, v in whole.items() if "LH_" not in n or "/LH_2/" in n or n == TABLE}
    assert tree(some) == expected
    with pytest.raises(ConfigError, match=r"found \[3\], expected numbers from 0 to 2"):
        write_snapshots(config, tmp_path / "none", boxes=[0, 3])
    assert not (tmp_path / "none").exists()


def test_other_universe_is_refused(tiny_config: Make, config: UniverseConfig, folder: Path) -> None:
    before = tree(folder)
    other = tiny_config(seed=5)
    message = (
        rf"of another universe .*{config.fingerprint()}.*{other.fingerprint()}.*seed 5.*or del"
    )
    with pytest.raises(DataError, match=message):
        write_snapshots(other, folder, boxes=[2])
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"damaged", "not a whole HDF5 file .*delete it"), (None, "another universe .*found none")],
)
def test_foreign_files_are_refused(
    content: bytes | None, message: str, config: UniverseConfig, tmp_path: Path
) -> None:
    path = tmp_path / HYDRO / SNAPSHOT
    path.parent.mkdir(parents=True)
    if content is None:
        with h5py.File(path, "w") as file:
            file.create_group("Header")
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"snap_090\.hdf5.*{message}"):
        write_snapshots(config, tmp_path)


def test_a_readme_of_the_user_stays(
    config: UniverseConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "README.txt").write_text("my notes")
    write_snapshots(config, tmp_path, boxes=[])
    assert (tmp_path / "README.txt").read_text() == "my notes"
    assert "README.txt is not ours and stays" in caplog.text


def test_path_below_a_file(config: UniverseConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"cannot write .*a part of the path is a file"):
        write_snapshots(config, tmp_path / "file" / "snapshots")


def test_error_of_a_worker_reaches_the_caller(config: UniverseConfig, tmp_path: Path) -> None:
    (tmp_path / DMO).parent.mkdir(parents=True)
    (tmp_path / DMO).write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"cannot write .*LH_0.*choose another path"):
        write_snapshots(config, tmp_path, boxes=[0], workers=1)


def test_two_processes_do_not_write_one_box(config: UniverseConfig, tmp_path: Path) -> None:
    with (
        lock(tmp_path / HYDRO, "testing"),
        pytest.raises(OutputError, match="another process is writing box 0"),
    ):
        write_snapshots(config, tmp_path, boxes=[0], workers=1)


def test_full_disk_leaves_no_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    groups = {"Header": {"BoxSize": 1.0}, "PartType1": {"Coordinates": np.zeros((100_000, 3))}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"snap_090\.hdf5: File too large"):
            gadget.write_hdf5(tmp_path / SNAPSHOT, groups)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_parameter_table_is_the_plan(config: UniverseConfig, folder: Path) -> None:
    table = np.genfromtxt(folder / TABLE, names=True, dtype=None, encoding=None)
    assert table.dtype.names == ("Name", *PARAMETER_NAMES[:-1], "seed")
    assert table["Name"].tolist() == ["LH_0", "LH_1", "LH_2"]
    assert table["seed"].tolist() == [0, 1, 2]
    for index, row in enumerate(table):
        plan = plan_box(config, index)
        values = [plan.cosmology.omega_m, plan.cosmology.sigma_8, *astuple(plan.draws[0])]
        assert [row[name] for name in PARAMETER_NAMES[:-1]] == values


def test_names_of_the_set_1p() -> None:
    """p3_n1 is a lower value of the third parameter, all others fiducial, always one seed."""
    config = UniverseConfig.from_preset("1P")
    lines = parameter_table(config).splitlines()
    rows = {line.split()[0]: np.array(line.split()[1:], float) for line in lines[1:]}
    names = [s.name for box in range(config.n_boxes) for s in simulations(config, box)]
    assert list(rows) == names and len(set(names)) == 1 + 6 * 4
    fiducial = rows["1P_p1_0"]
    for which in range(6):
        varied = [rows[f"1P_p{which + 1}_{step}"] for step in ("n2", "n1", "1", "2")]
        column = [varied[0][which], varied[1][which], fiducial[which]]
        column += [varied[2][which], varied[3][which]]
        assert (np.diff(column) > 0).all()
        for row in varied:
            assert np.flatnonzero(row != fiducial).tolist() == [which]


def test_names_of_the_set_cv() -> None:
    config = UniverseConfig.from_preset("CV")
    assert [simulations(config, box)[0].name for box in (0, 26)] == ["CV_0", "CV_26"]
    seeds = [line.split()[-1] for line in parameter_table(config).splitlines()[1:]]
    assert len(set(seeds)) == 27


def test_draws_of_the_set_1p_share_their_twin(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(
        design="1P",
        n_draws=12,  # the default, which is no choice
        n_train_boxes=9,
        n_validation_boxes=0,
        n_test_boxes=0,
        min_displaced_mass=1e13,
    )
    write_snapshots(config, tmp_path, boxes=[0], workers=1)
    names = [simulation.name for simulation in simulations(config, 0)]
    assert len(names) == 17
    twins = [tmp_path / "halo_cm_DM/L50n32/1P" / name / SNAPSHOT for name in names]
    assert len({twin.stat().st_ino for twin in twins}) == 1
    hydro = [tmp_path / "halo_cm/L50n32/1P" / name / SNAPSHOT for name in names]
    assert len({path.read_bytes() for path in hydro}) == 17
    stars = [masses(tmp_path / f"halo_cm/L50n32/1P/1P_p5_{s}" / SNAPSHOT)[4] for s in ("n2", "2")]
    assert stars[1] > 2 * stars[0]  # p5 is A_star


def test_example_of_the_docs(
    repository: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text = (repository / "docs" / "snapshots.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert sum(bool(line) for line in example.splitlines()) <= 6
    monkeypatch.chdir(folder.parent)
    exec(compile(example.replace("L50n128", "L50n32"), "example", "exec"), {})
    heaviest, stars = map(float, capsys.readouterr().out.split())
    assert heaviest > 1e13 and 0 < stars < 1e16


_SCRIPT = """
import sys
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.snapshots import write_snapshots

if __name__ == "__main__":
    write_snapshots(UniverseConfig.model_validate_json(sys.argv[1]), sys.argv[2], workers=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [HYDRO, DMO])
def test_killed_run_continues_to_the_same_bytes(
    wanted: str, config: UniverseConfig, folder: Path, tmp_path: Path
) -> None:
    script, there = tmp_path / "run.py", tmp_path / "killed"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), config.model_dump_json(), str(there)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while not (there / wanted / SNAPSHOT).exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    whole = tree(folder)
    for name, content in tree(there).items():
        if not name.endswith((".tmp", LOCK_NAME)):
            assert content == whole[name]  # what is visible is whole
    write_snapshots(config, there, workers=1)
    assert tree(there) == whole
