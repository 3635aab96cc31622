"""Statistics of each halo's samples beside its truth: the numbers that rows are averaged from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from halo_cm.benchmark.rows import Scoring
from halo_cm.benchmark.selection import halo_labels
from halo_cm.containers import Cutouts, FloatArray, Geometry
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


@dataclass(frozen=True)
class Truth:
    """The true fields and what rows are compared with.

    Attributes
    ----------
    fields
        Mass per pixel [Msun/h], shape (N, C, H, W).
    spectrum
        P(k) of each field, apodised, power of shape (N, C, K).
    mass, occupied
        Mass of each field [Msun/h] (N, C), and occupied fraction of star pixels (N,).
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
    weights: FloatArray
    n_haloes: int
    channels: tuple[str, ...]

    @classmethod
    def of(cls, cutouts: Cutouts, n_resamples: int, seed: int) -> Truth:
        """Statistics of the targets of ``cutouts``.

        Raises
        ------
        DataError
            If there are no targets, or fewer than two haloes.
        """
        geometry, target = cutouts.geometry, cutouts.target
        if target is None:
            raise DataError("the benchmark needs cutouts with a target: the truth to compare with")
        halo = halo_labels(cutouts)
        width, star = geometry.field_of_view, geometry.channels.index("star")
        return cls(
            fields=target,
            spectrum=power_spectrum_2d(target, width, window="hann", empty="zero"),
            mass=target.sum((-2, -1), dtype=np.float64),
            occupied=occupied_fraction(target[:, star]),
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
    empty
        Number of samples without any mass, shape (N, C).
    """

    power: FloatArray
    cross_power: FloatArray
    mass: FloatArray
    occupied: FloatArray
    crps_log_mass: FloatArray
    crps_features: FloatArray
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
    samples: FloatArray, truth: FloatArray, geometry: Geometry, scoring: Scoring
) -> SampleStatistics:
    """Statistics of samples (N, R, C, H, W) beside their truth (N, C, H, W), both [Msun/h]."""
    width, star = geometry.field_of_view, geometry.channels.index("star")
    power = power_spectrum_2d(samples, width, window="hann", empty="zero").power
    cross = cross_power_spectrum_2d(samples, truth[:, None], width, window="hann", empty="zero")
    mass = samples.sum((-2, -1), dtype=np.float64)
    # one channel at a time: the logarithms of all pixels are the largest arrays of a benchmark
    pixel_scores = [
        _score(
            log_mass(samples[:, :, i], PIXEL_MASS[name]),
            log_mass(truth[:, i], PIXEL_MASS[name]),
            scoring,
        ).mean((-2, -1))
        for i, name in enumerate(geometry.channels)
    ]
    return SampleStatistics(
        power=power.mean(1),
        cross_power=cross.power.mean(1),
        mass=mass.mean(1),
        occupied=occupied_fraction(samples[:, :, star]).mean(1),
        crps_log_mass=np.stack(pixel_scores, axis=-1),
        crps_features=_score(field_features(samples, width), field_features(truth, width), scoring),
        empty=(mass == 0).sum(1),
    )


def _score(ensemble: FloatArray, truth: FloatArray, scoring: Scoring) -> FloatArray:
    if scoring == "ensemble":
        return crps_fair(ensemble, truth)
    error: FloatArray = np.abs(ensemble[:, 0] - truth)
    return error if scoring == "deterministic" else error / 2
