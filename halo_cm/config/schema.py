"""The one configuration tree: typed, frozen, unknown keys refused, units in brackets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from halo_cm.config.network import NetworkConfig, UNetConfig
from halo_cm.config.sampling import DiffusionConfig, SamplingConfig
from halo_cm.config.section import Count, Counts, FilePath, Natural, Positive, Section
from halo_cm.config.training import TrainingConfig, ValidationConfig
from halo_cm.config.universe import UniverseConfig
from halo_cm.containers import SPLITS


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
    network: NetworkConfig = UNetConfig()
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
        asked = [("sampling.n_sampling_steps", self.sampling.n_sampling_steps)]
        for name, n_steps in [*asked, *(("benchmark.steps", n) for n in self.benchmark.steps)]:
            self.sampling.check_steps(n_steps, name, self.diffusion)
        universe = self.data.universe
        if universe is not None:
            self._check_splits(universe)
        if universe is not None and universe.n_pixels % self.network.stride:
            raise ValueError(
                f"data.universe.n_pixels = {universe.n_pixels} must be a multiple of "
                f"{self.network.stride} for {self.network.stride_settings}"
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
