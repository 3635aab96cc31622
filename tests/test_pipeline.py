"""The main job on a file of the user's, and what is reused when it is run again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from halo_cm import pipeline
from halo_cm.config.loader import ConfigLoader
from halo_cm.data.cutouts import read_cutouts, read_geometry, write_cutouts
from halo_cm.errors import CheckpointError, ConfigError, DataError
from halo_cm.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def own_run(trained_run, tmp_path_factory):
    """A short run on a file with one draw of each halo, as a real simulation has."""
    folder = tmp_path_factory.mktemp("own")
    write_cutouts(folder / "own.h5", read_cutouts(trained_run.data, realization=0))
    phases = [{"objective": {"name": "energy_score"}, "steps": 4}]
    config = ConfigLoader(trained_run.config, [f'output="{folder}"']).with_data(folder / "own.h5")
    training = config.training.model_validate({**config.training.model_dump(), "phases": phases})
    config = config.model_copy(update={"training": training})
    return config, pipeline.run(config)


def test_a_file_without_second_draws_is_benchmarked_without_that_floor(own_run):
    _, summary = own_run
    assert set(summary.floors) == {"copied input"}  # no second draws, no denoiser
    assert [row.n_sampling_steps for row in summary.rows] == [1, 2, 4]


@pytest.mark.parametrize("change", ["pixels", "parameters"])
def test_cutouts_of_another_kind_are_refused_and_the_report_stays(own_run, tmp_path, change):
    config, _ = own_run
    other = read_cutouts(config.data.path)
    geometry, parameters = other.geometry, other.parameters
    if change == "pixels":
        geometry = replace(geometry, scales=tuple(2 * s for s in geometry.scales))
        message = r"there must be as many maps, each with pixels of the same width"
    else:
        geometry = replace(geometry, parameter_names=geometry.parameter_names[:-1])
        parameters = parameters[:, :-1]
        message = "the model is conditioned on"
    other = replace(other, geometry=geometry, parameters=parameters)
    write_cutouts(tmp_path / "other.h5", other)
    report = (config.run_folder / "report" / "benchmark.json").read_bytes()
    with pytest.raises(DataError, match=message):
        pipeline.benchmark_run(config.with_data(tmp_path / "other.h5"), RunFolder(config))
    assert (config.run_folder / "report" / "benchmark.json").read_bytes() == report


def test_a_whole_report_is_reused_and_a_torn_one_is_not(own_run, caplog):
    config, summary = own_run
    report = config.run_folder / "report"
    with caplog.at_level("INFO", logger="halo_cm"):
        again = pipeline.run(config)
    assert again.as_dict() == summary.as_dict() and "reusing the report" in caplog.text
    (report / "power.png").unlink()
    pipeline.run(config)
    assert (report / "power.png").is_file()
    (report / "benchmark.json").write_text("{")
    pipeline.run(config)
    assert (report / "benchmark.json").stat().st_size > 1000


def test_the_file_is_told_from_the_universe_it_comes_from_and_known_where_it_lies(
    own_run, trained_run, tmp_path, caplog
):
    config, _ = own_run
    provenance, universe = (
        read_geometry(p).provenance for p in (config.data.path, trained_run.data)
    )
    assert "fingerprint" in universe and "fingerprint" not in provenance
    with pytest.raises(CheckpointError, match=r"data\.fingerprint: \w+.* there, \w+.* now"):
        pipeline.run(config.with_data(trained_run.data))
    fewer = read_cutouts(config.data.path)
    write_cutouts(tmp_path / "own.h5", fewer.select(slice(1, len(fewer))))
    with pytest.raises(CheckpointError, match=r"data\.fingerprint: \w+.* there, \w+.* now"):
        pipeline.run(config.with_data(tmp_path / "own.h5"))
    shutil.copy(config.data.path, tmp_path / "moved.h5")
    with caplog.at_level("INFO", logger="halo_cm"):
        pipeline.run(config.with_data(tmp_path / "moved.h5"))
    assert "reusing the trained model" in caplog.text


def test_a_missing_file_without_a_universe(own_run, tmp_path):
    config, _ = own_run
    with pytest.raises(DataError, match=r"absent\.h5 does not exist.*--data"):
        pipeline.run(config.with_data(tmp_path / "absent.h5"))


def test_a_foreign_launcher_is_refused(own_run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="starts its training processes itself"):
        pipeline.run(own_run[0])
