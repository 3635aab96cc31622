"""Statistics of each halo's samples beside its truth: the numbers that rows are averaged from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from halo_cm.benchmark.rows import Scoring
from halo_cm.benchmark.selection import halo_labels
from halo_cm.containers import Cutouts, FloatArray, Geometry, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics import (
    PIXEL_MASS,
    PowerSpectrum,
    bootstrap_weights,
    cross_power_spectrum_2d,
    crps_fair,
    field_features,
    log_mass,
    occupied_fraction,
    power_spectrum_2d,
)

#: Draws of the truth that pixels are scored against, whose scores average over many pixels; and
#: most samples of a halo that a classifier sees.
FEW_TRUTHS = 8


@dataclass(frozen=True)
class Truth:
    """The true fields and what rows are compared with.

    Attributes
    ----------
    fields
        Mass per pixel [Msun/h] of D draws of the truth, shape (N, D, C, H, W); D = 1 for a real
        simulation.
    spectrum
        P(k), apodised, averaged over the draws; power of shape (N, C, K).
    mass, occupied
        Mass of a field [Msun/h] (N, C), and occupied fraction of star pixels (N,), likewise.
    features, context, halo
        `field_features` of each field, shape (N, D, C, F); what a classifier sees of the condition,
        (N, X); and the label of the halo of each, (N,).
    weights
        Bootstrap resamples of the haloes, shape (B, N): projections and draws of one halo are
        drawn together.
    n_haloes, channels
        Number of different haloes, and names of the channels.
    """

    fields: FloatArray
    spectrum: PowerSpectrum
    mass: FloatArray
    occupied: FloatArray
    features: FloatArray
    context: FloatArray
    halo: IntArray
    weights: FloatArray
    n_haloes: int
    channels: tuple[str, ...]

    @classmethod
    def of(
        cls, cutouts: Cutouts, n_resamples: int, seed: int, draws: FloatArray | None = None
    ) -> Truth:
        """Statistics of the targets of ``cutouts``, or of ``draws`` (N, D, C, H, W) in their place.

        Raises
        ------
        DataError
            If there are no targets, or fewer than two haloes.
        """
        geometry = cutouts.geometry
        if draws is None and cutouts.target is None:
            raise DataError("the benchmark needs cutouts with a target: the truth to compare with")
        target = cutouts.target[:, None] if draws is None else draws  # type: ignore[index]
        spectrum = power_spectrum_2d(target, geometry.field_of_view, window="hann", empty="zero")
        halo = halo_labels(cutouts)
        star = geometry.channels.index("star")
        return cls(
            fields=target,
            spectrum=replace(spectrum, power=spectrum.power.mean(1)),
            mass=target.sum((-2, -1), dtype=np.float64).mean(1),
            occupied=occupied_fraction(target[:, :, star]).mean(1),
            features=field_features(target, geometry.field_of_view),
            context=_context(cutouts),
            halo=halo,
            weights=bootstrap_weights(halo, n_resamples, seed),
            n_haloes=int(halo.max()) + 1,
            channels=geometry.channels,
        )

    def as_dict(self) -> dict[str, Any]:
        """Means over the fields, as plain numbers."""
        mean_mass = dict(zip(self.channels, self.mass.mean(0).tolist(), strict=True))
        return {"occupied_fraction": float(self.occupied.mean()), "mean_mass": mean_mass}


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of N haloes, averaged over the samples of each.

    Attributes
    ----------
    power, cross_power
        P(k), and the cross power with the truth [(Mpc/h)^2], shape (N, C, K).
    mass
        Mass of the field [Msun/h], shape (N, C).
    occupied
        Occupied fraction of star pixels, shape (N,).
    crps_log_mass, crps_features
        Scores [dex], shapes (N, C) and (N, C, F).
    features
        What a classifier sees of the first samples, shape (N, R', C, F).
    empty
        Number of samples without any mass, shape (N, C).
    """

    power: FloatArray
    cross_power: FloatArray
    mass: FloatArray
    occupied: FloatArray
    crps_log_mass: FloatArray
    crps_features: FloatArray
    features: FloatArray
    empty: FloatArray

    @classmethod
    def concatenate(cls, parts: Sequence[SampleStatistics]) -> SampleStatistics:
        """Statistics of the haloes of all parts, in their order."""
        joined: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        return cls(**joined)


def measure(
    samples: FloatArray,
    truth: FloatArray,
    true_features: FloatArray,
    geometry: Geometry,
    scoring: Scoring,
) -> SampleStatistics:
    """Statistics of samples beside their truth.

    Parameters
    ----------
    samples, truth
        Mass per pixel [Msun/h], shapes (N, R, C, H, W) and (N, D, C, H, W).
    true_features
        `field_features` of the truth, shape (N, D, C, F).
    geometry, scoring
        Of the cutouts, and how the members are scored.
    """
    width, star = geometry.field_of_view, geometry.channels.index("star")
    power = power_spectrum_2d(samples, width, window="hann", empty="zero").power
    few = truth[:, :FEW_TRUTHS]
    # members beside the truths that they are paired with, over and over
    pairs = np.resize(np.arange(few.shape[1]), samples.shape[1])
    cross = cross_power_spectrum_2d(samples, few[:, pairs], width, window="hann", empty="zero")
    mass = samples.sum((-2, -1), dtype=np.float64)
    # one channel at a time: the logarithms of all pixels are the largest arrays of a benchmark
    pixel_scores = [
        _score(
            log_mass(samples[:, :, i], PIXEL_MASS[name]),
            log_mass(few[:, :, i], PIXEL_MASS[name]),
            scoring,
        ).mean((-2, -1))
        for i, name in enumerate(geometry.channels)
    ]
    features = field_features(samples, width)
    return SampleStatistics(
        power=power.mean(1),
        cross_power=cross.power.mean(1),
        mass=mass.mean(1),
        occupied=occupied_fraction(samples[:, :, star]).mean(1),
        crps_log_mass=np.stack(pixel_scores, axis=-1),
        crps_features=_score(features, true_features, scoring),
        features=features[:, :FEW_TRUTHS],
        empty=(mass == 0).sum(1),
    )


def _context(cutouts: Cutouts) -> FloatArray:
    """Parameters, and log mass of the middle and of the whole of the first map: (N, X)."""
    dmo, n = cutouts.condition[:, 0], cutouts.condition.shape[-1]
    middle = dmo[:, 3 * n // 8 : 5 * n // 8, 3 * n // 8 : 5 * n // 8]
    masses = np.stack([part.sum((-2, -1), dtype=np.float64) for part in (middle, dmo)], axis=-1)
    return np.concatenate([cutouts.parameters, np.log10(masses + 1)], axis=1)


def _score(ensemble: FloatArray, truth: FloatArray, scoring: Scoring) -> FloatArray:
    """Score of (N, R, ...) against D truths (N, D, ...), averaged over these: (N, ...)."""
    if scoring == "ensemble":
        # the spread of the members is the same for every truth: it is taken once
        distance = [np.abs(ensemble - truth[:, i, None]).mean(1) for i in range(truth.shape[1])]
        score: FloatArray = crps_fair(ensemble, truth[:, 0]) - distance[0] + np.mean(distance, 0)
        return score
    error: FloatArray = np.abs(ensemble[:, :1] - truth).mean(1)
    return error if scoring == "deterministic" else error / 2
