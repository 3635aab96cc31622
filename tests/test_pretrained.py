"""Models that come with the package, and the fallback to them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts, make_emulator

from halo_cm import pretrained
from halo_cm.config.objective import resolve_objective
from halo_cm.config.universe import UniverseConfig
from halo_cm.data.cutouts import write_cutouts
from halo_cm.errors import CheckpointError, OutputError
from halo_cm.manager import ModelManager, load_pretrained
from halo_cm.pretrained import shrink
from halo_cm.sampling import sample
from halo_cm.training.checkpoint import MODEL_KIND, read_facts, read_tensors

#: Omega_m, sigma_8, log10 Mc, theta_ej, A_star, s_scatter, log10 M200c.
CENTRE = (0.3, 0.8, 12.5, 4.25, 0.06, 1.0, 13.5)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of shipped weights that holds one small model, ``tiny``."""
    folder = tmp_path / "weights"
    ModelManager.save(make_emulator(), tmp_path / "full.safetensors")
    shrink(tmp_path / "full.safetensors", folder / "tiny.safetensors")
    monkeypatch.setattr(pretrained, "_FOLDER", folder)
    return folder


def draw(model):
    cutouts = make_cutouts(n=2)
    return sample(model, cutouts.condition, 4, 1, parameters=cutouts.parameters, seed=1)


def test_half_precision_weights_draw_nearly_the_same_fields(weights):
    full, small = draw(make_emulator()), draw(load_pretrained("tiny"))
    np.testing.assert_allclose(np.log10(small + 1e9), np.log10(full + 1e9), atol=0.05)
    _, tensors = read_tensors(weights / "tiny.safetensors", MODEL_KIND)
    kinds = {name.split(".")[0]: tensor.dtype for name, tensor in tensors.items()}
    assert kinds == {"denoiser": torch.bfloat16, "normalization": torch.float32}
    assert "torch" in read_facts(weights / "tiny.safetensors", MODEL_KIND)["trained_with"]


def test_unknown_names_and_large_files_are_refused(weights, monkeypatch, tmp_path):
    with pytest.raises(CheckpointError, match=r"no pretrained model 'tyny'.*tiny"):
        load_pretrained("tyny")
    monkeypatch.setattr(pretrained, "LARGEST_FILE", 1000)
    with pytest.raises(OutputError, match="train a smaller network"):
        shrink(tmp_path / "full.safetensors", tmp_path / "large.safetensors")
    assert not (tmp_path / "large.safetensors").exists()


def test_a_run_that_does_not_exist_falls_back_and_says_so(weights, tmp_path, caplog):
    config = make_config(output=tmp_path / "runs")
    assert config.name == "tiny"
    with caplog.at_level(logging.WARNING, logger="halo_cm"):
        data, model = ModelManager.initialize(config, skip_data_loading=True)
    assert data is None
    np.testing.assert_array_equal(draw(model), draw(load_pretrained("tiny")))
    assert "does not exist: using the pretrained model 'tiny' of the package" in caplog.text
    assert "it cannot draw" not in caplog.text
    cutouts = make_cutouts(n=4)
    geometry = replace(cutouts.geometry, scales=tuple(2 * s for s in cutouts.geometry.scales))
    write_cutouts(tmp_path / "wide.h5", replace(cutouts, geometry=geometry))
    with caplog.at_level(logging.WARNING, logger="halo_cm"):
        wide = make_config(path=tmp_path / "wide.h5", output=tmp_path / "runs")
        ModelManager.initialize(wide, skip_data_loading=True)
    assert "it cannot draw for the cutouts of this configuration" in caplog.text
    with pytest.raises(CheckpointError, match="no emulator at"):
        ModelManager.initialize(config)  # with data that it may not fit
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "state.safetensors").write_bytes(b"under way")
    with pytest.raises(CheckpointError, match="no emulator at"):
        ModelManager.initialize(config, skip_data_loading=True)
    ModelManager.save(make_emulator(seed=5), config.run_folder / "model.safetensors")
    _, own = ModelManager.initialize(config, skip_data_loading=True)
    assert not np.array_equal(draw(own), draw(model))


def test_schedules_are_not_rounded(tmp_path):
    model = make_emulator()
    objective = resolve_objective({"name": "vdm", "schedule": "learned_linear"})
    model.use_sampler(objective.sampler, objective.sampler_settings)
    ModelManager.save(model, tmp_path / "full.safetensors")
    small = ModelManager.load(shrink(tmp_path / "full.safetensors", tmp_path / "small.safetensors"))
    for name, tensor in model.denoiser.schedule.state_dict().items():
        assert torch.equal(tensor, small.denoiser.schedule.state_dict()[name]), name


@pytest.mark.parametrize("name", pretrained.pretrained_models())
def test_what_is_shipped_draws_fields_of_the_present_universe(name):
    path = pretrained.pretrained_path(name)
    assert path.stat().st_size < pretrained.LARGEST_FILE
    model = load_pretrained(name)
    universe = UniverseConfig.from_preset("default")
    assert model.geometry.provenance["universe_fingerprint"] == universe.fingerprint()
    n = model.geometry.n_pixels
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    halo = 2e11 / (1 + np.hypot(x, y) / 2) ** 2 + 3e9
    condition = np.stack([halo, *[np.full((n, n), halo.mean() / 2)] * 3])[None]
    parameters = dict(zip(model.geometry.parameter_names, CENTRE, strict=True))
    fields = sample(model, condition.astype(np.float32), 2, parameters=parameters, seed=0)
    assert fields.shape == (1, 2, 3, n, n) and np.isfinite(fields).all()
    # matter is conserved to a few per cent by what the network has learned
    assert fields.sum((2, 3, 4)) == pytest.approx(halo.sum(), rel=0.1)


def test_a_consistency_model_is_shipped():
    assert "consistency" in pretrained.pretrained_models()
