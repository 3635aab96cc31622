"""Energy-score tuning of the one-step map (fair scores; Gneiting & Raftery 2007).

At sigma_max a consistency model is a one-step generator ``x = D(sigma_max noise; sigma_max)``.
With two members x1, x2 of the same condition and the truth y, for each feature vector f,

    loss = (|f(x1) - f(y)| + |f(x2) - f(y)|) / 2 - |f(x1) - f(x2)| / 2

is an unbiased estimate of the energy score, proper for the joint distribution of f. Sums over
features stay proper. Consistency models tuned on CRPS: Swift (arXiv:2509.25631); scores on patches
of several scales: arXiv:2506.10868.

Tuning sigma_max alone leaves the lower levels behind, and more steps then make samples worse. A
share of the batches therefore scores the sample of the several-step sampler: earlier evaluations
without gradient, the last one at a lower level with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.objectives.base import Objective, Step
from halo_cm.objectives.features import Feature, apertures, band_powers, patches, pixels, with_total

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch
    from halo_cm.diffusion.denoiser import Denoiser


class EnergyScore(Objective):
    """Settings and loss of energy-score tuning; a weight of 0 switches a group of features off."""

    sampler: ClassVar[Literal["heun", "consistency"]] = "consistency"

    name: Literal["energy_score"] = "energy_score"
    pixel_weight: float = Field(1.0, ge=0, description="pixels, normalised and root-mass")
    patch_weight: float = Field(1.0, ge=0, description="patches of several scales, likewise")
    power_weight: float = Field(0.3, ge=0, description="log band powers, normalised and physical")
    aperture_weight: float = Field(1.0, ge=0, description="log masses in centred apertures")
    patch_scales: tuple[tuple[int, int], ...] = Field(
        ((1, 4), (1, 8), (2, 8), (4, 8)),
        description="(coarsening, width in coarse pixels) of the patches",
    )
    multistep_share: float = Field(
        0.25, ge=0, lt=1, description="share of the batches that tune a later step of the sampler"
    )
    physical: bool = Field(True, description="score physical fields beside the normalised ones")

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Sum of the weighted energy scores; the batch holds one truth for two members."""
        first, second = self.members(step, batch)
        total = batch.x_clean.new_zeros(())
        for weight, feature in self._normalised_features(batch.x_clean.shape[-1]):
            total = total + weight * energy_score(feature, first, second, batch.x_clean)
        if not self.physical:
            return total
        decode = step.normalization.decode
        first, second = (
            decode(x, batch.raw_condition, batch.raw_parameters) for x in (first, second)
        )
        for weight, feature in self._physical_features(step):
            total = total + weight * energy_score(feature, first, second, batch.target)
        return total

    def members(self, step: Step, batch: Batch) -> tuple[Tensor, Tensor]:
        """Two independent samples of each condition, (B, C, H, W) each."""
        condition = torch.cat([batch.condition, batch.condition])
        parameters = torch.cat([batch.parameters, batch.parameters])
        like = torch.cat([batch.x_clean, batch.x_clean])

        def evaluate(denoiser: Denoiser, x: Tensor, level: float) -> Tensor:
            return denoiser(x, like.new_full((len(like),), level), condition, parameters)

        x, level = step.sigma_max * step.noise_like(like), step.sigma_max
        with torch.no_grad():
            for lower in self.rollout(step):
                clean = evaluate(step.frozen, x, level)
                x = clean + math.sqrt(lower**2 - step.sigma_min**2) * step.noise_like(like)
                level = lower
        first, second = evaluate(step.denoiser, x, level).chunk(2)
        return first, second

    def rollout(self, step: Step) -> tuple[float, ...]:
        """Levels below sigma_max that this batch's samples pass; the last one gets the gradient."""
        schedules = [levels for _, levels in sorted(step.sampling_levels.items())]
        u, which, depth = torch.rand(3, generator=step.generator, device=step.generator.device)
        if not schedules or u >= self.multistep_share:
            return ()
        levels = schedules[int(which * len(schedules))]
        return levels[: 1 + int(depth * len(levels))]

    def _normalised_features(self, side: int) -> list[tuple[float, Feature]]:
        features = [(self.pixel_weight, pixels), (self.power_weight, band_powers(contrast=False))]
        features += [
            (self.patch_weight, patches(coarsen, width))
            for coarsen, width in self.patch_scales
            if coarsen * width <= side
        ]
        return [f for f in features if f[0] > 0]

    def _physical_features(self, step: Step) -> list[tuple[float, Feature]]:
        roots, powers, masses = step.normalization.roots, band_powers(contrast=True), apertures
        features: list[tuple[float, Feature]] = [
            (self.pixel_weight, lambda m: pixels(roots(m))),
            (self.patch_weight, lambda m: patches(1, 8)(roots(m))),
            (self.power_weight, lambda m: powers(with_total(m))),
            (self.aperture_weight, lambda m: masses(with_total(m))),
        ]
        return [f for f in features if f[0] > 0]


def energy_score(feature: Feature, first: Tensor, second: Tensor, truth: Tensor) -> Tensor:
    """Fair energy score of two members, averaged over samples and feature vectors.

    Parameters
    ----------
    feature
        Maps (B, C, H, W) to vectors (..., n); the norm is taken over the last axis.
    first, second, truth
        Fields of shape (B, C, H, W).
    """
    f1, f2, y = feature(first), feature(second), feature(truth)
    spread = _norm(f1 - f2)
    return (0.5 * (_norm(f1 - y) + _norm(f2 - y)) - 0.5 * spread).mean()


def _norm(difference: Tensor) -> Tensor:
    # the floor keeps the gradient finite where two members agree, as in empty pixels
    return (difference.square().sum(-1) + 1e-6).sqrt()
