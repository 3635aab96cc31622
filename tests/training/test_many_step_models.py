"""Variational diffusion models and interpolants in the training loop, and in their files."""

from __future__ import annotations

import json

import pytest
import torch
from builders import make_config, make_cutouts, merge
from training_runs import assert_equal_weights, train_until_ctrl_c

from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import CheckpointError
from halo_cm.manager import ModelManager
from halo_cm.sampling import sample
from halo_cm.training.run import train

LEARNED = {"name": "vdm", "schedule": "learned_nn", "free_ends": True}
SAMPLING = {"n_vdm_steps": 6, "n_interpolant_steps": 4}


@pytest.fixture(scope="module")
def cutouts():
    return merge(*(make_cutouts(n=24, seed=s, split=s) for s in range(3)))


@pytest.fixture(scope="module")
def data(cutouts, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "haloes.h5"
    write_cutouts(path, cutouts)
    return path


def config_of(data, output, *objectives, **training):
    phases = [{"objective": objective, "steps": 8} for objective in objectives]
    return make_config(data, output, training={"phases": phases, **training}, sampling=SAMPLING)


def draw(path, cutouts):
    model = ModelManager.load(path)
    return model, sample(model, cutouts.condition[:3], 2, parameters=cutouts.parameters[:3])


@pytest.mark.parametrize(
    ("objective", "sampler", "nfe"),
    [
        (LEARNED, "ancestral", 6),
        ({"name": "interpolant", "x0_mode": "dm_copy", "x0_noise": 0.5}, "interpolant_heun", 7),
        ({"name": "interpolant", "solver": "euler"}, "interpolant_euler", 4),
    ],
)
def test_a_run_leaves_a_model_that_knows_how_it_is_sampled(
    cutouts, data, tmp_path, objective, sampler, nfe
):
    folder = train(config_of(data, tmp_path, objective))
    model, fields = draw(folder.model, cutouts)
    assert (model.sampler.name, model.nfe(model.default_steps)) == (sampler, nfe)
    assert model.denoiser.boundary == 0
    assert fields.shape == (3, 2, 3, 16, 16) and not (fields[:, 0] == fields[:, 1]).all()


def test_the_schedule_is_trained_averaged_saved_and_continued(cutouts, data, tmp_path, monkeypatch):
    whole = train(config_of(data, tmp_path / "whole", LEARNED))
    schedule = ModelManager.load(whole.model).denoiser.schedule
    fresh = ModelManager.load(whole.model).sampler.make_schedule()
    for name, tensor in fresh.state_dict().items():
        assert not torch.equal(tensor, schedule.state_dict()[name]), name
    config = config_of(data, tmp_path / "parts", LEARNED)
    train_until_ctrl_c(config, monkeypatch, (0, 3))
    assert_equal_weights(train(config, resume=True).model, whole.model)


def test_a_learned_schedule_is_handed_on_by_phases_and_by_a_file(data, tmp_path):
    """At a learning rate of next to nothing the second training keeps what was learned."""
    folder = train(config_of(data, tmp_path / "one", LEARNED, LEARNED))
    still = [{"objective": LEARNED, "steps": 1, "learning_rate": 1e-12}]
    training = {"phases": still, "start": str(folder.model)}
    other = make_config(data, tmp_path / "two", training=training, sampling=SAMPLING)
    first, second, third = (
        ModelManager.load(path).denoiser.schedule.state_dict()
        for path in (*sorted(folder.path.glob("phases/*.safetensors")), train(other).model)
    )
    fresh = ModelManager.load(folder.model).sampler.make_schedule().state_dict()
    for name, tensor in first.items():
        # ten steps of the same rate move it further away than one training of eight would
        assert (second[name] - fresh[name]).abs().max() > (tensor - fresh[name]).abs().max()
        torch.testing.assert_close(third[name], second[name], atol=1e-6, rtol=0)


def test_two_processes_train_a_schedule_that_learns_nothing(cutouts, data, tmp_path):
    """The shipped vdm.toml on two cores: there are no gradients of the schedule to average."""
    folder = train(config_of(data, tmp_path, {"name": "vdm"}, processes=2))
    model, fields = draw(folder.model, cutouts)
    assert model.sampler.name == "ancestral" and fields.shape == (3, 2, 3, 16, 16)


OPPOSED = """
import torch

from halo_cm.objectives.vdm import VariationalDiffusion


class Opposed(VariationalDiffusion):
    name: str = "opposed.objective"

    def loss(self, step, batch):
        ends = step.denoiser.schedule(torch.rand(4)).ends
        zeros = torch.zeros(len(batch.x_clean))
        network = step.denoiser(batch.x_clean, zeros + 1, batch.condition, batch.parameters)
        return network.square().mean() + (1 - 2 * torch.distributed.get_rank()) * ends.sum()
"""


@pytest.mark.slow
def test_two_processes_average_the_gradients_of_the_schedule(data, tmp_path, monkeypatch):
    """Pulled up by one process and down by the other, as hard, the ends stay where they are."""
    (tmp_path / "opposed").mkdir()
    (tmp_path / "opposed" / "objective.py").write_text(OPPOSED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    objective = {"name": "opposed.objective", "schedule": "learned_linear"}
    folder = train(config_of(data, tmp_path, objective, processes=2))
    ends = ModelManager.load(folder.model).denoiser.schedule.ends
    assert ends.tolist() == pytest.approx([-13.3, 13.3], abs=1e-6)


def test_a_phase_after_another_kind_of_model(cutouts, data, tmp_path):
    folder = train(config_of(data, tmp_path, LEARNED, {"name": "denoising"}))
    model, _ = draw(folder.model, cutouts)
    assert model.sampler.name == "heun" and model.denoiser.schedule is None
    first, _ = draw(folder.phase_model(0, "vdm"), cutouts)
    assert first.sampler.name == "ancestral" and first.denoiser.schedule is not None


def test_another_solver_is_chosen_when_sampling(cutouts, data, tmp_path):
    config = config_of(data, tmp_path, {"name": "denoising"})
    model, by_heun = draw(train(config).model, cutouts)
    sampling = config.sampling.model_copy(update={"denoiser_solver": "dpm"})
    model.use_sampling(sampling)
    assert (model.sampler.name, model.nfe(18)) == ("dpm", 18)
    path = tmp_path / "dpm.safetensors"
    ModelManager.save(model, path)
    again, by_dpm = draw(path, cutouts)
    assert again.sampler.name == "dpm"
    assert not (by_dpm == by_heun).all()


def test_files_of_earlier_versions_name_the_sampler_alone(cutouts, data, tmp_path, monkeypatch):
    from halo_cm import manager

    model, fields = draw(train(config_of(data, tmp_path, {"name": "denoising"})).model, cutouts)
    write = manager.write_tensors

    def as_before(path, kind, tensors, facts):
        kept = {k: v for k, v in facts.items() if k not in ("sampler_settings", "uses_latent")}
        del kept["config"]["sampling"]["denoiser_solver"]
        write(path, kind, tensors, kept)

    monkeypatch.setattr(manager, "write_tensors", as_before)
    ModelManager.save(model, tmp_path / "old.safetensors")
    old, again = draw(tmp_path / "old.safetensors", cutouts)
    assert old.sampler.name == "heun" and (again == fields).all()


def test_a_run_of_an_earlier_version_is_not_another_config(data, tmp_path):
    config = config_of(data, tmp_path, {"name": "denoising"})
    folder = train(config)
    facts = folder.path / "run.json"
    content = json.loads(facts.read_text())
    del content["config"]["sampling"]["denoiser_solver"]  # which that version did not know
    facts.write_text(json.dumps(content))
    folder.open(resume=False)
    content["config"]["sampling"]["n_heun_steps"] = 20
    facts.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"sampling.n_heun_steps: 20 there, 18 now"):
        folder.open(resume=False)
