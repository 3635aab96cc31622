"""The whole chain: one file whatever the workers, resumed after any interruption."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halo_cm import processes
from halo_cm.atomic import lock
from halo_cm.config.universe import PARAMETER_NAMES, UniverseConfig
from halo_cm.containers import SPLITS, Cutouts
from halo_cm.data.cutouts import read_cutouts, read_geometry, write_cutouts
from halo_cm.errors import DataError, HaloCMError, OutputError
from halo_cm.universe.box import Box
from halo_cm.universe.design import plan_box
from halo_cm.universe.simulate import simulate

Make = Callable[..., UniverseConfig]


@pytest.fixture(scope="module")
def config(tiny_config: Make) -> UniverseConfig:
    return tiny_config()


@pytest.fixture(scope="module")
def path(config: UniverseConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A universe simulated by one worker, with the boxes kept."""
    return simulate(
        config, tmp_path_factory.mktemp("one") / "haloes.h5", workers=1, keep_boxes=True
    )


@pytest.fixture(scope="module")
def cutouts(path: Path) -> Cutouts:
    return read_cutouts(path, realization=None)


def _same(first: Cutouts, second: Cutouts) -> bool:
    names = Cutouts.row_names()
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def _boxes(path: Path) -> list[Path]:
    return sorted(path.with_name(f"{path.stem}.boxes").glob("box_*.h5"))


def test_rows_and_labels(config: UniverseConfig, cutouts: Cutouts) -> None:
    assert sorted(set(cutouts.box)) == [0, 1, 2]
    assert [SPLITS[s] for s in sorted(set(cutouts.split))] == list(SPLITS)
    assert np.array_equal(cutouts.split, cutouts.box)
    assert cutouts.geometry.parameter_names == PARAMETER_NAMES
    assert cutouts.halo_mass.min() >= config.min_halo_mass
    assert np.allclose(cutouts.parameters[:, 6], np.log10(cutouts.halo_mass), atol=1e-5)
    for box in range(config.n_boxes):
        plan = plan_box(config, box)
        for draw, parameters in enumerate(plan.draws):
            rows = cutouts.select((cutouts.box == box) & (cutouts.draw == draw))
            assert len(rows)
            expected = [plan.cosmology.omega_m, plan.cosmology.sigma_8, parameters.log10_mc]
            assert np.allclose(rows.parameters[:, :3], expected, rtol=1e-6)
            n_haloes = len(set(rows.halo))
            assert len(rows) == n_haloes * 3 * config.n_realizations(box)


def test_test_rows_come_in_pairs(cutouts: Cutouts) -> None:
    first, second = (cutouts.in_split("test", r) for r in (0, 1))
    assert len(first) == len(second) > 0
    for name in ("condition", "parameters", "halo", "axis", "draw", "box"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert not np.array_equal(first.target, second.target)
    assert cutouts.in_split("train", None).realization.max() == 0


def test_mass_of_cutouts(cutouts: Cutouts) -> None:
    assert cutouts.target is not None
    total = cutouts.target.sum((1, 2, 3))
    assert (total / cutouts.condition[:, 0].sum((1, 2))).mean() == pytest.approx(1, abs=0.01)
    # the widest map holds the whole box, in units of mass per fine pixel
    widest = cutouts.condition[:, 3].sum((1, 2), dtype=float) * 4**3
    box_mass = cutouts.parameters[:, 0] * 2.77536627e11 * 50.0**3
    assert np.allclose(widest, box_mass, rtol=1e-4)
    # the halo lies in the middle four pixels
    middle = cutouts.condition[:, 0, 3:5, 3:5].mean((1, 2))
    assert np.median(middle / cutouts.condition[:, 0].mean((1, 2))) > 2


def test_workers_do_not_change_a_byte(
    config: UniverseConfig, path: Path, cutouts: Cutouts, tmp_path: Path
) -> None:
    other = simulate(config, tmp_path / "two.h5", workers=2)
    assert _same(read_cutouts(other, realization=None), cutouts)
    assert read_geometry(other) == cutouts.geometry
    assert other.read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["two.h5"]


def test_finished_file_is_reused(
    config: UniverseConfig, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = path.stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert simulate(config, path) == path
    assert path.stat().st_mtime_ns == before
    assert "exists with this configuration: reused" in caplog.text


def test_other_configuration_is_refused(tiny_config: Make, path: Path) -> None:
    with pytest.raises(
        DataError, match=r"another configuration:\s+universe.seed: 0 there, 5 now\s.*--overwrite"
    ):
        simulate(tiny_config(seed=5), path)


def test_some_rows_of_the_file_are_not_taken_for_it(
    config: UniverseConfig, cutouts: Cutouts, tmp_path: Path
) -> None:
    write_cutouts(tmp_path / "some.h5", cutouts.select(slice(0, 2)))
    with pytest.raises(DataError, match=r"some\.h5 was made with another configuration"):
        simulate(config, tmp_path / "some.h5")
    assert len(read_cutouts(tmp_path / "some.h5")) == 2


def test_other_file_is_replaced_on_demand(
    config: UniverseConfig, path: Path, cutouts: Cutouts, tmp_path: Path
) -> None:
    file, folder = tmp_path / "haloes.h5", tmp_path / "haloes.boxes"
    file.write_text("damaged")
    folder.mkdir()
    for box in _boxes(path):
        os.link(box, folder / box.name)
    simulate(config, file, overwrite=True)
    assert _same(read_cutouts(file, realization=None), cutouts)


def test_a_foreign_file_is_refused(config: UniverseConfig, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.h5"
    file.write_text("not a cutout file")
    with pytest.raises(DataError, match="not a whole HDF5 file"):
        simulate(config, file)
    assert file.read_text() == "not a cutout file"


def test_resumes_with_the_missing_and_broken_boxes(
    config: UniverseConfig,
    path: Path,
    cutouts: Cutouts,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    resumed = tmp_path / "haloes.h5"
    folder = tmp_path / "haloes.boxes"
    folder.mkdir()
    first, second, _ = _boxes(path)
    os.link(first, folder / first.name)
    (folder / second.name).write_bytes(second.read_bytes()[:1000])
    (folder / "box_000_0123456789abcdef.h5").write_bytes(b"of another configuration")
    (folder / ".box_002.h5.1234.tmp").write_bytes(b"left by a killed process")
    with caplog.at_level(logging.INFO):
        simulate(config, resumed, workers=1)
    assert _same(read_cutouts(resumed, realization=None), cutouts)
    assert "1 of 3 box files are finished" in caplog.text
    assert "the box is simulated again" in caplog.text
    assert "1 files of other configurations" in caplog.text
    assert [p.name for p in folder.iterdir()] == ["box_000_0123456789abcdef.h5"]


def test_universe_without_heavy_haloes_says_so(tiny_config: Make, tmp_path: Path) -> None:
    config = tiny_config(min_halo_mass=1e17, n_steps=2)
    with pytest.raises(DataError, match=r"no halo above .*1e\+17.*min_halo_mass"):
        simulate(config, tmp_path / "empty.h5", workers=1)


def test_disk_error_of_a_worker_reaches_the_caller(config: UniverseConfig, tmp_path: Path) -> None:
    (tmp_path / "haloes.boxes").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"cannot write .*haloes\.boxes"):
        simulate(config, tmp_path / "haloes.h5", workers=1)


def test_killed_worker_is_reported(
    config: UniverseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = processes._start

    def start_and_kill(*arguments: Any) -> Any:
        worker = started(*arguments)
        worker.process.kill()
        return worker

    monkeypatch.setattr(processes, "_start", start_and_kill)
    with pytest.raises(HaloCMError, match=r"box 2 was killed by SIGKILL.*fewer workers.*continue"):
        simulate(config, tmp_path / "haloes.h5", workers=1)


_SCRIPT = """
import sys
from halo_cm.config.universe import UniverseConfig
from halo_cm.universe.simulate import simulate

if __name__ == "__main__":
    config = UniverseConfig.model_validate_json(sys.argv[1])
    simulate(config, sys.argv[2], workers=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_run_continues_to_the_same_result(
    blow: signal.Signals, config: UniverseConfig, cutouts: Cutouts, tmp_path: Path
) -> None:
    script, path = tmp_path / "run.py", tmp_path / "haloes.h5"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), config.model_dump_json(), str(path)]
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not _boxes(path):
        assert process.poll() is None
        time.sleep(0.05)
    if blow == signal.SIGINT:  # Ctrl-C reaches the whole group of processes
        os.killpg(process.pid, blow)
    else:
        process.send_signal(blow)
    _, messages = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert messages.count("Traceback") == (blow == signal.SIGINT)
    assert not path.exists()
    finished = {file: file.stat().st_mtime_ns for file in _boxes(path)}
    assert 1 <= len(finished) < config.n_boxes
    simulate(config, path, workers=1, keep_boxes=True)
    assert _same(read_cutouts(path, realization=None), cutouts)
    assert all(file.stat().st_mtime_ns == when for file, when in finished.items())


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_bytes(
    config: UniverseConfig, path: Path, tmp_path: Path
) -> None:
    """SIGKILL to all processes after random times, again and again, until one call gets through."""
    script, killed = tmp_path / "run.py", tmp_path / "haloes.h5"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), config.model_dump_json(), str(killed)]
    rng, n_kills = np.random.default_rng(0), 0
    for patience in np.linspace(2, 20, 40):
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            process.wait(timeout=rng.uniform(0, patience))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            n_kills += 1
        assert not killed.exists() or killed.read_bytes() == path.read_bytes()
    assert n_kills > 2 and process.returncode == 0
    assert killed.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("place", ["the folder of boxes", "the file"])
def test_a_second_process_on_the_same_file_waits_for_nobody(
    place: str, config: UniverseConfig, path: Path, tmp_path: Path
) -> None:
    file = path if place == "the file" else tmp_path / "haloes.h5"
    folder = file.with_name(f"{file.stem}.boxes")
    with lock(folder, "testing"):
        if place == "the file":
            assert simulate(config, file) == file  # finished: nothing to wait for
        else:
            with pytest.raises(OutputError, match=r"another process is making .*haloes\.h5"):
                simulate(config, file)


def test_disk_full_and_unwritable_paths_are_explained(
    config: UniverseConfig, path: Path, tmp_path: Path
) -> None:
    """The real limit of the operating system, in a real worker; the finished boxes stay."""
    folder = tmp_path / "haloes.boxes"
    folder.mkdir()
    first = _boxes(path)[0]
    os.link(first, folder / first.name)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))  # inherited by the workers
    try:
        with pytest.raises(
            OutputError, match=r"cannot write .*box_00\d.*: File too large; .*ulimit"
        ):
            simulate(config, tmp_path / "haloes.h5", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in folder.glob("*.h5")] == [first.name]
    assert not list(folder.glob(".*.tmp")) and not (tmp_path / "haloes.h5").exists()
    simulate(config, tmp_path / "haloes.h5", workers=2)
    assert (tmp_path / "haloes.h5").read_bytes() == path.read_bytes()


def test_cutouts_of_a_box_stand_alone(path: Path, cutouts: Cutouts, tmp_path: Path) -> None:
    """A box's file has the layout of the whole, so any stage can read it."""
    box = read_cutouts(_boxes(path)[0], realization=None)
    assert _same(box, cutouts.select(cutouts.box == 0))
    fingerprints = [g.provenance["fingerprint"] for g in (box.geometry, cutouts.geometry)]
    assert fingerprints[0] == f"{fingerprints[1]}-box-0"
    write_cutouts(tmp_path / "copy.h5", box)
    assert _same(read_cutouts(tmp_path / "copy.h5", realization=None), box)


def test_cutouts_of_128_pixels_hold_the_mass_of_coarser_ones(tiny_config: Make) -> None:
    found = []
    for n_pixels in (64, 128):
        box = Box.simulate(tiny_config(n_pixels=n_pixels), 0)
        haloes = box.chosen[:3]
        draw = box.draw(box.plan.draws[0], "test")
        found.append((box.conditions(0, haloes), box.targets(draw, 0, haloes)))
    (coarse_condition, coarse), (fine_condition, fine) = found
    assert fine.shape == (3, 3, 128, 128) and fine_condition.shape[2:] == (128, 128)
    # centres are borders of cells, of which there are twice as many
    np.testing.assert_allclose(fine.sum((2, 3)), coarse.sum((2, 3)), rtol=0.05)
    folded = fine_condition[:, 0].reshape(3, 64, 2, 64, 2).sum((2, 4))
    np.testing.assert_allclose(folded.sum((1, 2)), coarse_condition[:, 0].sum((1, 2)), rtol=0.02)
