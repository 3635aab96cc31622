"""Build, save and load emulators: `ModelManager`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from halo_cm.containers import Geometry
from halo_cm.data.cutouts import read_cutouts, read_geometry
from halo_cm.data.geometry import check_geometry
from halo_cm.data.normalize import Normalization
from halo_cm.emulator import Emulator
from halo_cm.errors import CheckpointError, ConfigError, DataError
from halo_cm.pretrained import pretrained_models, pretrained_path
from halo_cm.training.checkpoint import MODEL_KIND, read_tensors, write_tensors
from halo_cm.training.run_folder import RunFolder

if TYPE_CHECKING:
    import os

    from halo_cm.config.schema import Config
    from halo_cm.containers import Cutouts

logger = logging.getLogger(__name__)


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
            ``config.sampling`` says. With ``skip_data_loading``, where no training was started,
            the model of this name that comes with the package, sampled at its own levels; the log
            says so.

        Raises
        ------
        CheckpointError
            If the model has not been trained and none of its name comes with the package, or if
            its file is damaged.
        DataError
            If the data cannot be read.
        """
        folder = RunFolder(config)
        path, started = folder.model, folder.model.is_file() or folder.state.is_file()
        if started or not skip_data_loading or config.name not in pretrained_models():
            model = ModelManager.load(path)
            model.use_sampling(config.sampling)
        else:
            model = _shipped_instead(config, path)
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


def _shipped_instead(config: Config, path: Path) -> Emulator:
    """The model of the config's name that comes with the package."""
    model = load_pretrained(config.name)
    n_pixels, width = model.geometry.n_pixels, model.geometry.field_of_view
    logger.warning(
        "%s does not exist: using the pretrained model %r of the package, for maps of %d pixels "
        "and %g Mpc/h; train your own with `python train_unified.py --model %s`",
        *(path, config.name, n_pixels, width, config.name),
    )
    if (data := Path(config.data.path)).is_file():
        try:
            check_geometry(data, read_geometry(data), model.geometry)
        except DataError as problem:
            logger.warning("it cannot draw for the cutouts of this configuration: %s", problem)
    n_steps = config.sampling.n_sampling_steps
    model.use_sampling(model.config.sampling.model_copy(update={"n_sampling_steps": n_steps}))
    return model


def load_pretrained(name: str = "consistency") -> Emulator:
    """Model that comes with the package, on the CPU, in evaluation mode.

    It was trained on the embedded universe; docs/models.md says how, for what it is meant, and how
    good it is. Needs no data and no training.

    Parameters
    ----------
    name
        One of `pretrained_models`.

    Raises
    ------
    CheckpointError
        If there is no such model.

    Examples
    --------
    >>> from halo_cm import load_pretrained
    >>> load_pretrained("consistency").geometry.n_pixels
    64
    """
    return load_emulator(pretrained_path(name))


def save_emulator(
    emulator: Emulator, path: str | os.PathLike[str], training: dict[str, Any]
) -> None:
    """Write an emulator with facts about its training (phase, step, score)."""
    facts = {
        "sampler": emulator.sampler.name,
        "sampler_settings": emulator.sampler.settings,
        "uses_latent": emulator.uses_latent,
        "config": emulator.config.model_dump(mode="json"),
        "geometry": asdict(emulator.geometry),
        "training": training,
    }
    write_tensors(path, MODEL_KIND, emulator.state_dict(), facts)


def load_emulator(path: str | os.PathLike[str]) -> Emulator:
    """Read what `save_emulator` wrote; raises as `ModelManager.load`."""
    from halo_cm.config.schema import Config

    facts, tensors = read_tensors(path, MODEL_KIND)
    try:
        geometry = dict(facts["geometry"])
        for name in ("scales", "parameter_names", "channels"):
            geometry[name] = tuple(geometry[name])
        config = Config.model_validate_json(json.dumps(facts["config"]))
        normalization = Normalization(config.normalization, Geometry(**geometry))
        emulator = Emulator(config, normalization, "consistency")
        # versions before had neither settings nor latent noise
        settings, latent = facts.get("sampler_settings", {}), facts.get("uses_latent", False)
        emulator.use_sampler(facts["sampler"], settings, uses_latent=latent)
    except (ConfigError, DataError, KeyError, TypeError, ValidationError) as error:
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
