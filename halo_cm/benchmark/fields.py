"""Statistics of mass fields of each halo alone, the same for samples and truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from halo_cm.containers import FloatArray, Geometry
from halo_cm.statistics import (
    FEATURES,
    FRECHET_FEATURES,
    PDF_EDGES,
    PIXEL_MASS,
    Scattering,
    bispectrum_2d,
    conditional_deviation_by_radius,
    frechet_features,
    isolated_pixels,
    log_mass,
    occupied_fraction,
    one_point_pdf,
    peak_counts,
    power_spectrum_2d,
    radial_profile,
    scattering_available,
    wavelet_scattering,
)
from halo_cm.statistics.bispectrum import Triangles
from halo_cm.statistics.windows import Window

Statistics = TypeVar("Statistics", bound="FieldStatistics")

#: Apodisation of all spectra, and configurations of the bispectrum.
WINDOW: Window = "hann"
TRIANGLES: tuple[Triangles, ...] = ("equilateral", "squeezed")
#: Fields of a halo whose bispectra are taken, which cost as much as all other statistics together.
FEW_FOR_BISPECTRUM = 8
#: Fields of a halo that are scattered, for the same reason.
FEW_FOR_SCATTERING = 2
#: Orientations and dyadic scales of the wavelets.
N_ORIENTATIONS, _N_SCALES = 4, 3
#: Rings of a profile, thresholds of peaks, and the share of true pixels with mass that lie below
#: the first and the last of these.
_N_RINGS, _N_THRESHOLDS, _THRESHOLD_SHARES = 9, 12, (0.5, 0.9999)
#: A ring of the bispectrum is this share of the pixels of a side wide, in fundamental modes.
_RING_SHARE = 1 / 32


@dataclass(frozen=True)
class Axes:
    """What the curves of a benchmark stand over.

    Attributes
    ----------
    geometry
        Of the fields.
    ring_edges
        Radii that bound the rings of profiles [Mpc/h]: one pixel, then up to half the width.
    thresholds
        Of peaks, by channel [Msun/h per pixel].
    """

    geometry: Geometry
    ring_edges: FloatArray
    thresholds: dict[str, FloatArray]

    @classmethod
    def of(cls, geometry: Geometry, truth: FloatArray) -> Axes:
        """Axes for true fields (N, D, C, H, W), each channel of which holds some mass."""
        half = geometry.field_of_view / 2
        edges = np.geomspace(geometry.cell_size, half, _N_RINGS)
        edges[-1] = half  # a circle of a rounding error more would leave the map
        thresholds = {}
        for i, name in enumerate(geometry.channels):
            masses = truth[:, :, i]
            low, high = np.quantile(masses[masses > 0], _THRESHOLD_SHARES)
            thresholds[name] = np.geomspace(low, high, _N_THRESHOLDS)
        return cls(geometry, np.concatenate([[0], edges]), thresholds)

    @property
    def ring_width(self) -> int:
        """Width of the rings of the bispectrum, in fundamental modes."""
        return max(1, int(self.geometry.n_pixels * _RING_SHARE))

    def as_dict(self) -> dict[str, Any]:
        """The axes, as plain numbers; see `halo_cm.benchmark.Summary.axes`."""
        n, width = self.geometry.n_pixels, self.geometry.field_of_view
        flat = np.ones((1, n, n))
        pdf = (np.asarray(PDF_EDGES[1:]) + PDF_EDGES[:-1]) / 2
        return {
            "bispectrum": {
                triangles: bispectrum_2d(
                    flat, width, triangles=triangles, ring_width=self.ring_width
                ).k.tolist()
                for triangles in TRIANGLES
            },
            "pdf": {name: pdf.tolist() for name in self.geometry.channels},
            "peaks": {name: levels.tolist() for name, levels in self.thresholds.items()},
            "radius": ((self.ring_edges[1:] + self.ring_edges[:-1]) / 2).tolist(),
            "scattering": _scattering(flat).scales if scattering_available() else None,
        }


@dataclass(frozen=True)
class FieldStatistics:
    """Statistics of the R fields of each of N haloes; all but features are means over the R.

    Attributes
    ----------
    power, total_power
        P(k) [(Mpc/h)^2] of each channel, (N, C, K), and of their sum, (N, K).
    equilateral, squeezed
        Bispectra of the first fields [(Mpc/h)^4], (N, C, K').
    scattering
        Scattering coefficients of log10(1 + m / m0) of the first fields [dex], (N, C, S); S = 0
        without kymatio.
    pdf
        Distribution of log10(1 + m / m0) [1/dex], (N, C, K').
    peaks
        Number of peaks at or above each threshold, (N, C, T).
    profile
        Surface density in rings [(Msun/h) / (Mpc/h)^2], (N, C, K').
    variance
        Variance of log10(1 + m / m0) between the fields in rings [dex^2], (N, C, K'); NaN of a
        single field.
    mass
        Mass of the field [Msun/h], (N, C).
    occupied
        Occupied fraction of star pixels, (N,).
    isolated
        Isolated bright star pixels of a field, (N,).
    empty
        Number of fields without any mass, (N, C).
    features
        `frechet_features` of each field, (N, R, C, F), the first of which are `field_features`.
    """

    power: FloatArray
    total_power: FloatArray
    equilateral: FloatArray
    squeezed: FloatArray
    scattering: FloatArray
    pdf: FloatArray
    peaks: FloatArray
    profile: FloatArray
    variance: FloatArray
    mass: FloatArray
    occupied: FloatArray
    isolated: FloatArray
    empty: FloatArray
    features: FloatArray

    @classmethod
    def concatenate(cls: type[Statistics], parts: Iterable[Statistics]) -> Statistics:
        """Statistics of the haloes of all parts, in their order."""
        parts = list(parts)
        joined: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        return cls(**joined)

    @property
    def numbers(self) -> FloatArray:
        """`field_features` of each field, (N, R, C, F)."""
        return self.features[..., : len(FEATURES)]

    @property
    def log_masses(self) -> dict[str, FloatArray]:
        """Logarithms of the mass of a field, and of its centre, each (N, R, C) [dex]."""
        named = {"mass": "mass_map", "central_mass": "mass_1_16"}
        return {name: self.features[..., FEATURES.index(f)] for name, f in named.items()}


def field_statistics(maps: FloatArray, axes: Axes) -> FieldStatistics:
    """Statistics of fields, halo by halo, which bounds the memory.

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (N, R, C, H, W).
    axes
        What the curves stand over.
    """
    return FieldStatistics.concatenate(_of_one(fields[None], axes) for fields in maps)


def _of_one(maps: FloatArray, axes: Axes) -> FieldStatistics:
    geometry, channels = axes.geometry, axes.geometry.channels
    width, n_members = geometry.field_of_view, maps.shape[1]

    def power(fields: FloatArray) -> FloatArray:
        return power_spectrum_2d(fields, width, window=WINDOW, empty="zero").power.mean(1)

    def bispectrum(triangles: Triangles) -> FloatArray:
        found = bispectrum_2d(
            maps[:, :FEW_FOR_BISPECTRUM],
            width,
            triangles=triangles,
            ring_width=axes.ring_width,
            window=WINDOW,
            empty="zero",
        )
        return found.bispectrum.mean(1)

    def deviation(fields: FloatArray, pixel_mass: float) -> FloatArray:
        if n_members == 1:
            return np.full(len(axes.ring_edges) - 1, np.nan)
        return conditional_deviation_by_radius(fields, width, axes.ring_edges, pixel_mass)

    by_channel = [(name, maps[:, :, i]) for i, name in enumerate(channels)]
    pdf = [one_point_pdf(fields, PIXEL_MASS[name]).density.mean(1) for name, fields in by_channel]
    peaks = [
        peak_counts(fields, width, axes.thresholds[name], periodic=False).mean(1)
        for name, fields in by_channel
    ]
    deviations = [deviation(fields, PIXEL_MASS[name]) for name, fields in by_channel]
    mass = maps.sum((-2, -1), dtype=np.float64)
    stars = maps[:, :, channels.index("star")]
    features = frechet_features(maps, width, channels)
    return FieldStatistics(
        power=power(maps),
        total_power=power(maps.sum(2)),
        equilateral=bispectrum("equilateral"),
        squeezed=bispectrum("squeezed"),
        scattering=_scattering_of_logs(maps[:, :FEW_FOR_SCATTERING], channels),
        pdf=np.stack(pdf, axis=1),
        peaks=np.stack(peaks, axis=1),
        profile=radial_profile(maps, width, axes.ring_edges).mean(1),
        variance=np.stack(deviations)[None] ** 2,
        mass=mass.mean(1),
        occupied=occupied_fraction(stars).mean(1),
        isolated=isolated_pixels(stars).mean(1),
        empty=(mass == 0).sum(1),
        features=features.reshape(*maps.shape[:3], len(FRECHET_FEATURES)),
    )


def _scattering(fields: FloatArray) -> Scattering:
    """Coefficients of fields (..., n, n) at as many of three scales as the map has room for."""
    n_scales = min(_N_SCALES, int(np.log2(fields.shape[-1])) - 1)
    return wavelet_scattering(fields, n_scales=n_scales, n_angles=N_ORIENTATIONS)


def _scattering_of_logs(maps: FloatArray, channels: tuple[str, ...]) -> FloatArray:
    """Mean coefficients of the log masses of maps (1, R, C, H, W), shape (1, C, S)."""
    if not scattering_available():
        return np.empty((1, len(channels), 0))
    logs = [log_mass(maps[:, :, i], PIXEL_MASS[name]) for i, name in enumerate(channels)]
    return _scattering(np.stack(logs, axis=2)).coefficients.mean(1)
