"""What a model knows about how it is sampled."""

from __future__ import annotations

import json

import pytest
import torch

from halo_cm.config.objective import available_objectives, objective_class
from halo_cm.config.sampling import DiffusionConfig, SamplingConfig
from halo_cm.diffusion.samplers import SAMPLERS, make_sampler
from halo_cm.errors import ConfigError

SETTINGS = {
    "ancestral": {
        "schedule": "learned_nn",
        "gamma_min": -13.3,
        "gamma_max": 5.0,
        "free_ends": False,
    },
    "interpolant_euler": {"x0_mode": "noise", "x0_amplitude": 1.0},
    "interpolant_heun": {"x0_mode": "dm_copy", "x0_amplitude": 0.5},
}
DEFAULTS = {
    "consistency": (1, 1, 1),
    "heun": (18, 35, 1),
    "euler": (18, 18, 1),
    "dpm": (18, 18, 1),
    "ancestral": (250, 250, 251),
    "interpolant_euler": (50, 50, 1),
    "interpolant_heun": (50, 99, 1),
}


def make(name, **sampling):
    if name in ("heun", "euler", "dpm"):
        sampling["denoiser_solver"] = name
    return make_sampler(name, DiffusionConfig(), SamplingConfig(**sampling), SETTINGS.get(name, {}))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_numbers_are_those_of_a_sample(name):
    """Steps, evaluations and noise tensors of the default sample, counted while it is drawn."""
    sampler, calls = make(name), []
    n_steps, nfe, n_draws = DEFAULTS[name]
    assert (sampler.name, sampler.default_steps) == (name, n_steps)
    assert (sampler.nfe(n_steps), sampler.n_draws(n_steps)) == (nfe, n_draws)
    sampler.check_steps(n_steps)

    def denoise(x, sigma):
        assert sigma.shape == (2,) and (sigma > 0).all()
        calls.append(sigma)
        return x / (1 + sigma.view(-1, 1, 1, 1) ** 2)

    noise = iter([torch.randn(2, 3, 4, 4) for _ in range(n_draws)])
    levels = sampler.levels(n_steps, sampler.make_schedule())
    x = sampler.sample(denoise, noise, levels, torch.zeros(2, 4, 4, 4))
    assert x.shape == (2, 3, 4, 4) and x.isfinite().all()
    assert len(calls) == nfe and next(noise, None) is None


@pytest.mark.parametrize("name", SAMPLERS)
def test_settings_survive_a_file(name):
    sampler = make(name)
    settings = json.loads(json.dumps(sampler.settings))
    assert make_sampler(name, sampler.diffusion, sampler.sampling, settings) == sampler


def test_the_boundary_is_that_of_a_consistency_map_alone():
    boundaries = {name: make(name).boundary for name in SAMPLERS}
    assert boundaries.pop("consistency") == 0.002
    assert set(boundaries.values()) == {0.0}


def test_the_config_chooses_the_solver_of_a_plain_denoiser_alone():
    sampling = SamplingConfig(denoiser_solver="dpm")
    for name in ("heun", "euler", "dpm"):
        assert make_sampler(name, DiffusionConfig(), sampling, {}).name == "dpm"
    assert make_sampler("consistency", DiffusionConfig(), sampling, {}).name == "consistency"


@pytest.mark.parametrize("name", available_objectives())
def test_every_objective_names_a_sampler(name):
    objective = objective_class(name)()
    sampler = make_sampler(
        objective.sampler, DiffusionConfig(), SamplingConfig(), objective.sampler_settings
    )
    assert sampler.name == objective.sampler


def test_what_cannot_be_sampled():
    with pytest.raises(ConfigError, match="unknown sampler 'flow'"):
        make("flow")
    with pytest.raises(ConfigError, match="at least 2 for a dpm sampler"):
        make("dpm").check_steps(1)
    with pytest.raises(ConfigError, match="noise levels for 1, 2, 4, 8 steps"):
        make("consistency").check_steps(3)
    with pytest.raises(TypeError):
        make_sampler("heun", DiffusionConfig(), SamplingConfig(), {"x0_mode": "noise"})
