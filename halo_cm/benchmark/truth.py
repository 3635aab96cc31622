"""The truth that rows of a benchmark are compared with, and what is asked of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halo_cm.benchmark.fields import WINDOW, Axes, FieldStatistics, field_statistics
from halo_cm.benchmark.selection import IDENTITY, halo_labels, identities
from halo_cm.containers import Cutouts, FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.statistics import (
    FRECHET_FEATURES,
    PowerSpectrum,
    bootstrap_weights,
    field_features,
    power_spectrum_2d,
    suppression,
)

logger = logging.getLogger(__name__)

#: Fewer boxes than these say too little about how much boxes differ to resample them.
FEWEST_BOXES = 5


@dataclass(frozen=True)
class Truth:
    """The true fields and what rows are compared with.

    Attributes
    ----------
    fields
        Mass per pixel [Msun/h] of D draws of the truth, shape (N, D, C, H, W); D = 1 for a real
        simulation.
    statistics
        Of these fields.
    axes
        What curves stand over.
    dmo
        P(k) of the dark-matter-only maps, apodised; power of shape (N, K).
    context, dmo_features
        What a classifier sees of the condition, (N, X); and `field_features` of the
        dark-matter-only maps, (N, F).
    halo
        Label of the halo of each cutout, (N,).
    weights, bootstrap
        Bootstrap resamples, shape (B, N): projections and draws of one halo are drawn together;
        and what was resampled, ``"boxes, then haloes"`` or ``"haloes"``.
    """

    fields: FloatArray
    statistics: FieldStatistics
    axes: Axes
    dmo: PowerSpectrum
    context: FloatArray
    dmo_features: FloatArray
    halo: IntArray
    weights: FloatArray
    bootstrap: str

    @classmethod
    def of(
        cls, cutouts: Cutouts, n_resamples: int, seed: int, draws: FloatArray | None = None
    ) -> Truth:
        """Statistics of the targets of ``cutouts``, or of ``draws`` (N, D, C, H, W) in their place.

        Raises
        ------
        DataError
            If there are no targets, a channel of them or a dark-matter-only map is empty or
            constant, or there are fewer than two haloes.
        """
        if draws is None and cutouts.target is None:
            raise DataError("the benchmark needs cutouts with a target: the truth to compare with")
        target = cutouts.target[:, None] if draws is None else draws  # type: ignore[index]
        geometry, dmo = cutouts.geometry, cutouts.condition[:, 0]
        _check_structure(target, geometry.channels)
        _check_maps_have_structure(dmo, cutouts)
        halo = halo_labels(cutouts)
        resample_boxes = len(np.unique(cutouts.box)) >= FEWEST_BOXES
        boxes = cutouts.box if resample_boxes else None
        axes = Axes.of(geometry, target)
        return cls(
            fields=target,
            statistics=field_statistics(target, axes),
            axes=axes,
            dmo=power_spectrum_2d(dmo, geometry.field_of_view, window=WINDOW),
            context=_context(cutouts),
            dmo_features=field_features(dmo, geometry.field_of_view),
            halo=halo,
            weights=bootstrap_weights(halo, n_resamples, seed, boxes=boxes),
            bootstrap="boxes, then haloes" if resample_boxes else "haloes",
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.axes.geometry.channels

    @property
    def n_draws(self) -> int:
        """D, the number of draws of the truth of each halo."""
        return int(self.fields.shape[1])

    @property
    def n_haloes(self) -> int:
        """Number of different haloes."""
        return int(self.halo.max()) + 1

    @property
    def one_each(self) -> IntArray:
        """Row of one cutout of each halo, for tests that need independent rows."""
        rows: IntArray = np.unique(self.halo, return_index=True)[1]
        return rows

    @cached_property
    def has_distance(self) -> dict[str, bool]:
        """By channel, whether no feature is equal in all truths, which distances are scaled by."""
        features = self.statistics.features
        return self._varied("frechet_distance", features.reshape(-1, *features.shape[2:]))

    @cached_property
    def has_coverage(self) -> bool:
        """The same of the first draw of one cutout of each halo, in all channels."""
        return all(self._varied("coverage", self.statistics.numbers[self.one_each, 0]).values())

    def _varied(self, figure: str, features: FloatArray) -> dict[str, bool]:
        """Whether all features (M, C, F) of a channel differ somewhere; says which do not."""
        varied = {}
        for name, same in zip(self.channels, np.ptp(features, axis=0) == 0, strict=True):
            varied[name] = not same.any()
            if same.any():
                equal = ", ".join(FRECHET_FEATURES[i] for i in np.flatnonzero(same))
                logger.warning(
                    "%s is undefined, null in the report: %s of the channel %r are equal in all "
                    "%d truths, so that they have no scale",
                    *(figure, equal, name, len(features)),
                )
        return varied

    def bins_up_to(self, fraction: float) -> int:
        """Number of bins of P(k) up to a fraction of the Nyquist wavenumber."""
        return self.dmo.bins_up_to(fraction)

    def as_dict(self) -> dict[str, Any]:
        """Means over the fields, as plain numbers; see `halo_cm.benchmark.Summary.truth`."""
        found = self.statistics
        curves = {"power": found.power, "pdf": found.pdf, "peaks": found.peaks}
        curves["profile"] = found.profile
        return {
            "occupied_fraction": float(found.occupied.mean()),
            "isolated_pixels": float(found.isolated.mean()),
            "mean_mass": dict(zip(self.channels, found.mass.mean(0).tolist(), strict=True)),
            "suppression": suppression(found.total_power.mean(0), self.dmo.power.mean(0)).tolist(),
            **{
                name: dict(zip(self.channels, values.mean(0).tolist(), strict=True))
                for name, values in curves.items()
            },
            "deviation": deviation(found, self.channels),
        }


def deviation(found: FieldStatistics, channels: tuple[str, ...]) -> dict[str, list[float]] | None:
    """Deviation between the fields of a halo by radius [dex]; None for one field a halo."""
    if found.features.shape[1] == 1:
        return None
    curves = np.sqrt(found.variance.mean(0))
    return dict(zip(channels, curves.tolist(), strict=True))


def _check_structure(target: FloatArray, channels: tuple[str, ...]) -> None:
    """Raise a `DataError` if a channel holds no structure in any field."""
    for i, name in enumerate(channels):
        low, high = _extremes(target[:, :, i])
        if not high.any():
            raise DataError(
                f"the channel {name!r} of the truth holds no mass in any of {high.size} fields, so "
                "that nothing can be compared with it: is a channel missing, or in other units "
                "than Msun/h per pixel?"
            )
        if (low == high).all():
            raise DataError(
                f"the channel {name!r} of the truth is constant in each of {high.size} fields: "
                "maps without structure have no power to compare with"
            )


def _check_maps_have_structure(dmo: FloatArray, cutouts: Cutouts) -> None:
    low, high = _extremes(dmo)
    if flat := np.flatnonzero(low == high).tolist():
        found = "hold no mass" if not high[flat].any() else "are empty or constant"
        raise DataError(
            f"the dark-matter-only maps of {len(flat)} of {len(dmo)} cutouts {found}, the first "
            f"with {', '.join(IDENTITY)} = {identities(cutouts)[flat[0]]}: a map around a halo has "
            "structure; leave these cutouts out or make them again"
        )


def _extremes(maps: FloatArray) -> tuple[NDArray[Any], NDArray[Any]]:
    return maps.min((-2, -1)), maps.max((-2, -1))


def _context(cutouts: Cutouts) -> FloatArray:
    """Parameters, and log mass of the middle and of the whole of the first map: (N, X)."""
    dmo, n = cutouts.condition[:, 0], cutouts.condition.shape[-1]
    middle = dmo[:, 3 * n // 8 : 5 * n // 8, 3 * n // 8 : 5 * n // 8]
    masses = np.stack([part.sum((-2, -1), dtype=np.float64) for part in (middle, dmo)], axis=-1)
    return np.concatenate([cutouts.parameters, np.log10(masses + 1)], axis=1)
