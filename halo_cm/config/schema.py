"""The one configuration tree: typed, frozen, unknown keys refused, units in brackets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from halo_cm.config.universe import UniverseConfig
from halo_cm.containers import SPLITS
from halo_cm.errors import ConfigError

# Strict inside (``"64"`` is not a number, ``1`` is not true), lenient where TOML and JSON have only
# lists and strings for Python's tuples and paths.
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
FilePath = Annotated[Path, Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]
Naturals = Annotated[tuple[Natural, ...], Field(strict=False)]
Levels = Annotated[tuple[Positive, ...], Field(strict=False)]
StepCount = Annotated[int, Field(ge=2, strict=False)]


class Section(BaseModel):
    """Base of the sections of the tree."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class DataConfig(Section):
    """Where the cutouts are, and the universe that makes them if they are not there."""

    path: FilePath
    """File of cutouts (HDF5), relative to the current directory."""
    universe: UniverseConfig | None = None
    """Embedded universe to simulate if ``path`` is absent: a preset and changes to it."""

    @field_validator("universe", mode="before")
    @classmethod
    def _apply_preset(cls, value: Any) -> Any:
        """Fill a table ``{preset = "quickstart", ...}`` (or the bare name) up from its preset."""
        changes = {"preset": value} if isinstance(value, str) else value
        if not isinstance(changes, Mapping) or changes.get("preset", "custom") == "custom":
            return value
        preset = UniverseConfig.from_preset(changes["preset"])
        return {**preset.model_dump(exclude_unset=True), **changes}


class NormalizationConfig(Section):
    """How masses become the numbers that the network sees."""

    targets: Literal["ratio", "log"] = "ratio"
    """Dark matter and gas as the ratio to a mean relation of the input, or as plain logarithms."""
    mass_floor: Positive = 1e9
    """Mass m0 in log10(1 + m / m0) [Msun/h]."""
    star_exponent: Annotated[float, Field(gt=0, le=1)] = 1 / 6
    """Exponent p of the transform (m / m0)^p of stellar masses."""
    star_threshold: Annotated[float, Field(ge=0)] = 1e6
    """Generated star pixels below this are empty, about one stellar particle [Msun/h]."""


class NetworkConfig(Section):
    """Shape of the U-Net."""

    patch_size: Literal[1, 2, 4, 8] = 4
    """Side of the patches that the stem folds into channels [pixels]."""
    channels: Annotated[Counts, Field(min_length=1)] = (64, 128)
    """Width of each level; every level halves the resolution of the one before."""
    blocks_per_level: Count = 1
    """Residual blocks in each level on the way down."""
    embedding_dimension: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Size of the embedding of noise level and parameters."""
    head_channels: Count = 16
    """Width of the head at full resolution."""
    attention_levels: Naturals = ()
    """Levels with self-attention, counted from 0 (the finest)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations dropped in each block while training."""

    @model_validator(mode="after")
    def _check(self) -> NetworkConfig:
        beyond = [level for level in self.attention_levels if level >= len(self.channels)]
        if beyond:
            raise ValueError(
                f"attention_levels holds {beyond[0]}, but channels has {len(self.channels)} "
                f"levels: expected 0 to {len(self.channels) - 1}"
            )
        return self

    @property
    def stride(self) -> int:
        """Number by which the sides of the maps must be divisible [pixels]."""
        return int(self.patch_size * 2 ** (len(self.channels) - 1))

    def check_size(self, n_pixels: int) -> None:
        """Check that maps of this size can be halved as often as the network does.

        Parameters
        ----------
        n_pixels
            Side of the maps [pixels].

        Raises
        ------
        ConfigError
            If ``n_pixels`` is not a multiple of `stride`.
        """
        if n_pixels % self.stride:
            raise ConfigError(
                f"maps of {n_pixels} pixels do not fit the network: network.patch_size = "
                f"{self.patch_size} and {len(self.channels)} levels in network.channels need a "
                f"multiple of {self.stride}; use fewer levels or a smaller patch_size"
            )


class DiffusionConfig(Section):
    """Noise levels, in units of the normalised targets (recipes after Karras et al. 2022)."""

    sigma_min: Positive = 0.002
    """Smallest noise level, where the consistency map is the identity."""
    sigma_max: Positive = 80.0
    """Largest noise level, where sampling starts."""
    rho: Positive = 7.0
    """Exponent of the spacing of the levels."""

    @model_validator(mode="after")
    def _check(self) -> DiffusionConfig:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min = {self.sigma_min:g} must be below sigma_max = {self.sigma_max:g}"
            )
        return self


class PhaseConfig(Section):
    """One phase of the training: what is minimised, and for how long."""

    objective: dict[str, Any]
    """Name of the objective and its settings, ``{ name = "ect", q = 4.0 }``."""
    steps: Count | None = None
    """Length [optimiser steps]; either this or ``epochs``."""
    epochs: Count | None = None
    """Length [passes over the training split]; either this or ``steps``."""
    learning_rate: Positive = 1e-3
    """Learning rate after the warm-up."""
    batch_size: Count | None = None
    """Cutouts per step over all processes; ``training.batch_size`` if absent."""
    ema_half_life: Positive = 0.05
    """Half-life of the weights' moving average [share of the phase's steps]."""
    decay_share: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of the phase, at its end, over which the learning rate falls to zero."""
    validate_every: Count | None = None
    """Steps between validations; ``validation.every`` if absent."""
    optimizer: Literal["adamw", "radam"] = "adamw"
    """Optimiser."""
    reference: bool = False
    """A model to compare with: the next phase starts from the weights that this one started from,
    and the model of the run is never taken from it."""

    @field_validator("objective")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("name"), str):
            raise ValueError('expected a table with a name, such as { name = "ect" }')
        return value

    @model_validator(mode="after")
    def _check(self) -> PhaseConfig:
        if (self.steps is None) == (self.epochs is None):
            found = "neither" if self.steps is None else "both"
            raise ValueError(f"expected exactly one of steps and epochs, found {found}")
        return self

    def n_steps(self, n_cutouts: int, batch_size: int) -> int:
        """Length of the phase in optimiser steps.

        Parameters
        ----------
        n_cutouts
            Cutouts in the training split.
        batch_size
            Cutouts per step over all processes.
        """
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 0) * n_cutouts / batch_size))


class TrainingConfig(Section):
    """Phases and what they share."""

    phases: Annotated[tuple[PhaseConfig, ...], Field(strict=False, min_length=1)]
    """The phases in order; each starts from the averaged weights of the one before."""
    batch_size: Count = 32
    """Cutouts per step over all processes."""
    processes: Count | Literal["auto"] = "auto"
    """Training processes; ``"auto"`` takes one per core, or one for a GPU."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of `accelerate`."""
    warmup_steps: Natural = 50
    """Steps over which the learning rate rises at the start of each phase."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient."""
    log_every: Count = 20
    """Steps between lines of the log."""
    checkpoint_every: Count = 200
    """Steps between saved training states."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs the extra ``tensorboard``)."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.phases[-1].reference:
            raise ValueError(
                f"phases.{len(self.phases) - 1}.reference = true, but the last phase makes the "
                "model of the run: put references before it"
            )
        if self.processes == "auto":
            return self
        named = {"batch_size": self.batch_size}
        for index, phase in enumerate(self.phases):
            if phase.batch_size is not None:
                named[f"phases.{index}.batch_size"] = phase.batch_size
        for name, size in named.items():
            if size % self.processes:
                raise ValueError(
                    f"{name} = {size} must be divisible by processes = {self.processes}"
                )
        return self

    def batch_size_of(self, phase: PhaseConfig) -> int:
        """Cutouts per step of a phase, over all processes."""
        return phase.batch_size or self.batch_size


class ValidationConfig(Section):
    """Sampled validation, which chooses the best weights."""

    every: Count = 200
    """Steps between validations."""
    n_cutouts: Count = 64
    """Cutouts of the validation split that are sampled."""
    n_members: Annotated[int, Field(ge=2)] = 4
    """Samples of each of them."""


class SamplingConfig(Section):
    """How samples are drawn where nothing else is asked for."""

    n_sampling_steps: Count = 1
    """Network evaluations per sample of a consistency model."""
    levels: Annotated[dict[StepCount, Levels], Field()] = {2: (0.3,), 4: (0.6, 0.3, 0.15)}
    """Noise levels after sigma_max for each number of steps, falling; the defaults were chosen on
    validation data (docs/training.md)."""
    n_heun_steps: Annotated[int, Field(ge=2)] = 18
    """Levels of the Heun sampler of a plain denoiser."""

    @model_validator(mode="after")
    def _check(self) -> SamplingConfig:
        for steps, levels in self.levels.items():
            name = f"levels.{steps}"
            if len(levels) != steps - 1:
                raise ValueError(
                    f"{name} holds {len(levels)} levels, expected {steps - 1}: the first of the "
                    f"{steps} steps starts at sigma_max"
                )
            if any(b >= a for a, b in pairwise(levels)):
                raise ValueError(f"{name} = {list(levels)} must fall from each level to the next")
        self.check_steps(self.n_sampling_steps, "n_sampling_steps")
        return self

    def check_steps(self, n_steps: int, name: str) -> None:
        """Check that there are levels for ``n_steps`` steps of a consistency model.

        Raises
        ------
        ValueError
            If there are none; the message calls the number ``name``.
        """
        if n_steps != 1 and n_steps not in self.levels:
            known = ", ".join(str(n) for n in (1, *sorted(self.levels)))
            raise ValueError(
                f"{name} = {n_steps}, but sampling.levels has noise levels for {known} steps: "
                f"choose one of these or add sampling.levels.{n_steps}"
            )


class BenchmarkConfig(Section):
    """First look at the truth, on boxes that training never saw."""

    n_cutouts: Count = 256
    """Most cutouts of the test split that are sampled."""
    n_members: Annotated[int, Field(ge=2)] = 4
    """Samples of each of them."""
    steps: Annotated[Counts, Field(min_length=1)] = (1, 2, 4)
    """Numbers of sampling steps, a row of the table for each."""


class Config(Section):
    """Everything that defines a run."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """Name of the model and of its folder under ``output``."""
    seed: Natural = 0
    """Seed of the training and of the samples (the universe has its own)."""
    output: FilePath = Path("runs")
    """Folder that holds the folders of runs, relative to the current directory."""
    data: DataConfig
    normalization: NormalizationConfig = NormalizationConfig()
    network: NetworkConfig = NetworkConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    sampling: SamplingConfig = SamplingConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        low, high = self.diffusion.sigma_min, self.diffusion.sigma_max
        for steps, levels in self.sampling.levels.items():
            if levels and not (low < levels[-1] and levels[0] < high):
                raise ValueError(
                    f"sampling.levels.{steps} = {list(levels)} must lie between diffusion.sigma_min"
                    f" = {low:g} and diffusion.sigma_max = {high:g}"
                )
        for n_steps in self.benchmark.steps:
            self.sampling.check_steps(n_steps, "benchmark.steps")
        universe = self.data.universe
        if universe is not None:
            self._check_splits(universe)
        if universe is not None and universe.n_pixels % self.network.stride:
            raise ValueError(
                f"data.universe.n_pixels = {universe.n_pixels} must be a multiple of "
                f"{self.network.stride}, the stride that network.patch_size and network.channels "
                "give"
            )
        return self

    @staticmethod
    def _check_splits(universe: UniverseConfig) -> None:
        for split in SPLITS:
            if not getattr(universe, f"n_{split}_boxes"):
                raise ValueError(
                    f"data.universe.n_{split}_boxes = 0 (preset {universe.preset}), but a training "
                    "needs boxes for training, validation and test"
                )

    @property
    def run_folder(self) -> Path:
        """Folder of this run: weights, log, report."""
        return self.output / self.name

    def with_data(self, path: Path) -> Config:
        """Copy that reads a file of the user's and simulates nothing.

        Parameters
        ----------
        path
            File of cutouts.
        """
        return self.model_copy(update={"data": DataConfig(path=path)})
