"""Is an ensemble of samples distributed like the truth? Proper scores, ranks and spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import binom, chi2
from scoringrules import crps_ensemble

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator
from halo_cm.statistics.checks import check_ensemble


@dataclass(frozen=True)
class RankHistogram:
    """Counts of the ranks of the truth among R members, and what calibration allows.

    Attributes
    ----------
    counts
        How often each rank 0 to R occurs, shape (R + 1,).
    expected, lower, upper
        Counts of a calibrated ensemble: the mean, and the band that holds each single count with
        the probability ``level``.
    p_value
        Chance of a histogram at least as uneven, from Pearson's chi^2 of the counts; it needs some
        five expected counts or more.
    level
        Probability of the band.
    """

    counts: IntArray
    expected: float
    lower: float
    upper: float
    p_value: float
    level: float


@dataclass(frozen=True)
class SpreadSkill:
    """Spread of an ensemble beside the error of its mean, in bins of equal numbers of rows.

    Attributes
    ----------
    spread, skill
        Root mean variance of the members, with the factor (R + 1) / R for finite ensembles, and
        root mean square error of their mean, shape (n_bins,); equal if calibrated.
    ratio, error
        Total spread over total skill: below 1 if the ensemble is too sure of itself. The standard
        error is that of the squared errors of independent rows.
    """

    spread: FloatArray
    skill: FloatArray
    ratio: float
    error: float


def crps_fair(ensemble: FloatArray, truth: FloatArray) -> FloatArray:
    """Fair continuous ranked probability score, E|X - y| - E|X - X'| / 2; lower is better.

    Its expectation does not depend on the number of members R, and only the true distribution
    reaches the lowest one (Ferro 2014; Zamo & Naveau 2018).

    Parameters
    ----------
    ensemble
        R members for each of N haloes, shape (N, R, ...).
    truth
        Shape (N, ...).

    Returns
    -------
    FloatArray
        Scores in the units of the input, shape (N, ...).

    Raises
    ------
    DataError
        If there are fewer than two members, shapes do not match, or a value is NaN.
    """
    check_ensemble(ensemble, truth, least=2)
    # 'pwm' is the fair estimator computed from sorted members, R log R instead of R^2 operations
    return np.asarray(
        crps_ensemble(
            np.asarray(truth, np.float64),
            np.moveaxis(np.asarray(ensemble, np.float64), 1, -1),
            estimator="pwm",
            backend="numpy",
        )
    )


def energy_score_fair(ensemble: FloatArray, truth: FloatArray) -> FloatArray:
    """Fair energy score, E|X - y| - E|X - X'| / 2 with Euclidean norms; lower is better.

    The score of joint distributions whose one-dimensional case is the CRPS (Gneiting & Raftery
    2007, JASA 102, 359, eq. 22). Features of different units are scaled first, for example by the
    standard deviation of the truth.

    Parameters
    ----------
    ensemble
        R members of F features for each of N haloes, shape (N, R, F).
    truth
        Shape (N, F).

    Returns
    -------
    FloatArray
        Shape (N,).

    Raises
    ------
    DataError
        If there are fewer than two members, shapes do not match, or a value is NaN.
    """
    check_ensemble(ensemble, truth, least=2)
    if ensemble.ndim != 3:
        raise DataError(f"an ensemble has shape {ensemble.shape}, expected (N, R, F)")
    # one halo at a time: all pairs of members at once would take R times the memory
    members = np.asarray(ensemble, np.float64)
    error = np.linalg.norm(members - truth[:, None], axis=-1).mean(1)
    return np.asarray(error - np.array([pdist(one).mean() for one in members]) / 2)


def ranks(ensemble: FloatArray, truth: FloatArray, seed: int) -> IntArray:
    """Rank of the truth among R members, 0 to R; uniform if the ensemble is calibrated.

    Ties are broken at random (Hamill 2001), which matters for fields with many zeros.

    Parameters
    ----------
    ensemble, truth
        Shapes (N, R, ...) and (N, ...).
    seed
        Decides the ties.

    Raises
    ------
    DataError
        If shapes do not match or a value is NaN.
    """
    check_ensemble(ensemble, truth)
    below = (ensemble < truth[:, None]).sum(axis=1)
    equal = (ensemble == truth[:, None]).sum(axis=1)
    return np.asarray(below + generator(seed, "ranks").integers(0, equal + 1))


def rank_histogram(found: IntArray, n_members: int, *, level: float = 0.95) -> RankHistogram:
    """Counts of ranks with the band that a calibrated ensemble stays in (Hamill 2001).

    A hollow says that members are too far apart, a U that they are too close together, a slope that
    they are biased.

    Parameters
    ----------
    found
        Ranks from `ranks`, shape (N,): one quantity of N *independent* haloes. Several projections
        of one halo make the band too narrow.
    n_members
        R, the number of members.
    level
        Probability of the band.

    Raises
    ------
    DataError
        If there are no ranks, some lie outside 0 to R, or the level is not a probability.
    """
    found = np.asarray(found)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise DataError(
            f"ranks have shape {found.shape} and type {found.dtype}, expected integers (N,)"
        )
    if n_members < 1 or found.min() < 0 or found.max() > n_members:
        raise DataError(
            f"ranks run from {found.min()} to {found.max()}, expected 0 to {n_members} for "
            f"{n_members} members"
        )
    if not 0 < level < 1:
        raise DataError(f"level must lie between 0 and 1, found {level}")
    counts = np.bincount(found, minlength=n_members + 1)
    n, share = len(found), 1 / (n_members + 1)
    chi_squared = float(((counts - n * share) ** 2).sum() / (n * share))
    lower, upper = binom.ppf([(1 - level) / 2, (1 + level) / 2], n, share)
    p_value = float(chi2.sf(chi_squared, n_members))
    return RankHistogram(counts, n * share, float(lower), float(upper), p_value, level)


def spread_skill(ensemble: FloatArray, truth: FloatArray, *, n_bins: int = 1) -> SpreadSkill:
    """Spread of the members beside the error of their mean (Fortin et al. 2014, eqs. 11-15).

    Parameters
    ----------
    ensemble, truth
        One quantity of N independent haloes, shapes (N, R) and (N,).
    n_bins
        Rows are sorted by their spread and put into so many bins.

    Raises
    ------
    DataError
        If there are fewer than two members or rows for the bins, shapes do not match, a value is
        NaN, or the mean is the truth in every row.
    """
    check_ensemble(ensemble, truth, least=2)
    if truth.ndim != 1 or not 1 <= n_bins <= len(truth) or len(truth) < 2:
        raise DataError(
            f"an ensemble of shape {ensemble.shape} cannot be put into {n_bins} bins: expected "
            "(N, R) with at least two rows and one for each bin"
        )
    members = np.asarray(ensemble, np.float64)
    n_members = members.shape[1]
    variance = members.var(1, ddof=1) * (n_members + 1) / n_members
    squared = (members.mean(1) - truth) ** 2
    if not squared.any():
        raise DataError("the mean of the members is the truth in every row: no skill to compare")
    parts = np.array_split(np.argsort(variance, kind="stable"), n_bins)
    ratio = float(np.sqrt(variance.mean() / squared.mean()))
    # of v / s with v and s the means over rows, to first order
    residual = variance / squared.mean() - ratio**2 * squared / squared.mean()
    error = residual.std(ddof=1) / np.sqrt(len(truth)) / (2 * ratio) if ratio > 0 else 0.0
    return SpreadSkill(
        spread=np.sqrt([variance[part].mean() for part in parts]),
        skill=np.sqrt([squared[part].mean() for part in parts]),
        ratio=ratio,
        error=float(error),
    )
