"""Errors of ratios of means over haloes, by resampling boxes and haloes (Efron 1979)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator


@dataclass(frozen=True)
class Estimate:
    """A statistic, its standard error, and its values in the B resamples.

    Attributes
    ----------
    value, error
        Any equal shapes.
    resamples
        Shape (B, *value.shape).
    """

    value: FloatArray
    error: FloatArray
    resamples: FloatArray

    @classmethod
    def of(cls, value: FloatArray, resamples: FloatArray) -> Estimate:
        """Estimate whose error is the standard deviation of its resamples."""
        return cls(value, resamples.std(axis=0, ddof=1), resamples)


def bootstrap_weights(
    groups: NDArray[Any], n_resamples: int, seed: int, *, boxes: NDArray[Any] | None = None
) -> FloatArray:
    """How often each row is drawn in each resample, shape (n_resamples, N).

    With ``boxes`` the resampling has two stages: boxes are drawn with replacement, and in each box
    drawn as many haloes as it has, with replacement. The error then holds what haloes of one box
    share. It is on the safe side: with haloes that share nothing, the squared error of a mean is
    too large by the share (n - 1) / n - 1 / B for B boxes of n haloes, at most twofold (Davison
    & Hinkley 1997, Bootstrap Methods, sect. 3.8).

    Parameters
    ----------
    groups
        Label of each of the N rows. Rows with one label, such as the projections of one halo, are
        not independent and are drawn together.
    n_resamples, seed
        Number of resamples, and the seed that fixes them.
    boxes
        Label of the simulation box of each row, shape (N,). None takes the boxes as they are, all
        haloes in one pot: the error does not know how much another box would differ. With a
        handful of boxes or fewer nothing else can be learnt from them.

    Raises
    ------
    DataError
        If there are fewer than two groups, or fewer than two boxes, or a group lies in two boxes.
    """
    labels, first, member_of = np.unique(groups, return_index=True, return_inverse=True)
    if len(labels) < 2:
        raise DataError(f"a bootstrap error needs at least two haloes, found {len(labels)}")
    random = generator(seed, "bootstrap")
    if boxes is None:
        drawn = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), n_resamples)
        return drawn[:, member_of].astype(np.float64)
    box = np.asarray(boxes)[first]
    if not np.array_equal(box[member_of], boxes):
        raise DataError("rows of one halo lie in different boxes: label haloes by box and halo")
    return _two_stages(box, n_resamples, random)[:, member_of].astype(np.float64)


def ratio_of_means(
    numerator: FloatArray,
    denominator: FloatArray,
    weights: FloatArray,
    *,
    undefined: Literal["raise", "nan"] = "raise",
) -> Estimate:
    """Mean of ``numerator`` over the mean of ``denominator``, both over rows.

    Parameters
    ----------
    numerator, denominator
        Shape (N, ...).
    weights
        Resamples of the rows, shape (B, N), from `bootstrap_weights`; both means are resampled
        together, so that what they share cancels.
    undefined
        What to do with entries whose denominator is not positive, in the mean or in a resample:
        raise an error, or make the ratio and its error NaN.

    Raises
    ------
    DataError
        If shapes differ, or the mean of the denominator is not positive.
    """
    if numerator.shape != denominator.shape:
        raise DataError(
            f"cannot compare statistics of shapes {numerator.shape} and {denominator.shape}"
        )
    above, below = (rows.mean(axis=0) for rows in (numerator, denominator))
    drawn_above, drawn_below = (
        np.tensordot(weights, rows, axes=1) for rows in (numerator, denominator)
    )
    defined = (below > 0) & (drawn_below > 0).all(0)
    if undefined == "nan":
        below, drawn_below = (np.where(defined, d, np.nan) for d in (below, drawn_below))
    elif not (below > 0).all():
        raise DataError(
            f"the true mean is zero in {int((below <= 0).sum())} of {below.size} entries, so that "
            "no ratio to it exists: is a channel of the truth empty?"
        )
    # a resample without any mass (all its haloes are empty) says nothing about the ratio: NaN
    # would hide the others, so such a resample is an error rather than a silent gap
    elif not defined.all():
        raise DataError("a bootstrap resample of the truth is empty: too few haloes hold mass")
    return Estimate.of(above / below, drawn_above / drawn_below)


def power_ratio(generated: FloatArray, truth: FloatArray, weights: FloatArray) -> Estimate:
    """Mean power of generated fields over the mean power of the truth.

    The power is that of each sample, averaged afterwards; the power of an averaged field would be
    too low.

    Parameters
    ----------
    generated
        Power of R samples for each of N haloes, shape (N, R, C, K).
    truth
        Power of the truth, shape (N, C, K).
    weights
        Resamples of the haloes, from `bootstrap_weights`.

    Returns
    -------
    Estimate
        Of shape (C, K).
    """
    return ratio_of_means(generated.mean(axis=1), truth, weights)


def power_ratio_error(ratio: Estimate, n_bins: int) -> Estimate:
    """Mean of ``|ratio - 1|`` over the first ``n_bins`` bins, shape (C,).

    Never below zero and therefore, for a perfect model, of the order of the noise of the ratio:
    read it beside the same figure of truth against truth.
    """
    if n_bins < 1:
        raise DataError("no wavenumber bin lies in the range asked for: use larger maps")

    def mean_deviation(values: FloatArray) -> FloatArray:
        return np.asarray(np.abs(values[..., :n_bins] - 1).mean(axis=-1))

    return Estimate.of(mean_deviation(ratio.value), mean_deviation(ratio.resamples))


def _two_stages(box: NDArray[Any], n_resamples: int, random: np.random.Generator) -> IntArray:
    """Counts of haloes, shape (n_resamples, len(box)), from boxes and the haloes in them."""
    labels, box_of = np.unique(box, return_inverse=True)
    if len(labels) < 2:
        raise DataError(f"resampling boxes needs at least two of them, found {len(labels)}")
    times = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), n_resamples)
    drawn = np.empty((n_resamples, len(box)), np.int64)
    for i in range(len(labels)):
        inside = np.flatnonzero(box_of == i)
        # n haloes for each time that the box was drawn
        share = np.full(len(inside), 1 / len(inside))
        drawn[:, inside] = random.multinomial(len(inside) * times[:, i], share)
    return drawn
