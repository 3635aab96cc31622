"""What all tests share: few threads, a trained run, the folder of shared data if there is one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# before numpy and torch are imported: tests run in parallel processes on few cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with data beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder of shared data beside the checkout")
    return folder


@dataclass(frozen=True)
class TrainedRun:
    """A run of the whole pipeline that took seconds; tests must not change it."""

    folder: Path
    """Current directory of the run: configs/, data/ and runs/ are in it."""
    config: Path
    """Its configuration."""
    model: Path
    """Its model file."""
    data: Path
    """Its cutouts."""


TINY_CONFIG = """
name = "consistency"

[data]
path = "data/quickstart.h5"

[data.universe]
preset = "ci"
n_train_boxes = 1
n_particles = 32
n_mesh = 48
n_steps = 5
sigma_8 = [0.85, 0.95]

[network]
channels = [8, 16]
embedding_dimension = 16

[training]
batch_size = 8
processes = 1
log_every = 2

[[training.phases]]
objective = { name = "denoising" }
steps = 20

[[training.phases]]
objective = { name = "regression" }
steps = 4
reference = true

[[training.phases]]
objective = { name = "ect" }
steps = 6

[[training.phases]]
objective = { name = "energy_score" }
steps = 6

[validation]
n_cutouts = 4

[benchmark]
n_cutouts = 6
"""


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """The main job from the simulation to the report, with the smallest universe and network."""
    from halo_cm import pipeline
    from halo_cm.config.loader import ConfigLoader

    folder = tmp_path_factory.mktemp("trained")
    path = folder / "configs" / "consistency.toml"
    path.parent.mkdir()
    path.write_text(TINY_CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pipeline.run(ConfigLoader(path))
    model = folder / "runs" / "consistency" / "model.safetensors"
    return TrainedRun(folder, path, model, folder / "data" / "quickstart.h5")


@pytest.fixture(autouse=True)
def _restore_verbosity() -> Iterator[None]:
    """Undo `set_verbosity`, which commands call: the next test may listen to the log."""
    logger = logging.getLogger("halo_cm")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]
