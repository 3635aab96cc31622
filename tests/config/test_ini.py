"""The legacy INI keys give the same tree as TOML."""

from __future__ import annotations

import pytest

from halo_cm.config.loader import ConfigLoader
from halo_cm.config.objective import resolve_objective
from halo_cm.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "legacy.ini"
        path.write_text(text)
        return path

    return write


def problems(*arguments):
    with pytest.raises(ConfigError) as error:
        ConfigLoader(*arguments)
    return str(error.value).split("\n")


def test_the_documented_defaults(write):
    config = ConfigLoader(write("data = haloes.h5\n"))
    warm_up, consistency = config.training.phases
    assert config.name == "legacy"
    assert (warm_up.objective, warm_up.epochs) == ({"name": "denoising"}, 50)
    assert consistency.objective == {"name": "ct", "n_levels": 18, "ema_decay": 0.999}
    assert (config.diffusion.sigma_min, config.diffusion.sigma_max) == (0.002, 80.0)
    assert config.sampling.n_sampling_steps == 1
    objective = resolve_objective(consistency.objective)
    assert [objective.discretization(p) for p in (0.0, 1.0)] == [18, 18]
    assert [objective.target_decay(p) for p in (0.0, 1.0)] == [0.999, 0.999]


def test_every_documented_key_arrives(write):
    path = write(
        """
        ; both signs begin a comment
        # and a key may stand in any section
        data = haloes.h5
        [MODEL]
        sigma_min = 0.01
        Sigma_Max = 40      # keys in any case
        x0_mode = x0
        n_sampling_steps = 2
        [Training]
        ct_n_steps = 30
        ema_decay = 0.95
        denoising_warmup_epochs = 3
        use_denoising_pretraining = yes
        consistency_epochs = 4
        batch_size = 16
        [[deeper]]
        seed = 7
        universe = ci
        name = "fifty"
        """
    )
    config = ConfigLoader(path, ["network.channels=[8, 16]"])
    assert config.diffusion.sigma_min == 0.01
    assert config.diffusion.sigma_max == 40
    assert config.sampling.n_sampling_steps == 2
    assert [p.epochs for p in config.training.phases] == [3, 4]
    assert config.training.phases[1].objective["n_levels"] == 30
    assert config.training.phases[1].objective["ema_decay"] == 0.95
    assert (config.seed, config.name, config.training.batch_size) == (7, "fifty", 16)
    assert config.data.universe is not None
    assert config.data.universe.preset == "ci"


def test_without_pretraining_there_is_one_phase(write):
    path = write("data = haloes.h5\nuse_denoising_pretraining = False\nct_n_steps = 9\n")
    (phase,) = ConfigLoader(path).training.phases
    assert phase.objective["n_levels"] == 9


def test_problems_are_listed_with_the_nearest_key(write):
    path = write(
        "[A]\nema_dcay = 0.9\nct_n_steps = many\nuse_denoising_pretraining = perhaps\n"
        "x0_mode = dm_copy\nseed = 1\n[B]\nseed = 2\n"
    )
    found = problems(path)
    assert all(line.startswith(f"{path}: ") for line in found)
    text = "\n".join(found)
    assert "unknown key 'ema_dcay'; did you mean 'ema_decay'?" in text
    assert "ct_n_steps = 'many', expected an integer" in text
    assert "use_denoising_pretraining = 'perhaps', expected true or false" in text
    assert "x0_mode = 'dm_copy': a consistency model always predicts the clean field" in text
    assert "seed stands in two sections" in text
    assert "missing key 'data'" in text
    assert len(found) == 6


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ct_n_steps = 1", "key 'ct_n_steps': training.phases.1.objective.n_levels = 1, expected"),
        ("ema_decay = 1.5", "key 'ema_decay': training.phases.1.objective.ema_decay = 1.5"),
        (
            "sigma_max = -1",
            "key 'sigma_max': diffusion.sigma_max = -1.0, expected a number above 0",
        ),
        ("sigma_min = 90", "diffusion: sigma_min = 90 must be below sigma_max = 80"),
        ("denoising_warmup_epochs = 0", "key 'denoising_warmup_epochs': training.phases.0.epochs"),
        ("universe = huge", "key 'universe': data.universe: unknown preset 'huge'"),
    ],
)
def test_values_that_the_tree_refuses_name_the_legacy_key(write, line, message):
    (problem,) = problems(write(f"data = haloes.h5\n{line}\n"))
    assert message in problem


@pytest.mark.parametrize(
    ("text", "line"),
    [("[A\n", 1), ("data = a\nno equals sign\n", 2), ("; x\nseed = 1\nseed = 2\n", 3)],
)
def test_syntax_errors_name_the_line(write, text, line):
    path = write(text)
    (problem,) = problems(path)
    assert problem.startswith(f"{path}, line {line}: not valid INI")


def test_percent_signs_are_plain_text(write):
    config = ConfigLoader(write("data = 100%_of_%(them)s.h5\n"))
    assert str(config.data.path) == "100%_of_%(them)s.h5"


def test_the_shipped_files_load(repository):
    toml = ConfigLoader(repository / "configs" / "consistency.toml")
    ini = ConfigLoader(repository / "configs" / "consistency.ini")
    assert toml.data == ini.data
    assert toml.name != ini.name  # they must not share a run folder
    assert [p.objective["name"] for p in toml.training.phases] == [
        "denoising",
        "regression",
        "ect",
        "energy_score",
    ]
    assert [p.reference for p in toml.training.phases] == [False, True, False, False]
