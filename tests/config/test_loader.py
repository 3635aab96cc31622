"""TOML and overrides into the tree, and messages that say where, what, and what was expected."""

from __future__ import annotations

import pytest
import tomli

from halo_cm.config.loader import ConfigLoader, as_toml, load_universe
from halo_cm.config.schema import Config
from halo_cm.config.universe import PRESETS, UniverseConfig
from halo_cm.errors import ConfigError

SMALL = """
name = "small"

[data]
path = "haloes.h5"

[[training.phases]]
objective = { name = "denoising" }
steps = 10

[[training.phases]]
objective = { name = "ect", q = 8.0 }
epochs = 2
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="small.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problems(*arguments):
    with pytest.raises(ConfigError) as error:
        ConfigLoader(*arguments)
    return str(error.value).split("\n")


def test_a_small_file_gets_the_defaults_of_the_rest(write):
    config = ConfigLoader(write(SMALL))
    assert isinstance(config, Config)
    assert config.name == "small"
    assert config.data.universe is None
    assert config.training.batch_size_of(config.training.phases[0]) == config.training.batch_size
    assert config.diffusion.sigma_max == 80.0
    assert config.run_folder.as_posix() == "runs/small"


def test_the_tree_cannot_be_changed(write):
    config = ConfigLoader(write(SMALL))
    with pytest.raises(ValueError, match="frozen"):
        config.training.batch_size = 3


@pytest.mark.parametrize(
    ("override", "reach", "expected"),
    [
        ("training.batch_size=64", lambda c: c.training.batch_size, 64),
        ("training.phases.0.steps=7", lambda c: c.training.phases[0].steps, 7),
        ("training.phases.1.objective.q=3.0", lambda c: c.training.phases[1].objective["q"], 3.0),
        ("network.channels=[8, 16]", lambda c: c.network.channels, (8, 16)),
        ("name=wide", lambda c: c.name, "wide"),
        ("data.path=../other/haloes.h5", lambda c: str(c.data.path), "../other/haloes.h5"),
        ('output="my runs"', lambda c: str(c.output), "my runs"),
        ("data.universe=ci", lambda c: c.data.universe.preset, "ci"),
        ("data.universe.preset=ci", lambda c: c.data.universe.n_pixels, 16),
        ("sampling.levels.3=[1.0, 0.1]", lambda c: c.sampling.levels, {3: (1.0, 0.1)}),
    ],
)
def test_overrides(write, override, reach, expected):
    changes = [override, "benchmark.steps=[1]"]
    assert reach(ConfigLoader(write(SMALL), changes)) == expected


def test_a_preset_is_filled_up_and_changed(write):
    table = '[data.universe]\npreset = "quickstart"\nn_draws = 3\nbaryons = { reach = 4.0 }\n'
    universe = ConfigLoader(write(SMALL + table)).data.universe
    expected = UniverseConfig.from_preset("quickstart", n_draws=3, baryons={"reach": 4.0})
    assert universe == expected


def test_the_printed_tree_reads_back_as_the_same_config(write):
    config = ConfigLoader(write(SMALL), ["data.universe=quickstart"])
    text = as_toml(config)
    again = ConfigLoader(write(text, "again.toml"))
    assert again.model_dump(exclude={"training"}) == config.model_dump(exclude={"training"})
    assert as_toml(again) == text
    ect = tomli.loads(text)["training"]["phases"][1]["objective"]
    assert ect["q"] == 8.0
    assert ect["n_stages"] == 4  # a default of the objective


def test_a_config_survives_json(write):
    config = ConfigLoader(write(SMALL), ["data.universe=ci"])
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_everything_wrong_is_listed_at_once(write):
    path = write(
        """
        name = "small"
        sede = 1
        [data]
        path = 3
        [network]
        patch_size = 3
        channels = []
        [training]
        batch_size = "64"
        processes = 1.5
        tensorboard = 1
        [[training.phases]]
        objective = { name = "etc" }
        step = 10
        steps = true
        [[training.phases]]
        objective = { name = "ect", q = "wide", n_stage = 3 }
        steps = 10
        [sampling.levels]
        many = [1.0]
        """
    )
    assert problems(path) == [
        f"{path}: {line}"
        for line in (
            "data.path = 3, expected a path, written as a string",
            "network.channels = [], expected at least 1 in the list",
            "network.patch_size = 3, expected 1, 2, 4 or 8",
            "key 'sampling.levels.many', expected an integer",
            "unknown key 'sede'; did you mean 'seed'?",
            'training.batch_size = "64", expected an integer',
            "unknown key 'training.phases.0.step'; did you mean 'steps'?",
            "training.phases.0.steps = true, expected an integer",
            "training.processes = 1.5, expected an integer or 'auto'",
            "training.tensorboard = 1, expected true or false",
            "training.phases.0.objective: unknown objective 'etc'; did you mean 'ect'?",
            "unknown key 'training.phases.1.objective.n_stage'; did you mean 'n_stages'?",
            'training.phases.1.objective.q = "wide", expected a number',
        )
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("diffusion.sigma_min=90", "sigma_min = 90 must be below sigma_max = 80"),
        ("diffusion.rho=nan", "diffusion.rho = nan, expected a finite number"),
        ("diffusion.sigma_max=0.5", "noise levels for 1, 2 steps"),
        ("sampling.levels.4=[4.0, 1.0, 1.0]", "must fall from each level to the next"),
        ("sampling.levels.4=[4.0]", "levels.4 holds 1 levels, expected 3"),
        ("sampling.levels.2=[100.0]", "must lie between"),
        ("sampling.n_sampling_steps=3", "has noise levels for 1, 2, 4, 8 steps"),
        ("benchmark.steps=[1, 16]", "benchmark.steps = 16, but sampling.levels"),
        ("training.processes=3", "batch_size = 32 must be divisible by processes = 3"),
        ("training.phases=[]", "training.phases = [], expected at least 1 in the list"),
        ("training.phases.0.epochs=2", "exactly one of steps and epochs, found both"),
        ("training.phases.0.ema_half_life=0.0", "ema_half_life = 0.0, expected a number above 0"),
        ("training.phases.0.objective={q = 3}", "expected a table with a name"),
        ("training.phases.1.objective.q=1.0", "objective.q = 1.0, expected a number above 1"),
        ("network.attention_levels=[5]", "attention_levels holds 5, but channels has 2 levels"),
        ("data.universe={preset = 'ci', n_pixels = 20}", "must be a multiple of 8"),
        ("data.universe=huge", "unknown preset 'huge', expected one of ci, quickstart"),
        ("name=''", 'name = "", expected a string that is not empty'),
        ("name='a/b'", "expected a word of letters, digits"),
    ],
)
def test_checks(write, change, message):
    path = write(SMALL)
    (line,) = problems(path, [change])
    assert message in line
    assert f"--set {change}" in line  # the file is not to blame


@pytest.mark.parametrize(
    ("diffusion", "steps", "tuned"),
    [
        ({"sigma_min": 0.02}, (1, 2, 4), {2, 4}),
        ({"sigma_min": 0.2}, (1, 2), {2}),
        ({"sigma_max": 0.6}, (1, 2), {2}),
        ({"sigma_min": 1.0}, (1,), set()),
    ],
)
def test_defaults_outside_the_noise_levels_are_left_out(write, diffusion, steps, tuned):
    changes = [f"diffusion.{key}={value}" for key, value in diffusion.items()]
    config = ConfigLoader(write(SMALL), [*changes, "benchmark.steps=[1]"])
    assert config.sampling.known_steps(config.diffusion) == steps
    assert set(config.sampling.tuned_levels(config.diffusion)) == tuned


def test_tuning_rolls_out_exactly_the_levels_that_are_given(write):
    config = ConfigLoader(write(SMALL), ["sampling.levels.2=[0.5]"])
    assert config.sampling.tuned_levels(config.diffusion) == {2: (0.5,)}
    assert config.sampling.known_steps(config.diffusion) == (1, 2, 4, 8)
    config = ConfigLoader(write(SMALL))
    assert config.sampling.tuned_levels(config.diffusion) == {2: (0.3,), 4: (0.6, 0.3, 0.15)}


def test_a_batch_of_one_phase_must_fit_the_processes(write):
    (line,) = problems(write(SMALL), ["training.processes=2", "training.phases.1.batch_size=9"])
    assert "phases.1.batch_size = 9 must be divisible by processes = 2" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.batch_size", "expected key=value"),
        ("=3", "expected key=value"),
        ("training.batch_size=[1", "is not a TOML value"),
        ("name.short=3", "name is a single value, not a table"),
        ("training.phases.5.steps=3", "training.phases is a list with entries 0 to 1, found '5'"),
        ("training.phases.first.steps=3", "found 'first'"),
    ],
)
def test_overrides_that_cannot_be_applied(write, change, message):
    (line,) = problems(write(SMALL), [change])
    assert line.startswith(f"--set {change}")
    assert message in line


def test_a_syntax_error_names_file_and_line(write):
    path = write('name = "a"\nseed == 3\n')
    (line,) = problems(path)
    assert line.startswith(f"{path}, line 2: not valid TOML")


def test_a_missing_file_suggests_its_neighbour(write):
    path = write(SMALL, "consistency.toml")
    (line,) = problems(path.with_name("consistncy.toml"))
    assert "no such file; did you mean 'consistency.toml'?" in line


def test_files_that_are_no_text_or_no_config(write, tmp_path):
    assert "is a .toml or an .ini file" in problems(write(SMALL, "small.yaml"))[0]
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in problems(tmp_path / "bytes.toml")[0]
    assert "cannot be read as text" in problems(_folder(tmp_path / "folder.toml"))[0]


def test_missing_keys_are_named(write):
    path = write("seed = 3\n")
    assert [line.split(": ")[1] for line in problems(path)] == [
        "missing key 'data'",
        "missing key 'name'",
        "missing key 'training'",
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_universes(preset):
    assert load_universe(preset) == UniverseConfig.from_preset(preset)


def test_changes_of_a_universe():
    universe = load_universe("ci", ["n_draws=3", "baryons.gas_core=0.2"])
    assert universe == UniverseConfig.from_preset("ci", n_draws=3, baryons={"gas_core": 0.2})
    with pytest.raises(ConfigError, match="unknown preset 'quickstar'; did you mean 'quickstart'"):
        load_universe("quickstar")
    with pytest.raises(ConfigError, match="--set n_drws=3: unknown key 'n_drws'; did you mean"):
        load_universe("ci", ["n_drws=3"])
    with pytest.raises(ConfigError, match=r"n_draws: expected key=value, such as n_draws=4"):
        load_universe("ci", ["n_draws"])


def _folder(path):
    path.mkdir()
    return path
