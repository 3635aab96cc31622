"""The figure that chooses the best checkpoint: samples against truth in physical units.

A consistency loss falls when a model collapses, so it is never used for this.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from halo_cm.data.ranges import already_warned
from halo_cm.errors import DataError
from halo_cm.sampling import sample
from halo_cm.statistics.calibration import crps_fair
from halo_cm.statistics.features import field_features
from halo_cm.statistics.power import power_spectrum_2d

if TYPE_CHECKING:
    from halo_cm.containers import Cutouts, FloatArray
    from halo_cm.emulator import Emulator


@dataclass(frozen=True)
class ValidationScore:
    """Errors of samples on validation cutouts; lower is better.

    Attributes
    ----------
    score
        ``power + crps``: what the best checkpoint is chosen by.
    power
        Mean over channels and wavenumbers up to half Nyquist of |ln(P / P_true)|, with P averaged
        over cutouts.
    crps
        Mean fair CRPS of log10 aperture masses and band powers [dex].
    mass
        Mean over channels of |mean mass / true mean mass - 1|.
    """

    score: float
    power: float
    crps: float
    mass: float

    def as_dict(self) -> dict[str, float]:
        """For the log."""
        return asdict(self)


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
        if not (self._true_power > 0).all():
            empty = np.argwhere(self._true_power <= 0)[0, 0]
            raise DataError(
                f"the validation cutouts hold no structure in {cutouts.geometry.channels[empty]}: "
                "no model can be chosen by its power spectrum: use more validation cutouts"
            )
        self._true_features = field_features(self._truth, self._width)

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
        ratio = self._power(fields) / self._true_power
        power = float(np.abs(np.log(np.maximum(ratio, 1e-6))).mean())
        crps = float(crps_fair(field_features(fields, self._width), self._true_features).mean())
        masses = fields.mean((0, 1, 3, 4)) / self._truth.mean((0, 2, 3))
        mass = float(np.abs(masses - 1).mean())
        return ValidationScore(score=power + crps, power=power, crps=crps, mass=mass)

    def _power(self, fields: FloatArray) -> FloatArray:
        """Power up to half Nyquist averaged over cutouts and samples, shape (C, K)."""
        spectrum = power_spectrum_2d(fields, self._width, window="hann", empty="zero")
        power = spectrum.power[..., : spectrum.bins_up_to(0.5)]
        return power.reshape(-1, *power.shape[-2:]).mean(0)
