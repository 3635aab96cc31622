"""Noise levels of several steps: the family, the choice, and where it is kept."""

from __future__ import annotations

import json
import os
import signal
from itertools import pairwise

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts, make_emulator, merge
from training_runs import assert_equal_weights

from halo_cm.config.sampling import DEFAULT_LEVELS
from halo_cm.data.cutouts import read_cutouts, write_cutouts
from halo_cm.errors import CheckpointError, ConfigError
from halo_cm.manager import ModelManager
from halo_cm.pretrained import shrink
from halo_cm.sampling import sample
from halo_cm.training.checkpoint import read_tensors
from halo_cm.training.levels import (
    CLEAR_GAIN,
    Candidate,
    LevelChoice,
    LevelSearch,
    candidates,
    choose_levels,
    store_levels,
)
from halo_cm.training.run import train
from halo_cm.training.validation import ValidationScore


class Judge:
    """Stands for the validation: the first level should be ``first``, the last one ``last``."""

    def __init__(self, first, last):
        self.wanted, self.seen = np.log([first, last]), []

    def score(self, emulator, n_steps):
        top, *levels = emulator.levels(n_steps).tolist()
        assert top == 80.0 and len(levels) == n_steps - 1
        self.seen.append((n_steps, tuple(levels)))
        error = np.abs(np.log([levels[0], levels[-1]]) - self.wanted).sum()
        return ValidationScore(score=float(error), power=0, crps=0, mass=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


def config_of(data, output, *, objective="ect", sampling=None, **training):
    phases = [{"objective": {"name": "denoising"}, "steps": 4}]
    phases += [{"objective": {"name": objective}, "steps": 4}]
    return make_config(
        data, output, training={"phases": phases, **training}, sampling=sampling or {}
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run whose levels were chosen; its folder must not be changed."""
    return train(config_of(data, tmp_path_factory.mktemp("runs")))


def tried(folder):
    records = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [
        (Candidate(c["n_steps"], tuple(c["levels"])), c["score"])
        for c in (r["candidate"] for r in records if "candidate" in r)
    ]


@pytest.mark.parametrize(("n_steps", "n_others"), [(2, 4), (4, 4), (8, 2)])
def test_the_family_shifts_the_ends_of_the_models_own_levels(n_steps, n_others):
    own, *others = candidates(make_emulator(), n_steps)
    assert own.levels == DEFAULT_LEVELS[n_steps]
    assert len(others) == len({c.levels for c in others}) == n_others
    ends = {(c.levels[0] / own.levels[0], c.levels[-1] / own.levels[-1]) for c in others}
    for ends_now in ends:
        shifts = sorted(abs(np.log2(ends_now)))
        assert shifts[1] == pytest.approx(1, abs=0.02) or shifts == pytest.approx(
            [0.5, 0.5], abs=0.02
        )
        assert n_steps == 2 or shifts[0] == pytest.approx(0, abs=0.02)
    for candidate in others:
        steps = [a / b for a, b in pairwise(candidate.levels)]
        assert all(step == pytest.approx(steps[0], rel=0.02) for step in steps)  # geometric


def test_candidates_stay_between_the_ends_of_the_noise_levels():
    emulator = make_emulator()
    emulator.use_sampling(
        emulator.config.sampling.with_levels({2: (50.0,), 4: (0.01, 0.005, 3e-3)})
    )
    assert max(c.levels[0] for c in candidates(emulator, 2)) == 70.7
    assert {c.levels[-1] for c in candidates(emulator, 4)} == {3e-3, 6e-3}


def test_the_best_of_the_family_is_found_and_the_model_is_unchanged():
    emulator, judge = make_emulator(), Judge(0.6, 0.04)
    before = emulator.config
    search = LevelSearch(emulator, judge, (2, 4, 8))
    choice = LevelChoice({c: search.score(c) for c in search.candidates})
    assert emulator.config is before and emulator.levels(2).tolist() == pytest.approx([80, 0.3])
    assert len(judge.seen) == len(set(judge.seen)) == 13
    assert {n: (ls[0], ls[-1]) for n, ls in choice.levels.items() if n > 2} == {
        4: (0.6, 0.075), 8: (0.6, 0.04)
    }  # fmt: skip
    assert choice.as_dict()["8"]["score"] == pytest.approx(0, abs=1e-6)
    assert choice.as_dict()["8"]["score_before"] == pytest.approx(np.log(2), abs=1e-6)


@pytest.mark.parametrize(("gain", "expected"), [(0.9, (0.3,)), (1.1, (0.6,))])
def test_own_levels_stay_unless_the_gain_is_clear(gain, expected):
    scores = {
        Candidate(2, (0.3,)): 0.1,
        Candidate(2, (0.6,)): 0.1 - gain * CLEAR_GAIN,
        Candidate(2, (0.15,)): 0.2,
    }
    assert LevelChoice(scores).levels == {2: expected}


def test_a_choice_is_stored_without_touching_the_weights(data, tmp_path):
    """Of a file in half precision, as the package ships them."""
    ModelManager.save(make_emulator(), tmp_path / "model.safetensors")
    path = shrink(tmp_path / "model.safetensors", tmp_path / "small.safetensors")
    before = read_tensors(path, "emulator")
    wanted = {2: (0.21,), 4: (0.5, 0.2, 0.1), 8: (0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1)}
    store_levels(path, LevelChoice({Candidate(n, levels): 0.5 for n, levels in wanted.items()}))
    facts, tensors = read_tensors(path, "emulator")
    for name, tensor in before[1].items():
        assert tensor.dtype == tensors[name].dtype and torch.equal(tensor, tensors[name])
    assert facts["trained_with"] == before[0]["trained_with"]
    model = ModelManager.load(path)
    assert model.config.sampling.known_steps(model.config.diffusion) == (1, 2, 4, 8)
    for n, levels in wanted.items():
        assert model.levels(n)[1:].tolist() == pytest.approx(levels)
        assert facts["training"]["levels"][str(n)]["levels"] == list(levels)
    haloes = make_cutouts(n=2, seed=3)
    draws = [sample(model, haloes.condition, 2, n, parameters=haloes.parameters) for n in (1, 8)]
    assert np.isfinite(draws[1]).all() and not np.array_equal(*draws)


def test_levels_are_chosen_for_consistency_models_that_know_the_steps(data):
    cutouts, emulator = read_cutouts(data, "validation"), make_emulator()
    with pytest.raises(ConfigError, match="the model has levels for 2, 4, 8 steps"):
        choose_levels(emulator, cutouts, steps=(2, 3))
    emulator.use_sampler("heun")
    with pytest.raises(ConfigError, match=r"chosen for consistency models.*sampled by heun"):
        choose_levels(emulator, cutouts)


def test_a_training_chooses_levels_for_2_4_and_8_steps(finished, data):
    model, scored = ModelManager.load(finished.model), tried(finished)
    assert sorted({c.n_steps for c, _ in scored}) == [2, 4, 8] and len(scored) == 13
    assert model.config.sampling.levels == LevelChoice(dict(scored)).levels
    assert set(model.config.sampling.levels) == {2, 4, 8}
    # the same search by the function for files, which gives the same scores
    fresh = ModelManager.load(finished.phase_model(1, "ect"))
    again = choose_levels(
        fresh, read_cutouts(data, "validation"), steps=(4,), n_cutouts=6, n_members=2
    )
    kept = json.loads(finished.model.with_suffix(".json").read_text())["training"]
    assert kept["step"] == 3, "the model of the run should be that of the phase's end"
    assert list(again.scores.values()) == [s for c, s in scored if c.n_steps == 4]


def test_the_levels_of_a_model_stay_where_a_config_gives_none(finished, data):
    config = config_of(data, finished.path.parent)
    store = {4: (1.5, 0.5, 0.25)}
    model = ModelManager.load(finished.model)
    model.use_sampling(model.config.sampling.with_levels(store))
    model.use_sampling(config.sampling)
    assert model.levels(4)[1:].tolist() == [1.5, 0.5, 0.25]
    model.use_sampling(config.sampling.with_levels({4: (2.0, 0.5, 0.25)}))
    assert model.levels(4)[1:].tolist() == [2.0, 0.5, 0.25]


def test_levels_of_the_config_are_kept(data, tmp_path):
    folder = train(config_of(data, tmp_path, sampling={"levels": {"4": [1.0, 0.4, 0.2]}}))
    assert sorted({c.n_steps for c, _ in tried(folder)}) == [2, 8]
    assert ModelManager.load(folder.model).config.sampling.levels[4] == (1.0, 0.4, 0.2)


def test_a_training_chooses_no_levels_that_lie_outside_its_noise_levels(data, tmp_path):
    diffusion = {"sigma_min": 0.02}
    config = config_of(data, tmp_path, sampling={"levels": {"4": [1.0, 0.4, 0.2]}})
    whole = config.model_dump(mode="json") | {"diffusion": diffusion}
    folder = train(type(config).model_validate(whole))
    assert {c.n_steps for c, _ in tried(folder)} == {2}
    assert ModelManager.load(folder.model).default_steps == 1


def test_a_run_whose_config_spells_out_default_levels_is_reused(data, tmp_path, caplog):
    config = config_of(data, tmp_path, sampling={"levels": {"2": [0.3]}})
    train(config)
    with caplog.at_level("INFO", logger="halo_cm"):
        train(config)
    assert "reusing the trained model" in caplog.text
    with pytest.raises(CheckpointError, match=r"sampling\.levels\.2: \[0\.3\] there, nothing now"):
        train(config_of(data, tmp_path))  # it searches the levels of 2 steps


@pytest.mark.parametrize("given", [None, {"2": [0.3]}, {"2": [0.5]}])
def test_a_run_of_before_levels_were_chosen_is_the_same(data, tmp_path, given):
    """Those versions wrote the defaults down, and tuned at exactly what they wrote."""
    config = config_of(data, tmp_path, sampling={} if given is None else {"levels": given})
    folder = train(config)
    facts = folder.path / "run.json"
    content = json.loads(facts.read_text())
    sampling = content["config"]["sampling"]
    del sampling["choose_levels"]
    sampling["levels"] = given or {"2": [0.3], "4": [0.6, 0.3, 0.15]}
    facts.write_text(json.dumps(content))
    folder.open(resume=False)
    sampling["levels"] = {"2": [0.4]}
    facts.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"sampling\.levels\.2\.0: 0\.4 there"):
        folder.open(resume=False)


@pytest.mark.parametrize(
    ("objective", "sampling"), [("denoising", {}), ("ect", {"choose_levels": False})]
)
def test_nothing_is_chosen_for_other_models_or_if_not_wanted(data, tmp_path, objective, sampling):
    folder = train(config_of(data, tmp_path, objective=objective, sampling=sampling))
    assert not tried(folder) and not ModelManager.load(folder.model).config.sampling.levels


def test_an_interrupted_choice_continues_without_training_again(
    finished, data, tmp_path, monkeypatch
):
    config, score, steps = config_of(data, tmp_path), LevelSearch.score, []

    def interrupted(self, candidate):
        os.kill(os.getpid(), signal.SIGINT)
        return score(self, candidate)

    with monkeypatch.context() as patch:
        patch.setattr(LevelSearch, "score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    monkeypatch.setattr("halo_cm.training.loop.Trainer._step", lambda *a: steps.append(a))
    folder = train(config, resume=True)
    assert not steps and folder.finished and not folder.state.exists()
    assert tried(folder) == tried(finished)
    assert_equal_weights(folder.model, finished.model)
    sampling = [ModelManager.load(f.model).config.sampling for f in (folder, finished)]
    assert sampling[0] == sampling[1]


def test_two_processes_share_the_candidates(data, tmp_path):
    """Scores do not depend on who draws the samples."""
    folder = train(config_of(data, tmp_path, processes=2))
    scored = dict(tried(folder))
    model, cutouts = ModelManager.load(folder.model), read_cutouts(data, "validation")
    assert model.config.sampling.levels == LevelChoice(scored).levels and len(scored) == 13
    model.use_sampling(model.config.sampling.with_levels(DEFAULT_LEVELS))
    again = choose_levels(model, cutouts, n_cutouts=6, n_members=2)
    assert list(again.scores) == list(scored)
    assert list(again.scores.values()) == pytest.approx(list(scored.values()), rel=1e-6)
