"""The section of the network: one table for each backbone, and what it says of other keys."""

from __future__ import annotations

import pytest

from halo_cm.config.loader import ConfigLoader, as_toml
from halo_cm.config.network import DiTConfig, UNetConfig
from halo_cm.config.schema import Config
from halo_cm.errors import ConfigError

TEXT = """
name = "small"
data.path = "haloes.h5"

[[training.phases]]
objective = { name = "denoising" }
steps = 10
"""


@pytest.fixture
def load(tmp_path):
    def read(network):
        path = tmp_path / "small.toml"
        path.write_text(TEXT + network)
        return ConfigLoader(path)

    return read


@pytest.fixture
def problems(load):
    def lines(network):
        with pytest.raises(ConfigError) as error:
            load("[network]\n" + network)
        return [line.partition("small.toml: ")[2] for line in str(error.value).split("\n")]

    return lines


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("", UNetConfig()),
        ("[network]\nchannels = [8]", UNetConfig(channels=(8,))),
        ('[network]\nbackbone = "unet"', UNetConfig()),
        ('[network]\nbackbone = "dit"', DiTConfig()),
        ('[network]\nbackbone = "dit"\nwidth = 64\nn_heads = 2', DiTConfig(width=64, n_heads=2)),
    ],
)
def test_the_backbone_chooses_the_section(load, network, expected):
    config = load(network)
    assert config.network == expected and type(config.network) is type(expected)
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_the_printed_tree_shows_the_settings_of_the_backbone_alone(load):
    text = as_toml(load('[network]\nbackbone = "dit"'))
    network = text.partition("[network]")[2].partition("\n\n")[0]
    assert "n_heads = 4" in network and "channels = [" not in network
    assert load(text.partition("[network]")[1] + network).network == DiTConfig()


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ('backbone = "dti"', ["network.backbone = \"dti\", expected 'unet' or 'dit'"]),
        ("backbone = 3", ["network.backbone = 3, expected 'unet' or 'dit'"]),
        (
            'backbone = "dit"\nchannels = [8]',
            [
                "unknown key 'network.channels' for network.backbone = \"dit\": it is a setting "
                'of "unet"'
            ],
        ),
        (
            "depth = 3",
            [
                "unknown key 'network.depth' for network.backbone = \"unet\": it is a setting "
                'of "dit"'
            ],
        ),
        ('backbone = "dit"\nwidht = 8', ["unknown key 'network.widht'; did you mean 'width'?"]),
        ("chanels = [8]", ["unknown key 'network.chanels'; did you mean 'channels'?"]),
        (
            'backbone = "dit"\nwidth = 6\npatch_size = 3\nmlp_ratio = 0',
            [
                "network.mlp_ratio = 0, expected a number of at least 1",
                "network.patch_size = 3, expected 1, 2, 4 or 8",
                "network.width = 6, expected a multiple of 4",
            ],
        ),
        (
            'backbone = "dit"\nn_heads = 3',
            ["network: width = 128 must be divisible by n_heads = 3"],
        ),
        (
            "attention_levels = [2]",
            ["network: attention_levels holds 2, but channels has 2 levels: expected 0 to 1"],
        ),
    ],
)
def test_what_does_not_fit_is_named(problems, network, expected):
    assert problems(network) == expected


def test_a_value_in_place_of_the_table(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("network = 3\n" + TEXT)
    with pytest.raises(ConfigError, match=r"network = 3, expected a table"):
        ConfigLoader(path)


@pytest.mark.parametrize(
    ("shape", "stride", "settings"),
    [
        (UNetConfig(patch_size=2, channels=(8, 8, 8)), 8, "and 3 levels in network.channels"),
        (DiTConfig(patch_size=8), 8, "network.patch_size = 8"),
    ],
)
def test_maps_that_cannot_be_divided_are_refused(shape, stride, settings):
    assert shape.stride == stride
    shape.check_size(64)
    with pytest.raises(ConfigError, match=f"maps of 20 pixels .* multiple of 8 for .*{settings}"):
        shape.check_size(20)


def test_blocks_of_noise_must_divide_the_maps():
    shape = UNetConfig(patch_size=2, channels=(8,), noise_blocks=3)
    shape.check_size(24)
    with pytest.raises(ConfigError, match=r"maps of 32 pixels .*network\.noise_blocks = 3"):
        shape.check_size(32)


def test_the_universe_must_fit_the_stride(load):
    universe = '[data.universe]\npreset = "quickstart"\nn_pixels = 20\n'
    text = '[network]\nbackbone = "dit"\npatch_size = 8\n'
    with pytest.raises(ConfigError, match=r"n_pixels = 20 must be a multiple of 8 for network\."):
        load(text + universe)
