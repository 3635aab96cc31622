"""Noise levels, and how samples are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from halo_cm.config.section import Count, Levels, Positive, Section, StepCount

#: Samplers of plain denoisers; `SamplingConfig.denoiser_solver` chooses among them.
PLAIN_SAMPLERS = ("heun", "dpm", "euler")
#: Noise levels after sigma_max for each number of steps, where nothing else is given or chosen.
DEFAULT_LEVELS: Mapping[int, tuple[float, ...]] = {
    2: (0.3,),
    4: (0.6, 0.3, 0.15),
    8: (0.6, 0.34, 0.19, 0.11, 0.06, 0.035, 0.02),
}
#: Longest of the default rollouts that training tunes: one of 8 steps costs twice one of 4.
_LONGEST_TUNED = 4


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

    @property
    def default_levels(self) -> dict[int, tuple[float, ...]]:
        """Those of `DEFAULT_LEVELS` that lie between sigma_min and sigma_max."""
        return {
            n: levels
            for n, levels in DEFAULT_LEVELS.items()
            if self.sigma_min < levels[-1] and levels[0] < self.sigma_max
        }


class SamplingConfig(Section):
    """How samples are drawn where nothing else is asked for."""

    n_sampling_steps: Count = 1
    """Network evaluations per sample of a consistency model."""
    levels: dict[StepCount, Levels] = Field(default={})
    """Noise levels after sigma_max for each number of steps, falling, in the place of the model's
    own: those that its training chose, else the defaults for 2, 4 and 8 (docs/training.md), as far
    as these lie between sigma_min and sigma_max."""
    choose_levels: bool = True
    """Whether a training ends with a search of the levels for 2, 4 and 8 steps on validation data;
    those given in ``levels`` are kept."""
    denoiser_solver: Literal["heun", "dpm", "euler"] = "heun"
    """Solver of a plain denoiser: Heun and DPM-Solver++(2M) are of second order, Euler of first;
    Heun takes two network evaluations a step, the others one."""
    n_heun_steps: Annotated[int, Field(ge=2)] = 18
    """Levels of the solver of a plain denoiser, whichever it is."""
    n_vdm_steps: Count = 250
    """Ancestral steps of a variational diffusion model, one network evaluation each."""
    n_interpolant_steps: Count = 50
    """Steps of an interpolant's flow."""

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
        return self

    def all_levels(self, diffusion: DiffusionConfig) -> dict[int, tuple[float, ...]]:
        """The defaults within the range of ``diffusion``, and what is given in their place."""
        return {**diffusion.default_levels, **self.levels}

    def tuned_levels(self, diffusion: DiffusionConfig) -> dict[int, tuple[float, ...]]:
        """Levels that energy-score tuning rolls out: those given, else defaults of a few steps."""
        few = {n: lv for n, lv in diffusion.default_levels.items() if n <= _LONGEST_TUNED}
        return self.levels or few

    def with_levels(self, levels: Mapping[int, tuple[float, ...]]) -> SamplingConfig:
        """Copy with these levels in the place of those for the same numbers of steps."""
        return self.model_copy(update={"levels": {**self.levels, **levels}})

    def known_steps(self, diffusion: DiffusionConfig) -> tuple[int, ...]:
        """Numbers of steps that a consistency model has noise levels for."""
        return (1, *sorted(self.all_levels(diffusion)))

    def check_steps(self, n_steps: int, name: str, diffusion: DiffusionConfig) -> None:
        """Check that there are levels for ``n_steps`` steps of a consistency model.

        Raises
        ------
        ValueError
            If there are none; the message calls the number ``name``.
        """
        known_steps = self.known_steps(diffusion)
        if n_steps not in known_steps:
            known = ", ".join(map(str, known_steps))
            raise ValueError(
                f"{name} = {n_steps}, but sampling.levels has noise levels for {known} steps: "
                f"choose one of these or add sampling.levels.{n_steps}"
            )
