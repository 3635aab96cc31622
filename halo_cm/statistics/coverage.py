"""Coverage of joint distributions by Tests of Accuracy with Random Points (TARP).

Lemos, Coogan, Hezaveh & Perreault-Levasseur 2023, arXiv:2302.03026. Around a reference point r, the
ball that reaches to the truth holds a share f of the samples (their algorithm 2). If and only if
samples and truth share one distribution, f is uniform for every choice of r (their theorem 3), and
the expected coverage of the credible regions of level alpha, P(f < alpha), is alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, kstest

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator
from halo_cm.statistics.checks import check_ensemble, check_finite


@dataclass(frozen=True)
class Coverage:
    """Expected coverage of an ensemble, and what calibration allows.

    Attributes
    ----------
    alpha
        Levels of credibility, from 0 to 1, shape (K,).
    coverage
        Share of the truths within the credible region of each level, shape (K,); alpha if
        calibrated. An S that starts above alpha and ends below it says that the samples are too
        close together, one that starts below that they are too far apart.
    lower, upper
        Band that holds the coverage of a calibrated ensemble at each single level with the
        probability ``level``, shape (K,).
    ks_pvalue
        Of the Kolmogorov-Smirnov test that all credibilities are uniform.
    credibility
        Credibility f of each row, shape (N,), spread between the steps of finite ensembles.
    level
        Probability of the band.
    """

    alpha: FloatArray
    coverage: FloatArray
    lower: FloatArray
    upper: FloatArray
    ks_pvalue: float
    credibility: FloatArray
    level: float


def tarp_coverage(
    ensemble: FloatArray,
    truth: FloatArray,
    *,
    seed: int,
    references: FloatArray | None = None,
    n_levels: int = 51,
    level: float = 0.95,
) -> Coverage:
    """Expected coverage of ensembles of features.

    Features are scaled by the standard deviation of the truth over rows, and distances are
    Euclidean. With R members f has R + 1 values; a uniform number spreads it between its steps, so
    that it is exactly uniform, and the p-value exact, for calibrated ensembles of any size.

    Parameters
    ----------
    ensemble
        R members of F features for each of N *independent* haloes, shape (N, R, F). Several
        projections of one halo make the band too narrow.
    truth
        Shape (N, F).
    seed
        Decides the references, ties, and the place between steps.
    references
        Shape (N, F); None draws them uniformly within the range of the truths. Such references do
        not know the condition of a halo, and then a model that ignores it can pass: add features
        of the condition to references to see that, for example the mean of another model.
    n_levels, level
        Number of alphas, and the probability of the band.

    Raises
    ------
    DataError
        If shapes do not match, there are fewer than two rows or members, a value is NaN, or a
        feature is the same in all truths.
    """
    check_ensemble(ensemble, truth, least=2)
    if ensemble.ndim != 3 or len(truth) < 2:
        raise DataError(
            f"an ensemble has shape {ensemble.shape}, expected (N, R, F) with at least two rows"
        )
    if n_levels < 2 or not 0 < level < 1:
        raise DataError(
            f"n_levels must be at least 2 and level a probability, found {n_levels} and {level}"
        )
    truth = np.asarray(truth, np.float64)
    scale = truth.std(0)
    if not scale.all():
        raise DataError(
            f"features {np.flatnonzero(scale == 0).tolist()} are the same in all {len(truth)} "
            "truths, so that they have no scale; leave them out"
        )
    random = generator(seed, "tarp")
    if references is None:
        references = random.uniform(truth.min(0), truth.max(0), truth.shape)
    references = np.asarray(references, np.float64)
    if references.shape != truth.shape:
        raise DataError(f"references have shape {references.shape}, expected {truth.shape}")
    check_finite(references, "references")
    to_truth = np.linalg.norm((truth - references) / scale, axis=-1)
    to_samples = np.linalg.norm((ensemble - references[:, None]) / scale, axis=-1)
    below = (to_samples < to_truth[:, None]).sum(1)
    rank = below + random.integers(0, (to_samples == to_truth[:, None]).sum(1) + 1)
    credibility = (rank + random.random(len(truth))) / (ensemble.shape[1] + 1)
    return _coverage(credibility, np.linspace(0, 1, n_levels), level)


def _coverage(credibility: FloatArray, alpha: FloatArray, level: float) -> Coverage:
    n = len(credibility)
    lower, upper = (binom.ppf(tail, n, alpha) / n for tail in ((1 - level) / 2, (1 + level) / 2))
    # ppf of the binomial of probability 0 is -1
    lower = np.maximum(lower, 0)
    return Coverage(
        alpha=alpha,
        coverage=np.searchsorted(np.sort(credibility), alpha) / n,
        lower=lower,
        upper=np.maximum(upper, 0),
        ks_pvalue=float(kstest(credibility, "uniform").pvalue),
        credibility=credibility,
        level=level,
    )
