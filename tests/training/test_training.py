"""A run of seconds: phases, resuming bit by bit, refusals, the model that is kept."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
from multiprocessing import SimpleQueue

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts, merge
from training_runs import (
    abort_when_the_interpreter_goes_down,
    assert_equal_weights,
    train_until_ctrl_c,
)

from halo_cm.data.cutouts import write_cutouts
from halo_cm.data.dataset import batch_rows
from halo_cm.errors import (
    CheckpointError,
    ConfigError,
    HaloCMError,
    OutputError,
    TrainingError,
)
from halo_cm.manager import ModelManager
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.seeding import derive_seed
from halo_cm.training import launch, loop
from halo_cm.training import state as training_state
from halo_cm.training.checkpoint import read_tensors
from halo_cm.training.ema import ema_decay
from halo_cm.training.run import _processes, train
from halo_cm.training.run_folder import RunFolder
from halo_cm.training.schedule import learning_rate
from halo_cm.training.validation import ValidationScore


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A complete run; its folder must not be changed."""
    return train(make_config(data, tmp_path_factory.mktemp("runs")))


def records(folder):
    return [json.loads(line) for line in folder.log.read_text().splitlines()]


def test_a_run_leaves_model_phases_and_log(finished):
    assert finished.finished and finished.model.is_file() and not finished.state.exists()
    names = sorted(p.name for p in (finished.path / "phases").glob("*.safetensors"))
    assert names == [
        "01-denoising.safetensors", "02-ect.safetensors", "03-energy_score.safetensors"
    ]  # fmt: skip
    lines = records(finished)
    assert [r["phase"] for r in lines if "loss" in r and r["step"] == 0] == [
        "denoising", "ect", "energy_score"
    ]  # fmt: skip
    assert all(np.isfinite(r["loss"]) for r in lines if "loss" in r)


def test_the_model_is_one_of_those_that_compete(finished):
    scores = [r for r in records(finished) if "validation" in r]
    assert {r["phase"] for r in scores} == {"ect", "energy_score"}  # not the denoiser's
    kept = json.loads(finished.model.with_suffix(".json").read_text())["training"]
    names = ("phase", "phase_index", "step", "global_step", "validation")
    assert {name: kept[name] for name in names} in [{n: r[n] for n in names} for r in scores]
    last = [r for r in scores if r["kept"]][-1]
    assert {name: last[name] for name in names} == {name: kept[name] for name in names}


class Script:
    """Scores as written down; each resample has the score and a noise that all share or not."""

    def __init__(self, scores, power=1):
        self.power = power  # its share of the score
        self.left, self.noise = list(scores), np.random.default_rng(0).normal(0, 0.01, (9, 50))

    def score(self, *args):
        score = self.left.pop(0)
        return ValidationScore(
            score,
            power=self.power * score,
            crps=0,
            mass=0,
            resamples=tuple(score + self.noise[len(self.left)]),
        )


#: Errors are 0.01, those of differences 0.014: 0.12 is as good as the best, 0.14 only as good as
#: 0.12, and is refused.
SCORES = (0.10, 0.12, 0.14)


def scripted(monkeypatch, data, output, power=1):
    script = Script(SCORES, power)
    monkeypatch.setattr(loop.Trainer, "_make_validator", lambda self: script)
    phases = [{"objective": {"name": "ect"}, "steps": 6, "validate_every": 2}]
    training = {"phases": phases, "checkpoint_every": 2}
    return script, make_config(data, output, training=training)


def step_of(folder):
    return json.loads(folder.model.with_suffix(".json").read_text())["training"]["step"]


def test_the_best_stays_the_measure_of_what_is_kept(data, tmp_path, monkeypatch):
    script, config = scripted(monkeypatch, data, tmp_path)
    assert step_of(train(config)) == 3 and script.left == []


# a score of an earlier version, which is more than its parts, is no measure of those that follow
@pytest.mark.parametrize(("power", "kept"), [(1, 3), (0.5, 5)])
def test_the_best_is_remembered_where_a_run_is_continued(data, tmp_path, monkeypatch, power, kept):
    script, config = scripted(monkeypatch, data, tmp_path, power)
    save = loop.Trainer._save_state

    def interrupted(self, index, step, phase=None):
        save(self, index, step, phase)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_save_state", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert len(script.left) == 1
    assert step_of(train(config, resume=True)) == kept and script.left == []


def test_training_moves_the_weights_and_the_samples(finished, data):
    denoiser = ModelManager.load(finished.phase_model(0, "denoising"))
    model = ModelManager.load(finished.model)
    assert (denoiser.sampler.name, model.sampler.name) == ("heun", "consistency")
    assert (denoiser.denoiser.boundary, model.denoiser.boundary) == (0.0, 0.002)
    pairs = zip(denoiser.parameters(), model.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_the_same_command_gives_the_same_weights(finished, data, tmp_path):
    again = train(make_config(data, tmp_path))
    assert_equal_weights(again.model, finished.model)


@pytest.mark.parametrize("stop", [(0, 7), (1, 3), (2, 4)])
def test_an_interrupted_run_continues_exactly(finished, data, tmp_path, monkeypatch, stop):
    config = make_config(data, tmp_path)
    train_until_ctrl_c(config, monkeypatch, stop)
    with pytest.raises(CheckpointError, match="unfinished run: continue it with --resume"):
        train(config)
    folder = train(config, resume=True)
    assert_equal_weights(folder.model, finished.model)
    for key in ("loss", "validation", "kept"):
        ours, theirs = (
            [(r["phase_index"], r["step"], r[key]) for r in records(f) if key in r]
            for f in (folder, finished)
        )
        assert ours == theirs


def with_all_copies(data, output):
    """A config whose phases need all that a state can hold: a target, a teacher, a way back."""
    phases = [
        {"objective": {"name": "denoising"}, "steps": 6},
        {"objective": {"name": "regression"}, "steps": 6, "reference": True},
        {"objective": {"name": "cd"}, "steps": 6},
    ]
    return make_config(data, output, training={"phases": phases})


@pytest.mark.parametrize("stop", [(1, 3), (2, 2)])
def test_targets_teachers_and_references_are_continued_exactly(data, tmp_path, monkeypatch, stop):
    whole = train(with_all_copies(data, tmp_path / "whole"))
    config = with_all_copies(data, tmp_path / "parts")
    train_until_ctrl_c(config, monkeypatch, stop)
    folder = train(config, resume=True)
    for index, name in enumerate(("denoising", "regression", "cd")):
        assert_equal_weights(folder.phase_model(index, name), whole.phase_model(index, name))
    assert_equal_weights(folder.model, whole.model)


def test_a_reference_changes_nothing_for_the_phases_after_it(data, tmp_path):
    """But for the numbers of the phases, which name their random streams."""
    config = with_all_copies(data, tmp_path)
    folder = train(config)
    assert {r["phase"] for r in records(folder) if "validation" in r} == {"cd"}
    started = {}

    def remember(self, phase, start):
        weights = self.network.state_dict()
        started[phase.index] = {k: v.clone() for k, v in weights.items()}
        return original(self, phase, start)

    original = loop.Trainer._run_phase
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_run_phase", remember)
        train(with_all_copies(data, tmp_path / "again"))
    assert all(torch.equal(started[1][k], started[2][k]) for k in started[1])


def test_a_reference_cannot_be_the_last_phase(data, tmp_path):
    phases = [{"objective": {"name": "denoising"}, "steps": 6, "reference": True}]
    with pytest.raises(ValueError, match=r"phases.0.reference = true.*put references before it"):
        make_config(data, tmp_path, training={"phases": phases})


def test_ctrl_c_in_the_last_validation_ends_the_command(data, tmp_path, monkeypatch):
    config = make_config(data, tmp_path)
    end = loop.Trainer._end

    def interrupted(self, phase):
        end(self, phase)
        if phase.index == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.Trainer, "_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert RunFolder(config).finished


def test_a_full_disk_while_the_state_is_saved_keeps_the_state_before(
    finished, data, tmp_path, monkeypatch
):
    config = make_config(data, tmp_path)
    save, calls = training_state.save, []

    def full(*arguments):
        calls.append(1)
        if len(calls) == 2:
            monkeypatch.setattr(
                "halo_cm.training.checkpoint.save", lambda *_, **__: b"x" * 10_000_000
            )
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
            try:
                save(*arguments)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_state, "save", full)
        with pytest.raises(OutputError, match=r"cannot write .*state\.safetensors.*ulimit"):
            train(config)
    monkeypatch.undo()
    assert training_state.load(RunFolder(config).state).position.step == 5
    assert_equal_weights(train(config, resume=True).model, finished.model)


def test_a_killed_run_continues_from_its_last_checkpoint(finished, data, tmp_path, monkeypatch):
    """As after SIGKILL or a power cut: nothing is saved at the end, the log runs ahead."""
    config = make_config(data, tmp_path)
    original = loop.Trainer._step

    def dying(self, phase, step, task):
        if (phase.index, step) == (1, 7):
            raise MemoryError
        original(self, phase, step, task)

    monkeypatch.setattr(loop.Trainer, "_step", dying)
    with pytest.raises(MemoryError):
        train(config)
    monkeypatch.setattr(loop.Trainer, "_step", original)
    assert_equal_weights(train(config, resume=True).model, finished.model)


def test_a_cut_off_line_of_the_log_is_dropped_on_resuming(data, tmp_path, monkeypatch):
    """What a kill or a full disk leaves of the line that was being written."""
    config = make_config(data, tmp_path)
    train_until_ctrl_c(config, monkeypatch, (0, 7))
    log = tmp_path / "tiny" / "log.jsonl"
    log.write_text(log.read_text() + '{"time": 1, "phase": "den')
    assert all("loss" in r or "validation" in r for r in records(train(config, resume=True)))


def test_two_trainings_in_one_folder_are_refused(data, tmp_path):
    config = make_config(data, tmp_path)
    with RunFolder(config).lock(), pytest.raises(OutputError, match="another process is training"):
        train(config)


def test_other_data_under_the_same_name_are_noticed(data, tmp_path):
    path = tmp_path / "haloes.h5"
    path.write_bytes(data.read_bytes())
    train(make_config(path, tmp_path))
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s + 9, split=s) for s in range(3))))
    with pytest.raises(CheckpointError, match=r"data.fingerprint: \w+.* there, \w+.* now"):
        train(make_config(path, tmp_path))


def test_moved_data_are_the_same(data, tmp_path, caplog):
    there, here = tmp_path / "there.h5", tmp_path / "here.h5"
    there.write_bytes(data.read_bytes())
    train(make_config(there, tmp_path))
    there.rename(here)
    # versions before wrote down the place of the data, and not all settings
    facts = tmp_path / "tiny" / "run.json"
    content = json.loads(facts.read_text())
    assert "path" not in content["config"]["data"]
    content["config"]["data"]["path"] = str(there)
    assert content["config"]["network"].pop("backbone") == "unet"
    for setting in ("head_blocks", "noise_blocks", "condition_rings", "latent_channels"):
        assert content["config"]["network"].pop(setting) == 0
    assert content["config"]["training"].pop("compile") is False
    facts.write_text(json.dumps(content))
    with caplog.at_level("INFO", logger="halo_cm"):
        train(make_config(here, tmp_path))
    assert "reusing the trained model" in caplog.text


def test_a_folder_in_which_nothing_was_trained_is_free(data, tmp_path):
    """As after NaN in the data, which were mended since."""
    RunFolder(make_config(data, tmp_path)).open(resume=False)
    other = make_config(data, tmp_path, seed=5)
    assert train(other).finished


def test_a_foreign_launcher_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE = 4.*training.processes"):
        train(make_config(data, tmp_path))


def test_auto_continues_with_the_processes_of_the_run(data, tmp_path, monkeypatch):
    config = make_config(data, tmp_path, training={"processes": "auto"})
    position = training_state.Position(0, 3, 3, None, 4, ())
    folder = RunFolder(config)
    training_state.save(folder.state, position, {}, torch.optim.AdamW([torch.zeros(1)]))
    assert _processes(config, folder, resume=True) == 4
    assert _processes(config, folder, resume=False) <= (os.cpu_count() or 1)


def test_a_finished_run_is_reused(finished, data, caplog):
    before = finished.model.stat().st_mtime_ns
    with caplog.at_level("INFO", logger="halo_cm"):
        train(make_config(data, finished.path.parent))
    assert finished.model.stat().st_mtime_ns == before
    assert "reusing the trained model" in caplog.text


def test_another_config_in_the_same_folder_is_refused_with_the_difference(finished, data):
    config = make_config(data, finished.path.parent, training={"batch_size": 4})
    with pytest.raises(CheckpointError, match=r"training.batch_size: 8 there, 4 now"):
        train(config, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    data, tmp_path, monkeypatch
):
    original = EasyConsistencyTuning.loss

    def broken(self, step, batch):
        return original(self, step, batch) * (float("nan") if step.progress > 0.7 else 1.0)

    monkeypatch.setattr(EasyConsistencyTuning, "loss", broken)
    config = make_config(data, tmp_path)
    with pytest.raises(
        TrainingError, match=r"phase ect.*step 6; cutouts of the batch: row \d+ \(box 0 halo \d+ "
    ):
        train(config)
    facts, tensors = read_tensors(tmp_path / "tiny" / "state.safetensors", "training state")
    assert (facts["phase_index"], facts["step"]) == (1, 5)
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_the_error_names_the_cutouts_of_the_whole_batch_and_another_try_continues(
    finished, data, tmp_path, monkeypatch
):
    """The gradient of a finite loss can be infinite too; the last good state is a whole one."""
    original = EasyConsistencyTuning.loss

    def broken(self, step, batch):
        loss = original(self, step, batch)
        return loss + 0 * (loss - loss.detach()).sqrt() if step.progress > 0.7 else loss

    config = make_config(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(EasyConsistencyTuning, "loss", broken)
        with pytest.raises(TrainingError, match=r"or its gradient is not finite at step 6") as told:
            train(config)
    named = [int(row) for row in re.findall(r"row (\d+) \(box 0 halo \1 ", str(told.value))]
    rows, _ = batch_rows(derive_seed(0, "batches", 1), 24, 6, 8)
    assert named == rows.tolist()
    assert_equal_weights(train(config, resume=True).model, finished.model)


def test_an_unfinished_run_is_not_continued_with_another_config(data, tmp_path, monkeypatch):
    train_until_ctrl_c(make_config(data, tmp_path), monkeypatch, (0, 7))
    state = (tmp_path / "tiny" / "state.safetensors").read_bytes()
    changes = {"training": {"gradient_clip": 2.0}, "seed": 3}
    with pytest.raises(CheckpointError) as told:
        train(make_config(data, tmp_path, **changes), resume=True)
    assert "seed: 0 there, 3 now" in str(told.value)
    assert "training.gradient_clip: 1.0 there, 2.0 now" in str(told.value)
    assert (tmp_path / "tiny" / "state.safetensors").read_bytes() == state


def test_two_processes_train_together(data, tmp_path):
    config = make_config(data, tmp_path, training={"processes": 2})
    folder = train(config)
    assert folder.finished
    facts, tensors = read_tensors(folder.model, "emulator")
    assert facts["sampler"] == "consistency"
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


def test_an_error_in_a_process_reaches_the_caller(data, tmp_path):
    config = make_config(tmp_path / "absent.h5", tmp_path, training={"processes": 2})
    with pytest.raises(Exception, match=r"absent\.h5"):
        train(config)


@pytest.mark.parametrize(
    ("name", "kind"), [("DataError", "DataError"), ("StrangeError", "HaloCMError")]
)
def test_errors_of_processes_keep_their_class_where_it_is_known(name, kind):
    reports = SimpleQueue()
    reports.put((name, "row 2 is bad"))
    with pytest.raises(HaloCMError, match="row 2 is bad") as caught:
        launch._raise_reported([], reports)
    assert type(caught.value).__name__ == kind
    assert (name in str(caught.value)) == (kind != name)


def test_learning_rate_rises_stays_and_falls():
    phase = make_config().training.phases[0]
    rates = [learning_rate(phase, 10, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(phase.learning_rate / 10)
    assert rates[20] == rates[50] == phase.learning_rate
    assert rates[80] == pytest.approx(phase.learning_rate / 2) and rates[99] < rates[80] / 10


def test_ema_half_life():
    """A contribution has halved after half_life steps, once the start is forgotten."""
    assert ema_decay(10_000, 50.0) ** 50 == pytest.approx(0.5)
    assert ema_decay(0, 50.0) == pytest.approx(0.1)


def test_a_rank_that_has_done_its_work_cannot_fail_any_more():
    launch.launch(abort_when_the_interpreter_goes_down, (), processes=2)
