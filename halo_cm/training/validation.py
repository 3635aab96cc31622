"""The figure that chooses the model of a run: samples against truth in physical units.

A consistency loss falls when a model collapses, so it is never used for this.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from halo_cm.data.ranges import already_warned
from halo_cm.errors import DataError
from halo_cm.sampling import sample
from halo_cm.statistics.bootstrap import bootstrap_weights
from halo_cm.statistics.calibration import crps_fair
from halo_cm.statistics.features import field_features
from halo_cm.statistics.power import power_spectrum_2d

if TYPE_CHECKING:
    from halo_cm.containers import Cutouts, FloatArray
    from halo_cm.emulator import Emulator

_N_RESAMPLES = 200


@dataclass(frozen=True)
class ValidationScore:
    """Errors of samples on validation cutouts; lower is better.

    Attributes
    ----------
    score
        ``power + crps + mass``: what the model of a run is chosen by. P is the power of the
        overdensity and does not see a factor on all masses; the CRPS of their logs gives it little
        weight.
    power
        Mean over channels and wavenumbers up to half Nyquist of |ln(P / P_true)|, with P averaged
        over cutouts.
    crps
        Mean fair CRPS of log10 aperture masses and band powers [dex].
    mass
        Mean over channels of |ln(mean mass / true mean mass)|.
    resamples
        ``score`` in bootstrap resamples of the haloes, the same ones for all models.
    """

    score: float
    power: float
    crps: float
    mass: float
    resamples: tuple[float, ...] = field(default=(), repr=False)

    @property
    def error(self) -> float:
        """Standard error of ``score`` by the haloes at hand, 0 if there is one; boxes are fixed.

        Where the mean mass or the power is right, absolute values fold its resamples: the error is
        then too large, by up to two thirds.
        """
        return float(np.std(self.resamples)) if self.resamples else 0.0

    def as_dict(self) -> dict[str, float]:
        """For the log: with ``error`` in the place of ``resamples``."""
        found = {k: v for k, v in asdict(self).items() if k != "resamples"}
        return {**found, "error": self.error}

    def competes_with(self, best: ValidationScore | None) -> bool:
        """Whether later weights of this score take the place of the best so far.

        They do unless they are worse by more than twice the error of the difference, resampled
        together: among weights that the haloes at hand cannot tell apart, those trained longest are
        kept, and not those whose noise fits the noise of the validation box. (The rule of one
        standard error, Breiman et al. 1984, section 3.4.3, chooses in the same spirit.) The error
        counts at most as if both were independent and as precise as the best: samples that err
        wildly must not excuse themselves by it.
        """
        if best is None or self.score <= best.score:
            return True
        paired = replace(self, resamples=tuple(np.subtract(self.resamples, best.resamples))).error
        return self.score - best.score <= 2 * min(paired, math.sqrt(2) * best.error)


class Validator:
    """Scores an emulator on a fixed choice of validation cutouts.

    Parameters
    ----------
    cutouts
        The validation split, with targets.
    n_cutouts, n_members
        Cutouts used (evenly spread over the split) and samples drawn for each.
    seed
        Of the samples: every checkpoint is scored on the same noise.
    """

    def __init__(self, cutouts: Cutouts, n_cutouts: int, n_members: int, seed: int) -> None:
        rows = np.unique(np.linspace(0, len(cutouts) - 1, n_cutouts).round().astype(int))
        chosen = cutouts.select(rows)
        if chosen.target is None:
            raise ValueError("validation needs cutouts with targets")
        self._cutouts, self._truth = chosen, chosen.target
        self._n_members, self._seed = n_members, seed
        self._scored = False
        self._width = cutouts.geometry.field_of_view
        self._true_power = self._power(self._truth)
        self._true_mass = self._truth.mean((2, 3), np.float64)
        mean = self._true_power.mean(0)
        if not (mean > 0).all():
            empty = np.argwhere(mean <= 0)[0, 0]
            raise DataError(
                f"the validation cutouts hold no structure in {cutouts.geometry.channels[empty]}: "
                "no model can be chosen by its power spectrum: use more validation cutouts"
            )
        self._true_features = field_features(self._truth, self._width)
        self._weights = _weights_of_resamples(chosen, seed)

    def score(self, emulator: Emulator, n_steps: int | None = None) -> ValidationScore:
        """Draw samples and compare them with the truth."""
        with already_warned() if self._scored else nullcontext():
            fields = sample(
                emulator,
                self._cutouts.condition,
                self._n_members,
                n_steps,
                parameters=self._cutouts.parameters,
                seed=self._seed,
            )
        self._scored = True
        crps = crps_fair(field_features(fields, self._width), self._true_features)
        crps = crps.reshape(len(crps), -1).mean(1)
        power = self._error(self._power(fields).mean(1), self._true_power)
        mass = self._error(fields.mean((1, 3, 4), np.float64), self._true_mass)
        scores = power + self._weights @ crps + mass
        return ValidationScore(
            score=float(scores[0]),
            power=float(power[0]),
            crps=float(crps.mean()),
            mass=float(mass[0]),
            resamples=tuple(scores[1:].tolist()),
        )

    def _error(self, values: FloatArray, true: FloatArray) -> FloatArray:
        """Mean |ln(mean / true mean)| of each resample, from values of shape (N, ...)."""
        mean, true = (np.tensordot(self._weights, x, 1) for x in (values, true))
        # a resample may lack stars: nothing is compared there
        ratio = np.divide(mean, true, out=np.ones_like(mean), where=true > 0)
        errors = np.abs(np.log(np.maximum(ratio, 1e-6)))
        return np.asarray(errors.reshape(len(errors), -1).mean(1))

    def _power(self, fields: FloatArray) -> FloatArray:
        """Power up to half Nyquist of each map, shape (..., C, K)."""
        spectrum = power_spectrum_2d(fields, self._width, window="hann", empty="zero")
        return spectrum.power[..., : spectrum.bins_up_to(0.5)]


def _weights_of_resamples(cutouts: Cutouts, seed: int) -> FloatArray:
    """Weights of N cutouts in means, shape (1 + B, N): all of them, then B bootstrap resamples.

    Haloes are resampled, with all their cutouts; the weights of one halo alone have no error.
    """
    uniform = np.ones((1, len(cutouts)))
    haloes = np.unique((cutouts.box, cutouts.halo), axis=1, return_inverse=True)[1].ravel()
    several = haloes.max() > 0
    drawn = bootstrap_weights(haloes, _N_RESAMPLES, seed) if several else uniform[:0]
    weights = np.concatenate([uniform, drawn])
    return np.asarray(weights / weights.sum(1, keepdims=True))
