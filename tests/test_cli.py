"""The command line: fast help, clear errors, exit codes, and what it writes."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import time

import h5py
import pytest
import tomli
import xarray as xr
from typer.testing import CliRunner

import halo_cm
from halo_cm import pipeline
from halo_cm.cli import app
from halo_cm.cli_support import ModelOptions
from halo_cm.data.cutouts import open_cutouts
from halo_cm.errors import CheckpointError, OutputError
from halo_cm.pretrained import pretrained_path


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def fails(*arguments):
    """The message of a command that ends with exit code 1, without a traceback."""
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    log, found, message = ("\n" + result.stderr).partition("\nerror: ")
    assert found, log
    return message


def test_a_model_of_the_package_stands_in_for_a_run_and_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    with caplog.at_level(logging.WARNING, logger="halo_cm"):
        assert ModelOptions("vdm", runs).path() == pretrained_path("vdm")
    assert f"no run 'vdm' in {runs}: taking the model that comes with the package" in caplog.text
    for name in ("vdm", "mine"):
        (runs / name).mkdir(parents=True)
        (runs / name / "model.safetensors").touch()
    assert ModelOptions("vdm", runs).path() == runs / "vdm" / "model.safetensors"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ect.toml").touch()
    with pytest.raises(CheckpointError, match="train it with `halo-cm train --model ect`"):
        ModelOptions("ect", runs).path()
    with pytest.raises(CheckpointError, match="did you mean 'denoiser'"):
        ModelOptions("denoizer", runs).path()


@pytest.fixture
def in_run(trained_run, monkeypatch):
    monkeypatch.chdir(trained_run.folder)
    return trained_run


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_help_answers_within_a_second():
    seconds = []
    for _ in range(5):  # the best of five: the machine may be busy
        start = time.perf_counter()
        result = python("-m", "halo_cm", "--help")
        seconds.append(time.perf_counter() - start)
        assert result.returncode == 0
    assert "simulate" in result.stdout
    assert min(seconds) < 1


@pytest.mark.parametrize("statement", ["import halo_cm", "import halo_cm.cli"])
def test_heavy_libraries_stay_out_until_they_are_needed(statement):
    heavy = "{'torch', 'numpy', 'xarray', 'matplotlib', 'scipy', 'h5py', 'pydantic'}"
    check = f"import sys; {statement}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert python("-c", check).returncode == 0


def test_the_configuration_does_not_import_torch():
    check = "import sys, halo_cm.config.schema; sys.exit('torch' in sys.modules)"
    assert python("-c", check).returncode == 0


def test_public_names():
    assert {"ConfigLoader", "ModelManager", "sample", "set_verbosity"} <= set(halo_cm.__all__)
    for name in halo_cm.__all__:
        assert getattr(halo_cm, name) is not None
        assert name in dir(halo_cm)
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        _ = halo_cm.smaple


def test_the_script_has_the_options_of_train(repository):
    result = python(repository / "train_unified.py", "--help", cwd=repository)
    assert result.returncode == 0
    for option in ("--model", "--config", "--data", "--out", "--set", "--seed", "--resume"):
        assert option in result.stdout


def test_version():
    result = invoke("--version")
    assert (result.exit_code, result.output.strip()) == (0, halo_cm.__version__)


def test_unknown_verbosity():
    result = invoke("--verbosity", "loud", "info", "x")
    assert result.exit_code == 2
    assert "silent, warning, summary, debug" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "consistenci"], "unknown model 'consistenci'; did you mean"),
        (["train"], "give --model NAME (consistency) or --config FILE"),
        (["train", "--config", "none.toml"], "none.toml: no such file"),
        (["train", "--model", "consistency", "--set", "seeed=1"], "did you mean 'seed'?"),
        (["train", "--model", "consistency", "--seed", "-1"], "seed = -1, expected a number of"),
        (["train", "--model", "consistency", "--data", "no.h5"], "--data no.h5: no such file"),
        (["simulate", "--preset", "tiny"], "unknown preset 'tiny'; valid here: 1P, CV, ci"),
        (["simulate", "--set", "n_drows=1"], "unknown key 'n_drows'; did you mean 'n_draws'?"),
        (["info"], "give either a PATH or --config FILE"),
        (["info", "none.h5"], "none.h5"),
        (["info", "none.toml"], "none.toml: no such file"),
        (["info", "none.zarr"], "none.zarr: no such store"),
        (["info", "runs"], "runs/model.safetensors"),
        (
            ["generate", "--model", "consistenc", "--data", "x.h5", "--out", "x.zarr"],
            "no trained model 'consistenc' in runs; did you mean 'consistency'?",
        ),
        (
            ["sample", "--model", "a", "--data", "x.h5", "--out", "x.nc", "--runs", "nowhere"],
            "no trained model 'a' in nowhere; valid here: cd, consistency, denoiser, interpolant",
        ),
        (
            ["generate", "--model", "consistency", "--data", "x.h5", "--out", "x.zarr"],
            "x.h5",
        ),
    ],
)
def test_mistakes_get_one_clear_message(in_run, arguments, message):
    assert message in fails(*arguments)


def test_outside_the_repository_the_message_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "go to the folder of the repository, or give --config FILE" in fails(
        "train", "--model", "consistency"
    )


def test_a_truncated_data_file(in_run, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(in_run.data.read_bytes()[:5000])
    assert str(path) in fails("info", path)
    assert str(path) in fails(
        "train", "--config", in_run.config, "--data", path, "--out", tmp_path / "runs"
    )


def test_a_full_disk_ends_with_advice(in_run, monkeypatch):
    def run(config, *, resume):
        raise OutputError("cannot write x: the disk is full: free some space")

    monkeypatch.setattr(pipeline, "run", run)
    assert "free some space" in fails("train", "--model", "consistency")


def test_ctrl_c_says_what_is_kept(in_run, monkeypatch):
    def run(config, *, resume):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", run)
    result = invoke("train", "--model", "consistency")
    assert result.exit_code == 130
    assert "the last checkpoint are kept; the same command with --resume continues" in result.stderr


def test_ctrl_c_while_training_leaves_a_state_to_continue_from(repository, in_run, tmp_path):
    runs = tmp_path / "runs"
    command = [sys.executable, str(repository / "train_unified.py"), "--config", str(in_run.config)]
    command += ["--out", str(runs), "--data", str(in_run.data)]
    command += ["--set", "training.phases.0.steps=100000", "--set", "training.log_every=1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        log = runs / "consistency" / "log.jsonl"
        deadline = time.monotonic() + 90
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert "with --resume continues" in message
    assert (runs / "consistency" / "state.safetensors").is_file()


def test_info_prints_the_resolved_tree(in_run):
    result = invoke("info", "--config", in_run.config, "--set", "training.phases.0.steps=77")
    tree = tomli.loads(result.stdout)
    assert tree["training"]["phases"][0]["steps"] == 77
    assert tree["training"]["phases"][2]["objective"]["q"] == 4.0  # a default of the objective
    assert tree["data"]["universe"]["n_particles"] == 32
    assert invoke("info", in_run.config).stdout == invoke("info", "--config", in_run.config).stdout


def test_info_on_a_run_and_on_data(in_run):
    facts = tomli.loads(invoke("info", "runs/consistency").stdout)
    assert facts == tomli.loads(invoke("info", in_run.model).stdout)
    assert facts["config"]["name"] == "consistency"
    assert facts["sampler"] == "consistency"
    text = invoke("info", in_run.data).stdout
    assert "condition" in text
    assert "boxsize" in text


def test_sample_writes_one_file_that_the_seed_fixes(in_run, tmp_path):
    options = ("--model", "consistency", "--data", in_run.data, "--n-haloes", 3, "--n-samples", 2)
    paths = [tmp_path / name for name in ("a.nc", "b.nc", "c.nc")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        result = invoke("sample", *options, "--out", path, "--seed", seed)
        assert result.exit_code == 0, result.output
    a, b, c = (xr.load_dataset(path, engine="h5netcdf") for path in paths)
    assert dict(a.mass.sizes) == {"halo": 3, "realization": 2, "channel": 3, "y": 16, "x": 16}
    assert a.mass.attrs["units"] == "Msun/h"
    assert (a["split"] == 2).all()  # the test split
    assert a.mass.equals(b.mass)
    assert not a.mass.equals(c.mass)


def test_sample_draws_each_halo_once_as_long_as_there_are_others(in_run, tmp_path):
    with open_cutouts(in_run.data) as file:
        rows = {
            n: file.column(n)[file.column("split") == 2] for n in ("box", "halo", "axis", "draw")
        }
    n_haloes, n_cutouts = (
        len(set(zip(*(rows[n].tolist() for n in names), strict=True)))
        for names in (("box", "halo"), rows)
    )
    assert n_haloes < n_cutouts < len(rows["box"])  # the truth was drawn twice
    options = ("--model", "consistency", "--data", in_run.data, "--n-samples", 1, "--overwrite")
    for n in (n_haloes, n_haloes + 1, 1000):
        result = invoke("sample", *options, "--n-haloes", n, "--out", tmp_path / "a.nc")
        assert result.exit_code == 0, result.output
        haloes = xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf")
        names = ("box", "halo_in_box", "axis", "draw")
        found = list(zip(*(haloes[name].values.tolist() for name in names), strict=True))
        assert len(found) == len(set(found)) == min(n, n_cutouts)
        assert len({ids[:2] for ids in found}) == n_haloes
        assert (haloes.data_realization == 0).all()


def test_sample_checks_that_the_data_fit_the_model(in_run, tmp_path):
    path = tmp_path / "deep.h5"
    shutil.copy(in_run.data, path)
    with h5py.File(path, "r+") as file:
        file.attrs["depth"] = 2 * file.attrs["depth"]
    message = fails("sample", "--model", "consistency", "--data", path, "--out", tmp_path / "a.nc")
    assert "deep.h5: depth is " in message
    assert not (tmp_path / "a.nc").exists()


def test_generate_fills_a_store_that_info_describes(in_run, tmp_path):
    store = tmp_path / "haloes.zarr"
    options = ("--data", in_run.data, "--out", store, "--split", "validation", "--workers", 0)
    for shard in ("0/2", "1/2"):
        result = invoke(
            "generate", "--model", in_run.model, *options, "--shard", shard, "--chunk", 2
        )
        assert result.exit_code == 0, result.output
    with xr.open_zarr(store) as haloes:
        assert haloes.done.all()
    assert "mass" in invoke("info", store).stdout


def test_train_reuses_and_shows_the_table(in_run):
    before = in_run.model.stat().st_mtime_ns
    result = invoke("train", "--model", "consistency")
    assert result.exit_code == 0, result.output
    assert in_run.model.stat().st_mtime_ns == before
    assert "consistency" in result.stdout
    assert "runs/consistency/report" in result.stdout.replace("\n", "")
    assert "reusing" in result.stderr


def test_benchmark_needs_a_trained_model(in_run, tmp_path):
    assert "train one" in fails("benchmark", "--config", in_run.config, "--out", tmp_path)


def test_sample_replaces_nothing_by_itself(in_run, tmp_path):
    arguments = ["sample", "--model", "consistency", "--data", "data/quickstart.h5"]
    arguments += ["--n-haloes", "1", "--n-samples", "1"]
    said = fails(*arguments, "--out", "data/quickstart.h5", "--overwrite")
    assert "is the file of --data, which it would replace" in said
    out = tmp_path / "samples.nc"
    out.write_text("an older file")
    assert "exists: choose another --out, or replace it with --overwrite" in fails(
        *arguments, "--out", str(out)
    )
    assert out.read_text() == "an older file"
    result = CliRunner().invoke(app, [*arguments, "--out", str(out), "--overwrite"])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1000
