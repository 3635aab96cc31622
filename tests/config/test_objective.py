"""Objectives are found by file name or dotted path, never by a list."""

from __future__ import annotations

import sys

import pytest

from halo_cm.config.loader import ConfigLoader
from halo_cm.config.objective import available_objectives, resolve_objective
from halo_cm.errors import ConfigError

MINE = """
from typing import ClassVar

from halo_cm.objectives.base import Objective


class Mine(Objective):
    sampler: ClassVar = "heun"
    uses_teacher: ClassVar = True
    strength: float = 1.0

    def loss(self, step, batch):
        return batch.x_clean.sum() * self.strength
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("my_objectives")]:
        del sys.modules[name]


def module(folder, text, name="mine"):
    package = folder / "my_objectives"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    (package / f"{name}.py").write_text(text)
    return f"my_objectives.{name}"


@pytest.mark.parametrize("name", available_objectives())
def test_every_file_is_found_by_its_name(name):
    objective = resolve_objective({"name": name})
    assert type(objective).__module__ == f"halo_cm.objectives.{name}"
    assert objective.name == name


def test_there_are_the_objectives_of_the_default_recipe():
    assert {"denoising", "ect", "ct", "energy_score"} <= set(available_objectives())


def test_settings_are_read():
    assert resolve_objective({"name": "ect", "q": 16}).q == 16.0


def test_a_dotted_path_needs_no_registry(folder):
    objective = resolve_objective({"name": module(folder, MINE), "strength": 2})
    assert objective.strength == 2.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "needs a name, one of"),
        ({"name": 3}, "needs a name"),
        ({"name": "denosing"}, "unknown objective 'denosing'; did you mean 'denoising'"),
        ({"name": "base"}, "module halo_cm.objectives.base must define exactly one subclass"),
        ({"name": "nowhere.to.be"}, "no module 'nowhere.to.be'"),
        ({"name": "a..b"}, "no module 'a..b'"),
        ({"name": "ect", "Q": 3}, "unknown key 'objective.Q'"),
        ({"name": "ect", "q": 0.5}, "objective.q = 0.5, expected a number above 1"),
        ({"name": "ct", "s0": 9, "s1": 3}, r"s1 \(3\) must not be below s0 \(9\)"),
    ],
)
def test_what_cannot_be_resolved(spec, message):
    with pytest.raises(ConfigError, match=message):
        resolve_objective(spec)


def test_modules_of_users_that_do_not_fit(folder):
    two = MINE + "\n\nclass Second(Mine):\n    pass\n"
    with pytest.raises(ConfigError, match="exactly one subclass of Objective, found Mine, Second"):
        resolve_objective({"name": module(folder, two, "two")})
    with pytest.raises(ConfigError, match="cannot be imported: No module named 'absent_thing'"):
        resolve_objective({"name": module(folder, "import absent_thing\n", "broken")})


def test_distillation_needs_a_phase_before_it(folder, tmp_path):
    name = module(folder, MINE)
    path = tmp_path / "a.toml"
    phase = '[[training.phases]]\nobjective = {{ name = "{}" }}\nsteps = 3\n'
    head = 'name = "a"\n[data]\npath = "a.h5"\n'
    path.write_text(head + phase.format(name))
    with pytest.raises(ConfigError, match="needs a phase before it, as its teacher"):
        ConfigLoader(path)
    path.write_text(head + phase.format("denoising") + phase.format(name))
    assert len(ConfigLoader(path).training.phases) == 2


HEAD = 'name = "a"\n[data]\npath = "a.h5"\n'


def written(tmp_path, *objectives, head=HEAD, more=""):
    path = tmp_path / "a.toml"
    phases = [f"[[training.phases]]\nobjective = {{ {o} }}\nsteps = 3\n" for o in objectives]
    path.write_text(head + "".join(phases) + more)
    return path


DENOISING, ECT, CD = (f'name = "{name}"' for name in ("denoising", "ect", "cd"))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ([CD], r"phases.0.objective: 'cd' needs a phase before it, as its teacher, or a model"),
        ([DENOISING, ECT, CD], r"phases.2.objective: 'cd' needs a plain denoiser as its teacher"),
        ([CD, CD], r"phases.1.objective: 'cd' needs a plain denoiser as its teacher"),
        (['name = "distributional"'], r"'distributional' needs latent noise: set network.latent"),
    ],
)
def test_objectives_that_lack_something_where_they_stand(tmp_path, objectives, message):
    with pytest.raises(ConfigError, match=message):
        ConfigLoader(written(tmp_path, *objectives))


def test_what_objectives_need_can_come_from_elsewhere(tmp_path):
    file = 'teacher = "model.safetensors"'
    ConfigLoader(written(tmp_path, f"{CD}, {file}"))
    ConfigLoader(written(tmp_path, DENOISING, ECT, f"{CD}, {file}"))
    ConfigLoader(written(tmp_path, CD, head=HEAD + '[training]\nstart = "model.safetensors"\n'))
    # a reference hands on the weights before it
    config = written(tmp_path, DENOISING, 'name = "regression"', CD)
    text = config.read_text().replace('"regression" }\n', '"regression" }\nreference = true\n')
    config.write_text(text)
    assert ConfigLoader(config).training.phases[1].reference
    latent = "[network]\nlatent_channels = 1\n"
    ConfigLoader(written(tmp_path, 'name = "distributional"', more=latent))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "cd", "n_levels": 1}, "objective.n_levels = 1, expected"),
        ({"name": "cd", "solver": "rk4"}, 'objective.solver = "rk4", expected'),
        ({"name": "ict", "s0": 9, "s1": 3}, r"s1 \(3\) must not be below s0 \(9\)"),
        ({"name": "ict", "distance": "l1"}, 'objective.distance = "l1", expected'),
        ({"name": "energy_score", "n_members": 1}, "objective.n_members = 1, expected"),
        ({"name": "distributional", "top_share": 2}, "objective.top_share = 2, expected"),
        ({"name": "ect", "huber_scale": -1}, "objective.huber_scale = -1, expected"),
    ],
)
def test_settings_out_of_their_range(spec, message):
    with pytest.raises(ConfigError, match=message):
        resolve_objective(spec)


def test_classes_that_objectives_share_are_no_objectives():
    assert not {"base", "pairs", "fair_scores", "features"} & set(available_objectives())
    with pytest.raises(ConfigError, match=r"pairs must define exactly one subclass .*found none"):
        resolve_objective({"name": "pairs"})
