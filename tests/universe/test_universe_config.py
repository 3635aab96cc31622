"""The configuration of the universe: presets, limits and the fingerprint."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from halo_cm.config.universe import PRESETS, UNIVERSE_VERSION, UniverseConfig


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
        ({"design": "CV", "n_draws": 3}, "n_draws = 3: the design CV has draws of its own"),
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


@pytest.mark.parametrize("splits", [(7, 1, 1), (0, 1, 8), (1, 8, 0)])
def test_boxes_of_equal_phases_stay_in_one_split(splits: tuple[int, int, int]) -> None:
    names = ("n_train_boxes", "n_validation_boxes", "n_test_boxes")
    with pytest.raises(ValueError, match=r"share their random phases.* found \d, \d, \d"):
        UniverseConfig.from_preset("1P", **dict(zip(names, splits, strict=True)))
    UniverseConfig.from_preset("1P", n_train_boxes=9, n_test_boxes=0)


@pytest.mark.parametrize("design", ["1P", "CV"])
def test_sets_with_draws_of_their_own_take_no_number_of_draws(design: str) -> None:
    with pytest.raises(ValueError, match=rf"n_draws = 3: the design {design} has draws of its own"):
        UniverseConfig.from_preset(design, n_draws=3)
    config = UniverseConfig.from_preset(design)
    # the copy in a file holds every field
    assert UniverseConfig.model_validate_json(config.model_dump_json()) == config
    # a preset's own number belongs to its own design
    boxes = {"n_train_boxes": 9, "n_validation_boxes": 0, "n_test_boxes": 0}
    assert (
        "n_draws" not in UniverseConfig.from_preset("ci", design=design, **boxes).model_fields_set
    )


def test_defaults_do_not_change_under_an_old_version() -> None:
    """Files hold the fingerprint, to which defaults do not add: a new default needs a new version.

    If this fails, look at what you have changed in `UniverseConfig` or `BaryonConfig`.

    - The default of a setting: raise UNIVERSE_VERSION, and write it and the new hash here. Files
      that were made before are then not taken for files of the changed universe.
    - A new setting, whose default leaves all files as they are: write the new hash here, and leave
      the version.
    """
    content = json.dumps(UniverseConfig().model_dump(mode="json"), sort_keys=True)
    digest = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
    pinned = (3, "20ba3319f16b5bbb")
    assert (UNIVERSE_VERSION, digest) == pinned, "see the docstring of this test for what to do"


def test_the_fingerprint_of_the_quickstart_does_not_change_by_accident() -> None:
    """If this fails without a new UNIVERSE_VERSION, files of all users are simulated again.

    That is right after a change of the preset, and with a new version; write the new one here then.
    """
    assert UniverseConfig.from_preset("quickstart").fingerprint() == "a49dc27006182124"
