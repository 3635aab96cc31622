"""What the generators trained on scores share: fair energy scores of several features of a field.

With members x_1 ... x_m of the same condition and the truth y, for each feature vector f,

    score = mean_i |f(x_i) - f(y)| - 1/2 mean_{i != j} |f(x_i) - f(x_j)|

is an unbiased estimate of the energy score (Gneiting & Raftery 2007, section 4.3), proper for the
joint distribution of f. Sums over features stay proper. Scores on patches of several scales:
arXiv:2506.10868. Features pooled over a batch score its haloes, which are independent, jointly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from halo_cm.objectives.base import Objective, Step
from halo_cm.objectives.features import (
    MASS_FLOOR,
    POWER_FLOOR,
    PROMINENCE_FLOOR,
    SHARE_FLOOR,
    Feature,
    apertures,
    band_powers,
    logs,
    masses,
    patches,
    pixels,
    pooled,
    powers,
    prominences,
    shares,
    with_total,
)

if TYPE_CHECKING:
    from halo_cm.data.normalize import Batch


#: Channel of the stars.
STAR = slice(2, 3)
#: Errors of logs that are much smaller than this are not sharpened further by relative scores.
RELATIVE_FLOOR = 0.05


class Term(NamedTuple):
    """A feature, its weight in the loss, and whether its scores are relative to its errors."""

    weight: float
    feature: Feature
    relative: bool = False


class ScoredObjective(Objective):
    """Loss of samples against the truth; a weight of 0 switches a group of features off."""

    sampler: ClassVar[str] = "consistency"

    n_members: int = Field(2, ge=2, description="samples of each condition in the score")
    pixel_weight: float = Field(1.0, ge=0, description="pixels, normalised and root-mass")
    patch_weight: float = Field(1.0, ge=0, description="patches of several scales, likewise")
    power_weight: float = Field(0.3, ge=0, description="log band powers, normalised and physical")
    aperture_weight: float = Field(1.0, ge=0, description="log masses in centred apertures")
    occupied_weight: float = Field(
        1.0, ge=0, description="log share of occupied star pixels in centred squares"
    )
    pooled_weight: float = Field(
        0.5, ge=0, description="logs of power, masses and occupied share, each summed over a batch"
    )
    prominence_weight: float = Field(
        0.0, ge=0, description="log of how far star peaks stand above their neighbours: speckles"
    )
    patch_scales: tuple[tuple[int, int], ...] = Field(
        ((1, 4), (1, 8), (2, 8), (4, 8)),
        description="(coarsening, width in coarse pixels) of the patches",
    )
    physical: bool = Field(True, description="score physical fields beside the normalised ones")
    relative: bool = Field(
        False, description="divide scores of log powers and log masses by their mean errors"
    )

    @abstractmethod
    def members(self, step: Step, batch: Batch) -> Sequence[Tensor]:
        """Samples of each condition that are fair to compare, `n_members` of (B, C, H, W)."""

    def loss(self, step: Step, batch: Batch) -> Tensor:
        """Sum of the weighted energy scores; the batch holds one truth for all members."""
        members = self.members(step, batch)
        total = batch.x_clean.new_zeros(())
        normalised = self._normalised_features(batch.x_clean.shape[-1])
        if self.physical:
            normalised += self._occupied_features(step)
        for term in normalised:
            total = total + _weighted(term, members, batch.x_clean)
        if not self.physical:
            return total
        decode = step.normalization.decode
        members = [decode(x, batch.raw_condition, batch.raw_parameters) for x in members]
        for term in self._physical_features(step):
            total = total + _weighted(term, members, batch.target)
        return total

    def _normalised_features(self, side: int) -> list[Term]:
        terms = [
            Term(self.pixel_weight, pixels),
            Term(self.power_weight, band_powers(contrast=False), self.relative),
        ]
        terms += [
            Term(self.patch_weight, patches(coarsen, width))
            for coarsen, width in self.patch_scales
            if coarsen * width <= side
        ]
        return [term for term in terms if term.weight > 0]

    def _occupied_features(self, step: Step) -> list[Term]:
        occupied = step.normalization.occupied

        def share(x: Tensor) -> Tensor:
            return shares(occupied(x))

        terms = [
            Term(self.occupied_weight, logs(share, SHARE_FLOOR)),
            Term(self.pooled_weight, pooled(share, SHARE_FLOOR)),
        ]
        return [term for term in terms if term.weight > 0]

    def _physical_features(self, step: Step) -> list[Term]:
        roots, power = step.normalization.roots, powers(contrast=True)
        terms = [
            Term(self.pixel_weight, lambda m: pixels(roots(m))),
            Term(self.patch_weight, lambda m: patches(1, 8)(roots(m))),
            Term(
                self.power_weight,
                lambda m: band_powers(contrast=True)(with_total(m)),
                self.relative,
            ),
            Term(self.aperture_weight, lambda m: apertures(with_total(m)), self.relative),
            Term(
                self.prominence_weight,
                logs(lambda m: prominences(roots(m[:, STAR])), PROMINENCE_FLOOR),
                self.relative,
            ),
            Term(self.pooled_weight, pooled(lambda m: power(with_total(m)), POWER_FLOOR)),
            Term(self.pooled_weight, pooled(lambda m: masses(with_total(m)), MASS_FLOOR)),
        ]
        return [term for term in terms if term.weight > 0]


def _weighted(term: Term, members: Sequence[Tensor], truth: Tensor) -> Tensor:
    return term.weight * energy_score(term.feature, members, truth, relative=term.relative)


def energy_score(
    feature: Feature, members: Sequence[Tensor], truth: Tensor, *, relative: bool = False
) -> Tensor:
    """Fair energy score of two or more members, averaged over samples and feature vectors.

    Parameters
    ----------
    feature
        Maps (B, C, H, W) to vectors (..., n); the norm is taken over the last axis.
    members
        Fields of shape (B, C, H, W).
    truth
        Likewise.
    relative
        Divide the score of each feature vector by its mean error in the batch (and
        `RELATIVE_FLOOR`), of which no gradient is taken: what the condition nearly determines, as
        the dark matter's power, then counts as much as what it leaves open. Proper up to terms of
        one over the batch, since its members enter the mean error.
    """
    found, y = [feature(x) for x in members], feature(truth)
    m = len(found)
    error = reduce(torch.add, [_norm(f - y) for f in found]) / m
    spread = reduce(torch.add, [_norm(a - b) for a, b in combinations(found, 2)]) / (m * (m - 1))
    score = error - spread
    if relative:
        score = score / (error.detach().mean(0, keepdim=True) + RELATIVE_FLOOR)
    return score.mean()


def _norm(difference: Tensor) -> Tensor:
    # the floor keeps the gradient finite where two members agree, as in empty pixels
    return (difference.square().sum(-1) + 1e-6).sqrt()
