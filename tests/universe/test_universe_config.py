"""The configuration of the universe: presets, limits and the fingerprint."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from halo_cm.config.universe import PRESETS, UniverseConfig


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_named(name: str) -> None:
    config = UniverseConfig.from_preset(name)
    assert config.preset == name
    assert config.scales == (6.25, 12.5, 25.0, 50.0)
    # exactly two cells a particle make the lattice resonate with the mesh
    assert 1.3 <= config.n_mesh / config.n_particles <= 1.7


def test_default_preset_is_the_default() -> None:
    assert UniverseConfig.from_preset("default").n_pixels == 64
    assert UniverseConfig.from_preset("quickstart").n_pixels == 32
    assert UniverseConfig.from_preset("large", n_pixels=128).n_map == 2048


def test_boxes_are_split_in_order() -> None:
    config = UniverseConfig(n_train_boxes=2, n_validation_boxes=1, n_test_boxes=2)
    assert [config.split_of(box) for box in range(5)] == [0, 0, 1, 2, 2]
    assert [config.n_realizations(box) for box in range(5)] == [1, 1, 1, 2, 2]
    with pytest.raises(IndexError, match="box 5 of 5"):
        config.split_of(5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_drawz": 3}, "n_drawz"),
        ({"omega_m": (0.4, 0.2)}, "omega_m: expected 0 < low <= high, found 0.4, 0.2"),
        ({"omega_b": 0.25}, "omega_b < omega_m"),
        ({"theta_ej": (0.0, 4.0)}, "theta_ej: expected 0 < low"),
        ({"min_halo_mass": 1e12}, "lighter haloes get no baryons"),
        ({"n_mesh": 64}, "n_mesh = 64 must not be smaller than n_particles = 128"),
        ({"boxsize": 25.0}, "must fit into boxsize = 25.0"),
        ({"boxsize": 51.3}, "whole number of pixels"),
        ({"baryons": {"gas_nu": 1.0}}, "gas_nu"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_values_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        UniverseConfig(**changes)  # type: ignore[arg-type]


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="unknown preset 'big', expected one of ci, quickstart"):
        UniverseConfig.from_preset("big")


def test_fingerprint_follows_the_content_not_the_label() -> None:
    config = UniverseConfig()
    assert config.fingerprint() == UniverseConfig(preset="mine").fingerprint()
    assert config.fingerprint() != UniverseConfig(seed=1).fingerprint()
    assert config.fingerprint() != UniverseConfig(baryons={"clumping": 0.2}).fingerprint()
