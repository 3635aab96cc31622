"""Ablations: what is shared, what is trained, what is reused, what the tables hold."""

from __future__ import annotations

import json
import os
import signal

import pytest
import tomli_w
from builders import make_config, make_cutouts, merge
from typer.testing import CliRunner

from halo_cm import ablate as module
from halo_cm.ablate import ablate, describe_plan, plan
from halo_cm.cli import app
from halo_cm.config.ablations import load_ablations
from halo_cm.config.loader import without_nones
from halo_cm.config.objective import resolve_objective
from halo_cm.data.cutouts import write_cutouts
from halo_cm.diffusion.samplers import make_sampler
from halo_cm.errors import ConfigError
from halo_cm.manager import ModelManager
from halo_cm.objectives.ect import EasyConsistencyTuning
from halo_cm.training.checkpoint import read_facts, read_tensors
from halo_cm.training.loop import Trainer

PHASES = (
    "[{objective={name='denoising'}, steps=4}, {objective={name='ect'}, steps=3},"
    " {objective={name='energy_score'}, steps=2, batch_size=4}]"
)
UNTUNED = PHASES.partition(", {objective={name='energy_score'}")[0].rstrip(",") + "]"
FILE = """
config = {config}
changes = ["training.phases={phases}", "sampling.choose_levels=false"]

[benchmark]
n_cutouts = 6
n_members = 2
n_resamples = 20

[core_seconds_per_cutout]
denoising = 0.5
ect = 1.0
energy_score = 2.0

[groups.tuning]
about = "With and without the last phase."
[groups.tuning.variants]
whole = []
none = ["training.phases={untuned}"]

[groups.loss]
about = "Distances of the second phase."
steps = [1]
[groups.loss.variants]
pseudo_huber = []
l2 = ["training.phases.1.objective.distance=l2"]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


@pytest.fixture
def described(data, tmp_path):
    """File of two groups of two variants, on the smallest network."""
    path, base = tmp_path / "ablations.toml", tmp_path / "base.toml"
    base.write_text(tomli_w.dumps(without_nones(make_config(data).model_dump(mode="json"))))
    config = json.dumps(str(base))
    path.write_text(FILE.format(config=config, phases=PHASES, untuned=UNTUNED))
    return path


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """The report of a comparison, which takes seconds, has tests of its own."""
    monkeypatch.setattr("halo_cm.compare.write_report", lambda *_, **__: [])


@pytest.fixture
def trainings(monkeypatch):
    """Folders of the runs that take their first step, in order."""
    found, step = [], Trainer._step

    def remember(self, phase, number, task):
        if number == 0:
            found.append(self.folder.path)
        step(self, phase, number, task)

    monkeypatch.setattr(Trainer, "_step", remember)
    return found


def of_group(variants, group):
    return {v.name: v for v in variants if v.group == group}


def test_variants_share_their_first_phases_and_equal_variants_everything(described, tmp_path):
    variants = plan(load_ablations(described), tmp_path / "out")
    tuning, loss = of_group(variants, "tuning"), of_group(variants, "loss")
    folders = [link.folder.path for link in tuning["whole"].links]
    assert folders[2].parent == tmp_path / "out" / "tuning"
    assert folders[2].name.startswith("whole-")
    assert [path.parent.name for path in folders[:2]] == ["shared", "shared"]
    # what is a part of another variant, and what is equal to one, is not trained again
    assert [link.folder.path for link in tuning["none"].links] == folders[:2]
    assert loss["pseudo_huber"].model == tuning["whole"].model
    other = [link.folder.path for link in loss["l2"].links]
    assert other[0] == folders[0] and not set(other[1:]) & set(folders)
    for variant in variants:
        assert variant.links[0].config.training.start is None
        for before, link in zip(variant.links, variant.links[1:], strict=False):
            assert link.config.training.start == before.end
            assert before.end.parent.parent == before.folder.path


def test_runs_are_told_apart_by_all_that_they_start_from(described, tmp_path):
    """A change of the first phase makes other runs of the later ones, whose settings are equal."""
    text = described.read_text().replace(
        "pseudo_huber = []", 'first = ["training.phases.0.steps=5"]'
    )
    described.write_text(text)
    variants = plan(load_ablations(described), tmp_path)
    folders = [[link.folder.path for link in v.links] for v in variants]
    assert not set(folders[2]) & set(folders[0])


def test_the_estimate_is_steps_times_cutouts_times_seconds_and_shared_runs_count_once(
    described, tmp_path
):
    """Batches of 8, of 4 in the last phase: 4 x 8 x 0.5 + 3 x 8 x 1 + 2 x 4 x 2 = 16 + 24 + 16."""
    said = describe_plan(plan(load_ablations(described), tmp_path)).splitlines()
    phases = "denoising 4 -> ect 3 -> energy_score 2"
    assert said == [
        f"tuning/whole: {phases}: 56 of 56 core-seconds left",
        "tuning/none: denoising 4 -> ect 3: 0 of 40 core-seconds left",
        f"loss/pseudo_huber: {phases}: 0 of 56 core-seconds left",
        f"loss/l2: {phases}: 40 of 56 core-seconds left",
        "total: 96 core-seconds to train (trained once, however many variants share it)",
    ]


def test_references_are_left_out(described, tmp_path):
    text = described.read_text().replace("steps=3}, ", "steps=3, reference=true}, ")
    described.write_text(text)
    whole = plan(load_ablations(described), tmp_path)[0]
    assert [k.config.training.phases[0].objective["name"] for k in whole.links] == [
        "denoising", "energy_score"
    ]  # fmt: skip


def test_groups_are_trained_compared_and_reused(
    described, tmp_path, trainings, monkeypatch, caplog
):
    ablations, out = load_ablations(described), tmp_path / "out"
    (only,) = ablate(ablations, out, only="tuning")
    assert only[1] == out / "tuning" and len(trainings) == 3
    found = {folder.name: summary for summary, folder in ablate(ablations, out)}
    assert len(trainings) == 5, "the second group needs two runs more"
    assert [row.label for row in found["tuning"].rows] == [
        *("whole, 1 step", "whole, 2 steps"),
        *("none, 1 step", "none, 2 steps"),
    ]
    assert [row.label for row in found["loss"].rows] == ["pseudo_huber, 1 step", "l2, 1 step"]
    # the same model on the same haloes
    assert found["loss"].rows[0].crps_log_mass == found["tuning"].rows[0].crps_log_mass
    table = json.loads((out / "tuning" / "table.json").read_text())
    assert {name: v["steps"] for name, v in table["variants"].items()} == {"whole": 9, "none": 7}
    costs = [table["variants"][name]["core_seconds"] for name in ("none", "whole")]
    assert 0 < costs[0] < costs[1]
    page = (out / "loss" / "table.md").read_text()
    assert page.startswith("Distances of the second phase.")
    assert "| l2 | `training.phases.1.objective.distance=l2` | 9 |" in page

    monkeypatch.setattr(module, "compare", None)
    with caplog.at_level("INFO", logger="halo_cm"):
        again = {folder.name: s for s, folder in ablate(ablations, out)}
    assert again == found and len(trainings) == 5
    assert "reusing the comparison" in caplog.text
    assert "total: 0 core-seconds" in describe_plan(plan(ablations, out))


def test_a_change_of_the_file_trains_what_it_touches_anew(
    described, tmp_path, trainings, monkeypatch
):
    monkeypatch.setattr(module, "_compare", lambda *_: None)
    list(ablate(load_ablations(described), tmp_path, only="tuning"))
    before, text = trainings.copy(), described.read_text()
    described.write_text(text.replace("name='ect'}, steps=3", "name='ect'}, steps=2"))
    edited = load_ablations(described)
    assert (
        describe_plan(plan(edited, tmp_path)[:1])
        .splitlines()[0]
        .endswith("32 of 48 core-seconds left")
    )
    list(ablate(edited, tmp_path, only="tuning"))
    assert len(before) == 3 and len(trainings) == 5 and len(set(trainings)) == 5
    described.write_text(text)
    list(ablate(load_ablations(described), tmp_path, only="tuning"))
    assert len(trainings) == 5, "the runs of the file as it was are still there"


def test_a_chain_hands_on_the_averaged_weights(described, tmp_path, monkeypatch):
    started = {}
    run = Trainer._run_phase

    def remember(self, phase, start):
        state = self.network.state_dict()
        started[phase.name] = {k: v.clone() for k, v in state.items()}
        run(self, phase, start)

    monkeypatch.setattr(Trainer, "_run_phase", remember)
    monkeypatch.setattr(module, "_compare", lambda *_: None)
    ablations = load_ablations(described)
    list(ablate(ablations, tmp_path, only="tuning"))
    whole = plan(ablations, tmp_path)[0]
    for link, name in zip(whole.links, ("ect", "energy_score"), strict=False):
        _, tensors = read_tensors(link.end, "emulator")
        for key, value in started[name].items():
            assert value.equal(tensors[f"denoiser.network.{key}"])
    assert read_facts(whole.model, "emulator")["training"]["steps"] == 9


def test_an_interrupted_ablation_continues(described, tmp_path, monkeypatch):
    step, ablations = Trainer._step, load_ablations(described)

    def interrupting(self, phase, number, task):
        step(self, phase, number, task)
        if (phase.name, number) == ("ect", 1):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "_compare", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupting)
        with pytest.raises(KeyboardInterrupt):
            list(ablate(ablations, tmp_path, only="tuning"))
    whole, none = plan(ablations, tmp_path)[:2]
    assert whole.links[0].folder.finished and not none.model.is_file()
    assert whole.links[1].folder.state.is_file() and not whole.links[1].folder.finished
    list(ablate(ablations, tmp_path, only="tuning"))
    assert all(link.folder.finished for link in whole.links)
    assert ModelManager.load(whole.model).sampler.name == "consistency"


def test_a_variant_that_diverges_is_named_and_the_others_go_on(
    described, tmp_path, monkeypatch, caplog
):
    loss = EasyConsistencyTuning.loss

    def broken(self, step, batch):
        return loss(self, step, batch) * (float("nan") if self.distance == "l2" else 1.0)

    monkeypatch.setattr(EasyConsistencyTuning, "loss", broken)
    ablations = load_ablations(described)
    ((summary, folder),) = ablate(ablations, tmp_path, only="loss")
    assert [row.name for row in summary.rows] == ["pseudo_huber"]
    assert "loss/l2 is left out" in caplog.text
    assert "l2 failed: phase ect: the loss (nan)" in (folder / "table.md").read_text()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("distance=l2", "distanse=l2", r"groups\.loss\.variants\.l2: .*did you mean 'distance'"),
        ("steps = [1]", "steps = [3]", r"groups\.loss\.variants\.\w+: steps = 3, but sampling"),
        ("ect = 1.0", "", "core_seconds_per_cutout lacks ect"),
        ("groups.loss", "groups.shared", r"groups\.shared: the name of the folder"),
        ("steps=2, batch", "epochs=2, batch", "given in steps, found epochs"),
        ("about = ", "abuot = ", "unknown key 'groups.loss.abuot'"),
        ("n_members = 2", "n_members = 1", "benchmark.n_members = 1, expected"),
        ("l2 = [", '"a/b" = [', "variants"),
        ("[benchmark]", "[benchmark", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(described, tmp_path, before, after, message):
    assert before in described.read_text()
    described.write_text(described.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=message):
        plan(load_ablations(described), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "los"], "no such group; did you mean 'loss'"),
        (["--data", "absent.h5"], "no such file"),
        (["--config", "absent.toml"], "cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong(described, arguments, message):
    command = ["ablate", "--config", str(described), "--dry-run", *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and message in " ".join(result.output.split())


def validation_evaluations(config):
    """Of the network, in all validations of a run of one phase; and the cutouts it trains on."""
    (phase,), chosen = config.training.phases, config.validation
    objective = resolve_objective(phase.objective)
    sampler = make_sampler(
        objective.sampler, config.diffusion, config.sampling, objective.sampler_settings
    )
    n_samples = -(-phase.steps // chosen.every) * chosen.n_cutouts * chosen.n_members
    n_evaluations = n_samples * sampler.nfe(sampler.default_steps)
    return n_evaluations, phase.steps * config.training.batch_size_of(phase)


def test_the_shipped_file_fits_its_budget_and_lists_what_was_asked_for(repository, monkeypatch):
    monkeypatch.chdir(repository)
    ablations = load_ablations("configs/ablations.toml")
    assert {"ema", "loss", "discretisation", "warm_up", "energy_score", "targets", "steps"} <= set(
        ablations.groups
    )
    docs = (repository / "docs" / "ablations.md").read_text(encoding="utf-8")
    assert [name for name in ablations.groups if f"| `{name}` |" not in docs] == []
    assert ablations.groups["steps"].steps == (1, 2, 4, 8)
    # the first variant of a group is the base, which groups share
    first = {v.group: v.model for v in reversed(plan(ablations, repository / "runs" / "none"))}
    whole = ["ema", "optimizer", "noise", "tail", "batch", "score", "backbone", "targets"]
    whole += ["steps", "route"]
    ect = ["loss", "huber", "curriculum"]
    assert all(first[group] == first["ema"] for group in whole)
    assert all(first[group] == first["loss"] for group in ect)
    for variant in plan(ablations, repository / "runs" / "none"):
        universe = variant.links[0].config.data.universe
        assert (universe.preset, universe.n_pixels) == ("quickstart", 32)
        assert sum(link.core_seconds for link in variant.links) <= 2 * 180, variant.name
        for link in variant.links[:-1]:
            evaluations, cutouts = validation_evaluations(link.config)
            assert evaluations <= cutouts / 4, "validations that choose nothing are cheap"
    result = CliRunner().invoke(app, ["ablate", "--dry-run", "--only", "warm_up"])
    assert result.exit_code == 0 and result.output.count("warm_up/") == 4
