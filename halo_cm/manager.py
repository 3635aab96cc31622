"""Build, save and load emulators: `ModelManager`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from halo_cm.containers import Geometry
from halo_cm.data.cutouts import read_cutouts
from halo_cm.data.normalize import Normalization
from halo_cm.emulator import Emulator
from halo_cm.errors import CheckpointError
from halo_cm.training.checkpoint import read_tensors, write_tensors

if TYPE_CHECKING:
    import os

    from halo_cm.config.schema import Config
    from halo_cm.containers import Cutouts

logger = logging.getLogger(__name__)
_KIND = "emulator"


class ModelManager:
    """Entry points that users of vdm_BIND know."""

    @staticmethod
    def initialize(
        config: Config, *, skip_data_loading: bool = False
    ) -> tuple[Cutouts | None, Emulator]:
        """The trained model that a config names, and its data.

        Parameters
        ----------
        config
            From `ConfigLoader`.
        skip_data_loading
            Return None in place of the cutouts.

        Returns
        -------
        data, model
            All cutouts of ``config.data.path`` (or None), and the model of
            ``<config.output>/<config.name>/model.safetensors`` in evaluation mode, sampled as
            ``config.sampling`` says.

        Raises
        ------
        CheckpointError
            If the model has not been trained, or its file is damaged.
        DataError
            If the data cannot be read.
        """
        model = ModelManager.load(config.run_folder / "model.safetensors")
        model.use_sampling(config.sampling)
        return (None if skip_data_loading else read_cutouts(config.data.path)), model

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Emulator:
        """Emulator of a model file, on the CPU, in evaluation mode.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, or not made by this version.
        """
        return load_emulator(path)

    @staticmethod
    def save(emulator: Emulator, path: str | os.PathLike[str]) -> None:
        """Write an emulator: weights, statistics, config and geometry in one safetensors file."""
        save_emulator(emulator, path, {})


def save_emulator(
    emulator: Emulator, path: str | os.PathLike[str], training: dict[str, Any]
) -> None:
    """Write an emulator with facts about its training (phase, step, score)."""
    facts = {
        "sampler": emulator.sampler,
        "uses_latent": emulator.uses_latent,
        "config": emulator.config.model_dump(mode="json"),
        "geometry": asdict(emulator.geometry),
        "training": training,
    }
    write_tensors(path, _KIND, emulator.state_dict(), facts)


def load_emulator(path: str | os.PathLike[str]) -> Emulator:
    """Read what `save_emulator` wrote; raises as `ModelManager.load`."""
    from halo_cm.config.schema import Config

    facts, tensors = read_tensors(path, _KIND)
    try:
        geometry = dict(facts["geometry"])
        for name in ("scales", "parameter_names", "channels"):
            geometry[name] = tuple(geometry[name])
        config = Config.model_validate_json(json.dumps(facts["config"]))
        normalization = Normalization(config.normalization, Geometry(**geometry))
        latent = facts.get("uses_latent", False)  # versions before had none
        emulator = Emulator(config, normalization, facts["sampler"], uses_latent=latent)
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"{path} describes a model that this version of halo_cm does not know ({error}); it "
            f"was written by version {facts['versions']['halo_cm']}: use that one, or train again"
        ) from error
    try:
        emulator.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: the weights do not fit the network that the file describes ({error}); it "
            "was changed after it was written, restore it or train again"
        ) from error
    return emulator.eval().requires_grad_(False)
