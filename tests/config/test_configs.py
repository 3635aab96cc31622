"""The configurations that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_cm.config.loader import ConfigLoader
from halo_cm.config.objective import available_objectives, resolve_objective

FOLDER = Path(__file__).parents[2] / "configs"
#: All but the file of `halo-cm ablate`, which names one of them.
CONFIGS = sorted(path for path in FOLDER.glob("*.*") if path.stem != "ablations")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_configuration_is_valid_and_named_as_its_file(path):
    config = ConfigLoader(path)
    assert config.name == path.stem or path.suffix == ".ini"
    for phase in config.training.phases:
        resolve_objective(phase.objective)


def test_every_objective_has_a_configuration_that_ends_with_it():
    ends = {ConfigLoader(path).training.phases[-1].objective["name"] for path in CONFIGS}
    assert set(available_objectives()) <= ends
