"""How a row's fields look beside the true ones: suppression, bispectrum, PDF, peaks, profiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from halo_cm.benchmark.contrasts import pdf_distance
from halo_cm.benchmark.fields import TRIANGLES
from halo_cm.benchmark.measure import SampleStatistics
from halo_cm.benchmark.truth import Truth, deviation
from halo_cm.containers import FloatArray
from halo_cm.statistics import frechet_distance, ratio_of_means


def structure(statistics: SampleStatistics, truth: Truth, n_each: int) -> dict[str, Any]:
    """The figures of `RowSummary` that describe the structure of fields.

    Distances take the first ``n_each`` samples of each cutout, as many for all rows.
    """
    channels, weights, true = truth.channels, truth.weights, truth.statistics

    def curves(values: FloatArray) -> dict[str, Any]:
        return dict(zip(channels, plain(values), strict=True))

    def ratio(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        found = ratio_of_means(
            getattr(statistics, name), getattr(true, name), weights, undefined="nan"
        )
        return curves(found.value), curves(found.error)

    suppressed = ratio_of_means(statistics.total_power, truth.dmo.power, weights)
    has_scattering = true.scattering.shape[-1] > 0
    scattering, scattering_error = ratio("scattering") if has_scattering else (None, None)
    bispectra = {triangles: ratio(triangles) for triangles in TRIANGLES}
    profile, profile_error = ratio("profile")
    pdf = statistics.pdf.mean(0)
    return {
        "suppression": suppressed.value.tolist(),
        "suppression_uncertainty": suppressed.error.tolist(),
        "bispectrum_ratio": {name: value for name, (value, _) in bispectra.items()},
        "bispectrum_ratio_uncertainty": {name: error for name, (_, error) in bispectra.items()},
        "scattering_ratio": scattering,
        "scattering_ratio_uncertainty": scattering_error,
        "pdf": curves(pdf),
        "pdf_distance": curves(pdf_distance(statistics, truth).value),
        "peaks": curves(statistics.peaks.mean(0)),
        "profile_ratio": profile,
        "profile_ratio_uncertainty": profile_error,
        "deviation": deviation(statistics, channels),
        "frechet_distance": {
            name: frechet_distance(
                _rows(statistics.features[:, :n_each, i]), _rows(true.features[:, :, i])
            )
            if truth.has_distance[name]
            else None
            for i, name in enumerate(channels)
        },
    }


def _rows(features: FloatArray) -> FloatArray:
    """(N, R, F) -> (N * R, F)."""
    return features.reshape(-1, features.shape[-1])


def plain(values: FloatArray) -> list[Any]:
    """Numbers for JSON, which has no NaN: None in its place."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return list(plain.tolist())
