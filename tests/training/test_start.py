"""Weights from outside a run: what it starts from, what teaches it, what does not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from builders import make_config, make_cutouts, merge
from pydantic import ValidationError

from halo_cm import pipeline
from halo_cm.data.cutouts import write_cutouts
from halo_cm.data.normalize import Normalization
from halo_cm.emulator import Emulator
from halo_cm.errors import CheckpointError
from halo_cm.manager import load_emulator, save_emulator
from halo_cm.objectives.cd import ConsistencyDistillation
from halo_cm.objectives.denoising import Denoising
from halo_cm.objectives.vdm import VariationalDiffusion
from halo_cm.training import loop
from halo_cm.training.checkpoint import MODEL_KIND, read_tensors, write_tensors
from halo_cm.training.run import train
from halo_cm.training.run_folder import RunFolder
from halo_cm.training.start import load_start, make_teacher
from halo_cm.versions import file_sha256

NETWORK = {"patch_size": 2, "channels": [8, 16], "embedding_dimension": 16}
WIDER = {**NETWORK, "channels": [16, 16]}


def emulator_of(sampler="heun", *, cutouts=None, seed=0, **changes):
    config = make_config(**changes)
    torch.manual_seed(seed)
    normalization = Normalization.fit(config.normalization, cutouts or make_cutouts())
    return Emulator(config, normalization, sampler)


def saved(emulator, path):
    save_emulator(emulator, path, {})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3))))
    return path


@pytest.fixture(scope="module")
def denoiser(data, tmp_path_factory):
    """Model file of a plain denoiser; must not be changed."""
    return train(run_of(data, tmp_path_factory.mktemp("runs"), ["denoising"])).model


def run_of(data, output, objectives, *, steps=4, **changes):
    """Config of one short phase for each objective, a name or a table."""
    tables = [{"name": o} if isinstance(o, str) else o for o in objectives]
    phases = [{"objective": table, "steps": steps} for table in tables]
    training = {"phases": phases, **changes.pop("training", {})}
    return make_config(data, output, training=training, **changes)


def weights_at_the_start(config):
    """Network, teacher and target of each phase before its first step."""
    found = []
    original = loop.Trainer._run_phase

    def remember(self, phase, start):
        parts = {"network": self.network, "average": self.average.denoiser.network, **phase.copies}
        states = {name: part.state_dict() for name, part in parts.items()}
        found.append({n: {k: v.clone() for k, v in s.items()} for n, s in states.items()})
        original(self, phase, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Trainer, "_run_phase", remember)
        train(config)
    return found


def assert_same(state, module):
    expected = module.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[k], expected[k]) for k in state)


def test_a_run_begins_with_exactly_the_weights_that_it_starts_from(data, denoiser, tmp_path):
    config = run_of(data, tmp_path, ["ect"], training={"start": denoiser})
    (phase,) = weights_at_the_start(config)
    network = load_emulator(denoiser).denoiser.network
    assert_same(phase["network"], network)
    assert_same(phase["average"], network)


def test_the_statistics_and_the_network_of_a_start_must_be_those_of_the_run(tmp_path):
    path = saved(emulator_of(), tmp_path / "model.safetensors")
    assert load_start(path, emulator_of(seed=1)).sampler.name == "heun"
    with pytest.raises(CheckpointError, match=r"network.channels.0: 8 there, 16 now"):
        load_start(path, emulator_of(network=WIDER))
    with pytest.raises(CheckpointError, match=r"network.latent_channels: 0 there, 2 now"):
        load_start(path, emulator_of(network={**NETWORK, "latent_channels": 2}))
    with pytest.raises(CheckpointError, match=r"diffusion.sigma_max: 80.0 there, 40.0 now"):
        load_start(path, emulator_of(diffusion={"sigma_max": 40.0}))
    with pytest.raises(CheckpointError, match=r"normalization.targets: ratio there, log now"):
        load_start(path, emulator_of(normalization={"targets": "log"}))
    with pytest.raises(CheckpointError, match=r"target_mean of the training data: .* there, "):
        load_start(path, emulator_of(cutouts=make_cutouts(seed=5)))


def test_weights_of_other_data_are_tuned_with_the_statistics_of_the_run(data, tmp_path):
    path = saved(emulator_of(cutouts=make_cutouts(seed=5)), tmp_path / "model.safetensors")
    start = {"start": path}
    with pytest.raises(CheckpointError, match=r'training.start_data = "other"'):
        train(run_of(data, tmp_path / "a", ["denoising"], training=start))
    config = run_of(data, tmp_path / "b", ["denoising"], training={**start, "start_data": "other"})
    (phase,) = weights_at_the_start(config)
    theirs = load_emulator(path)
    assert_same(phase["network"], theirs.denoiser.network)
    found = load_emulator(RunFolder(config).model).normalization
    fresh = train(run_of(data, tmp_path / "c", ["denoising"])).model
    assert torch.equal(found.target_mean, load_emulator(fresh).normalization.target_mean)
    assert not torch.equal(found.target_mean, theirs.normalization.target_mean)
    with pytest.raises(CheckpointError, match=r"network.channels.0: 8 there, 16 now") as refused:
        load_start(path, emulator_of(network=WIDER), other_data=True)
    assert "start_data" not in str(refused.value)


def test_weights_of_other_data_can_teach_what_they_become(data, tmp_path):
    path = saved(emulator_of(cutouts=make_cutouts(seed=5)), tmp_path / "model.safetensors")
    start = {"start": path, "start_data": "other"}
    (phase,) = weights_at_the_start(run_of(data, tmp_path / "a", ["cd"], training=start))
    assert_same(phase["teacher"], wrapped(path))
    teacher = run_of(data, tmp_path / "b", [{"name": "cd", "teacher": str(path)}])
    with pytest.raises(CheckpointError, match="target_mean of the training data") as refused:
        train(teacher)
    assert "start_data" not in str(refused.value)


def test_start_data_belongs_to_a_start(data, tmp_path):
    with pytest.raises(ValidationError, match="give start"):
        run_of(data, tmp_path, ["denoising"], training={"start_data": "other"})


def test_a_run_from_before_there_was_start_data_is_the_same_run(data, denoiser, tmp_path):
    config = run_of(data, tmp_path, ["denoising"], training={"start": denoiser}, steps=2)
    train(config)
    assert "start_data" not in facts(config)
    assert train(config, resume=True).finished


def test_other_channels_and_pixels_are_listed_together(tmp_path):
    path = saved(emulator_of(), tmp_path / "model.safetensors")
    other = make_cutouts(side=32, names=("Omega_m", "sigma_8", "A_SN1"))
    with pytest.raises(CheckpointError) as caught:
        load_start(path, emulator_of(cutouts=other))
    message = str(caught.value)
    assert str(path) in message and "cannot be used here" in message
    assert "data.n_pixels: 16 there, 32 now" in message
    assert "data.parameter_names: ('Omega_m', 'sigma_8') there" in message
    assert "parameter_mean of the training data" in message


def test_a_start_that_is_missing_or_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"no emulator at .*model.safetensors"):
        load_start(path, emulator_of())
    path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_start(path, emulator_of())


def test_no_teacher_for_objectives_without_one():
    assert make_teacher(Denoising(), emulator_of(), None) is None


def test_the_teacher_is_a_frozen_plain_copy_of_the_weights_the_phase_starts_from():
    """The student is a consistency map, with another boundary."""
    emulator = emulator_of("consistency")
    teacher = make_teacher(ConsistencyDistillation(), emulator, None)
    assert (teacher.boundary, emulator.denoiser.boundary) == (0.0, 0.002)
    assert teacher.sigma_data == emulator.denoiser.sigma_data
    assert_same(teacher.network.state_dict(), emulator.denoiser.network)
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    with torch.no_grad():
        next(emulator.denoiser.parameters()).add_(1)
    assert not torch.equal(next(teacher.parameters()), next(emulator.denoiser.parameters()))


def test_the_network_of_a_teacher_may_differ_but_not_its_data(tmp_path):
    wider = emulator_of(network=WIDER, seed=3)
    path = saved(wider, tmp_path / "model.safetensors")
    cd = ConsistencyDistillation(teacher=path)
    teacher = make_teacher(cd, emulator_of("consistency"), None)
    assert teacher.boundary == 0.0
    assert_same(teacher.network.state_dict(), wider.denoiser.network)
    with pytest.raises(CheckpointError, match=r"target_mean of the training data: .* there, "):
        make_teacher(cd, emulator_of(cutouts=make_cutouts(seed=5)), None)
    with pytest.raises(CheckpointError, match=r"diffusion.sigma_min: 0.002 there, 0.01 now"):
        make_teacher(cd, emulator_of(diffusion={"sigma_min": 0.01}), None)


def test_a_teacher_of_other_parameters_or_channels_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    cd, student = ConsistencyDistillation(teacher=path), emulator_of("consistency")
    saved(emulator_of(cutouts=make_cutouts(names=("Omega_m", "sigma_8", "A_SN1"))), path)
    with pytest.raises(CheckpointError, match=r"data.parameter_names: .*'A_SN1'\) there, .*now"):
        make_teacher(cd, student, None)
    facts, tensors = read_tensors(saved(emulator_of(), path), MODEL_KIND)
    facts["geometry"]["channels"] = ["dm", "gas", "metals"]
    del facts["kind"], facts["format_version"], facts["versions"]
    write_tensors(path, MODEL_KIND, tensors, facts)
    with pytest.raises(CheckpointError, match=r"model.safetensors .*found dm, gas, metals, exp"):
        make_teacher(cd, student, None)


def test_a_consistency_map_cannot_teach(tmp_path):
    path = saved(emulator_of("consistency"), tmp_path / "model.safetensors")
    message = "a teacher must be a plain denoiser, there is a model sampled by consistency"
    with pytest.raises(CheckpointError, match=message):
        make_teacher(ConsistencyDistillation(teacher=path), emulator_of(), None)
    with pytest.raises(CheckpointError, match=message):
        make_teacher(ConsistencyDistillation(), emulator_of(), path)


def test_a_teacher_of_any_solver_is_a_plain_denoiser(tmp_path):
    path = saved(emulator_of(sampling={"denoiser_solver": "dpm"}), tmp_path / "model.safetensors")
    assert make_teacher(ConsistencyDistillation(teacher=path), emulator_of(), None) is not None


def test_the_phase_before_is_the_teacher(data, tmp_path):
    config = run_of(data, tmp_path, ["denoising", "cd"])
    before, phase = weights_at_the_start(config)
    assert "teacher" not in before
    assert_same(phase["teacher"], wrapped(RunFolder(config).phase_model(0, "denoising")))
    for key, value in phase["network"].items():
        assert torch.equal(phase["teacher"][f"network.{key}"], value)
        assert torch.equal(phase["target"][key], value)


def wrapped(path):
    return load_emulator(path).denoiser


def test_a_file_is_the_teacher_of_a_first_phase(data, denoiser, tmp_path):
    """From fresh weights with ``teacher``, from those of the teacher with ``training.start``."""
    fresh = run_of(data, tmp_path / "a", [{"name": "cd", "teacher": str(denoiser)}])
    (phase,) = weights_at_the_start(fresh)
    assert_same(phase["teacher"], wrapped(denoiser))
    key = next(iter(phase["network"]))
    started = run_of(data, tmp_path / "b", ["cd"], training={"start": denoiser})
    (other,) = weights_at_the_start(started)
    assert_same(other["teacher"], wrapped(denoiser))
    assert_same(other["network"], wrapped(denoiser).network)
    assert phase["network"].keys() == other["network"].keys() and key in other["network"]


def test_a_start_still_teaches_behind_a_reference(data, denoiser, tmp_path):
    """A reference hands on the weights before it, whatever they are."""
    consistency = train(run_of(data, tmp_path / "a", ["ect"], training={"start": denoiser})).model
    phases = [
        {"objective": {"name": "regression"}, "steps": 2, "reference": True},
        {"objective": {"name": "cd"}, "steps": 2},
    ]
    for name, start in (("b", denoiser), ("c", consistency)):
        training = {"phases": phases, "start": start}
        config = make_config(data, tmp_path / name, training=training)
        if start == consistency:
            with pytest.raises(CheckpointError, match="a teacher must be a plain denoiser"):
                train(config)
        else:
            assert_same(weights_at_the_start(config)[1]["teacher"], wrapped(denoiser))


def facts(config):
    path = RunFolder(config).path / "run.json"
    return json.loads(path.read_text())["config"]["training"]


@pytest.mark.parametrize("role", ["start", "teacher"])
def test_a_run_is_known_by_what_is_in_its_model_files(data, denoiser, tmp_path, role):
    """A file that was moved is the same one; another one under the same name is not."""

    def config_of(path):
        if role == "start":
            return run_of(data, tmp_path, ["ect"], training={"start": path})
        return run_of(data, tmp_path, [{"name": "cd", "teacher": str(path)}])

    path = tmp_path / "a.safetensors"
    shutil.copy(denoiser, path)
    train(config_of(path))
    found = facts(config_of(path))
    table = found if role == "start" else found["phases"][0]["objective"]
    assert table[role] == {"sha256": file_sha256(denoiser)}
    moved = path.rename(tmp_path / "b.safetensors")
    assert train(config_of(moved), resume=True).finished
    other = load_emulator(denoiser)
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    save_emulator(other, path, {})
    with pytest.raises(CheckpointError, match=rf"{role}.sha256: \w+.* there, \w+.* now"):
        train(config_of(path), resume=True)
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"{role}: a table there"):
        train(config_of(path), resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_levels": 20}, r"training.phases.1.objective.n_levels: 18 there, 20 now"),
        ({"solver": "euler"}, r"training.phases.1.objective.solver: nothing there, euler now"),
    ],
)
def test_other_settings_of_the_distillation_are_another_run(data, tmp_path, changes, message):
    cd = {"name": "cd", "n_levels": 18}
    train(run_of(data, tmp_path, ["denoising", cd], steps=2))
    with pytest.raises(CheckpointError, match=message):
        train(run_of(data, tmp_path, ["denoising", {**cd, **changes}], steps=2), resume=True)


def test_a_start_given_later_is_another_run(data, denoiser, tmp_path):
    train(run_of(data, tmp_path, ["denoising"], steps=2))
    with pytest.raises(CheckpointError, match=r"training.start: nothing there, a table now"):
        train(run_of(data, tmp_path, ["denoising"], steps=2, training={"start": denoiser}))


def test_missing_models_are_noticed_before_anything_is_simulated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phases = [{"objective": {"name": "cd", "teacher": "runs/wise/model.safetensors"}, "steps": 4}]
    absent = {"phases": phases, "start": "runs/first/model.safetensors"}
    started = make_config(tmp_path / "none.h5", training=absent)
    with pytest.raises(CheckpointError, match=r"training\.start = .*train it first.*--model first"):
        pipeline.run(started)
    taught = make_config(tmp_path / "none.h5", training={"phases": phases})
    with pytest.raises(CheckpointError, match=r"phases\.0\.objective\.teacher = .*--model wise"):
        pipeline.run(taught)


def test_a_training_can_add_rings_to_the_network_it_starts_from(tmp_path):
    shape = {**NETWORK, "noise_blocks": 2, "latent_channels": 2}
    plain, vdm = emulator_of(network=shape), VariationalDiffusion()
    plain.use_sampler(vdm.sampler, vdm.sampler_settings)  # with a schedule beside the network
    for parameter in plain.denoiser.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    fresh = emulator_of(network={**shape, "condition_rings": 5}, seed=1)
    start = load_start(saved(plain, tmp_path / "plain.safetensors"), fresh)
    fresh.use_sampler(start.sampler.name, start.sampler.settings)
    assert not start.training and not any(p.requires_grad for p in start.parameters())
    fresh.denoiser.load_state_dict(start.denoiser.state_dict())
    g = torch.Generator().manual_seed(0)
    n_maps, n_parameters = len(plain.geometry.scales), len(plain.geometry.parameter_names)
    x, condition = (torch.randn(2, n, 16, 16, generator=g) for n in (3, n_maps))
    inputs = (x, torch.full((2,), 3.0), condition, torch.randn(2, n_parameters, generator=g))
    torch.testing.assert_close(fresh.denoiser(*inputs), plain.denoiser(*inputs))
    fresh.denoiser(*inputs).square().sum().backward()
    gradient = fresh.denoiser.network.embedding.mlp[0].weight.grad
    assert gradient[:, -5 * n_maps :].abs().min() > 0


def test_rings_of_a_start_cannot_be_taken_away_or_changed(tmp_path):
    path = saved(emulator_of(network={**NETWORK, "condition_rings": 5}), tmp_path / "a.safetensors")
    for rings in (0, 4):
        fresh = emulator_of(network={**NETWORK, "condition_rings": rings})
        with pytest.raises(CheckpointError, match=rf"condition_rings.*5.*{rings}"):
            load_start(path, fresh)
