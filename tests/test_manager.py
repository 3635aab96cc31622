"""Saving and loading emulators; damaged, foreign and outdated files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts, make_emulator, merge
from safetensors import safe_open
from safetensors.torch import save_file

from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import CheckpointError
from halo_cm.manager import ModelManager
from halo_cm.sampling import sample


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny" / "model.safetensors"
    emulator = make_emulator()
    ModelManager.save(emulator, path)
    return path, emulator


def test_round_trip_gives_the_same_fields(saved):
    path, emulator = saved
    loaded = ModelManager.load(path)
    cutouts = make_cutouts(n=2)
    fields = [
        sample(m, cutouts.condition, 2, 1, parameters=cutouts.parameters, seed=1)
        for m in (emulator, loaded)
    ]
    assert np.array_equal(*fields)
    assert loaded.geometry == emulator.geometry and loaded.config == emulator.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_initialize_finds_the_model_that_the_config_names(saved):
    path, emulator = saved
    config = make_config(output=path.parents[1])
    data, model = ModelManager.initialize(config, skip_data_loading=True)
    assert data is None
    assert torch.equal(next(model.parameters()), next(emulator.parameters()))


def test_facts_beside_the_weights_are_for_people(saved):
    path, _ = saved
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["kind"] == "emulator" and facts["geometry"]["n_pixels"] == 16
    assert facts["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_missing_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"no emulator at .*train one with"):
        ModelManager.initialize(make_config(output=tmp_path), skip_data_loading=True)


@pytest.mark.parametrize("keep", [0, 5, 1000, -100])
def test_truncated_model(saved, keep):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        ModelManager.load(path)


def test_foreign_safetensors(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="was not written by halo_cm"):
        ModelManager.load(tmp_path / "other.safetensors")


def test_another_format_version_is_named(saved):
    path, _ = saved
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["halo_cm"])
    header["format_version"] = 99
    save_file(tensors, path, metadata={"halo_cm": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"format version 99 .*this halo_cm reads 1"):
        ModelManager.load(path)


def test_weights_of_another_network_are_refused(saved):
    path, _ = saved
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors.pop("denoiser.network.stem.weight")
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="do not fit the network"):
        ModelManager.load(path)


def test_the_sampling_of_the_config_is_used(saved):
    path, _ = saved
    sampling = {"n_sampling_steps": 2, "levels": {"2": [1.5], "4": [4.0, 1.0, 0.25]}}
    config = make_config(output=path.parents[1], sampling=sampling)
    _, model = ModelManager.initialize(config, skip_data_loading=True)
    assert model.default_steps == 2 and model.levels(2).tolist() == [80.0, 1.5]


def test_an_outdated_description_is_explained(saved):
    path, _ = saved
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["halo_cm"])
    header["config"]["network"]["width"] = 3
    save_file(tensors, path, metadata={"halo_cm": json.dumps(header)})
    with pytest.raises(CheckpointError, match="does not know"):
        ModelManager.load(path)


def test_initialize_returns_all_cutouts_of_the_file(saved, tmp_path):
    path, _ = saved
    again = make_cutouts(n=3)
    again.realization[:] = 1  # other random draws of the same haloes
    write_cutouts(tmp_path / "haloes.h5", merge(make_cutouts(n=3), again))
    config = make_config(tmp_path / "haloes.h5", path.parents[1])
    data, _ = ModelManager.initialize(config)
    assert data.realization.tolist() == [0, 0, 0, 1, 1, 1]
