"""Can a classifier tell samples from the truth? The classifier two-sample test.

Lopez-Paz & Oquab 2017, arXiv:1610.06545, with the area under the ROC curve in the place of the
accuracy: 1/2 if the two distributions are one, 1 if they do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from halo_cm.containers import FloatArray, IntArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator
from halo_cm.statistics.bootstrap import bootstrap_weights
from halo_cm.statistics.checks import check_table

#: Above so many features the products of two different ones are left out: they would outnumber
#: the rows of a benchmark.
_MOST_FOR_PRODUCTS = 40


class Classifier(Protocol):
    """What scikit-learn's classifiers have."""

    def fit(self, features: FloatArray, labels: IntArray, /) -> Any:
        """Learn from features (N, F) and labels (N,) of 0 and 1, from scratch."""

    def predict_proba(self, features: FloatArray, /) -> FloatArray:
        """Probabilities of the labels 0 and 1, shape (N, 2)."""


@dataclass(frozen=True)
class TwoSampleTest:
    """How well held-out rows are told apart.

    Attributes
    ----------
    auc
        Area under the ROC curve, averaged over folds: the chance that a generated row scores above
        a true one.
    error
        Its standard error, by resampling haloes with the classifiers held fixed.
    p_value
        Share of permutations of the held-out labels, within haloes where these hold both, whose AUC
        is at least as high.
    null_95
        AUC that 95% of the permutations stay below.
    """

    auc: float
    error: float
    p_value: float
    null_95: float


class QuadraticLogistic:
    """Logistic regression on normal scores of the features, their squares and products.

    It sees differences of means, scatter and correlations whatever the scales and tails of the
    features, and is the same on every machine. Each feature is replaced by the normal quantile of
    its rank among the training rows; weights are penalised by half their squares times ``ridge``.
    """

    def __init__(self, ridge: float = 1.0) -> None:
        self.ridge = ridge

    def fit(self, features: FloatArray, labels: IntArray, /) -> QuadraticLogistic:
        """Newton's method, with steps halved until the penalised likelihood rises."""
        self.sorted = np.sort(features, axis=0)
        design = self._raw_design(features)
        self.centre, self.scale = design.mean(0), design.std(0)
        # a constant column says nothing: it becomes zero
        self.scale[self.scale < 1e-12] = np.inf
        x = np.column_stack([np.ones(len(design)), (design - self.centre) / self.scale])
        penalty = np.full(x.shape[1], self.ridge)
        penalty[0] = 1e-9
        weights: FloatArray = np.zeros(x.shape[1])
        loss = _loss(weights, x, labels, penalty)
        for _ in range(50):
            probability = expit(x @ weights)
            gradient = x.T @ (probability - labels) + penalty * weights
            curvature = (x.T * (probability * (1 - probability))) @ x + np.diag(penalty)
            step = np.linalg.solve(curvature, gradient)
            while (found := _loss(weights - step, x, labels, penalty)) > loss + 1e-12 * abs(loss):
                step /= 2
            weights, gain, loss = weights - step, loss - found, found
            if gain <= 1e-8 * len(x):
                break
        self.weights = weights
        return self

    def predict_proba(self, features: FloatArray, /) -> FloatArray:
        """Probabilities of the labels 0 and 1, shape (N, 2)."""
        x = (self._raw_design(features) - self.centre) / self.scale
        probability = expit(self.weights[0] + x @ self.weights[1:])
        return np.stack([1 - probability, probability], axis=-1)

    def _raw_design(self, features: FloatArray) -> FloatArray:
        n = len(self.sorted)
        scores = np.empty(features.shape)
        for i, column in enumerate(self.sorted.T):
            # the middle of the ranks of equal values, for features with many zeros
            first = np.searchsorted(column, features[:, i], "left")
            last = np.searchsorted(column, features[:, i], "right")
            scores[:, i] = ndtri(((first + last) / 2 + 0.5) / (n + 1))
        if scores.shape[1] > _MOST_FOR_PRODUCTS:
            return np.concatenate([scores, scores**2], axis=1)
        a, b = np.triu_indices(scores.shape[1])
        return np.concatenate([scores, scores[:, a] * scores[:, b]], axis=1)


def classifier_two_sample_test(
    generated: FloatArray,
    truth: FloatArray,
    *,
    halo_generated: NDArray[Any],
    halo_truth: NDArray[Any],
    seed: int,
    n_folds: int = 5,
    classifier: Classifier | None = None,
) -> TwoSampleTest:
    """AUC of a classifier of generated and true rows, cross-validated over haloes.

    Append the features of the condition to both to test conditional distributions: without them a
    model that ignores its input can pass.

    Parameters
    ----------
    generated, truth
        Features, shapes (N, F) and (M, F).
    halo_generated, halo_truth
        Label of the halo of each row, shapes (N,) and (M,). Rows of one halo are in one fold, so
        that no classifier is tested on a halo that it has seen.
    seed
        Decides folds, permutations and resamples.
    n_folds
        Number of folds.
    classifier
        Anything with ``fit`` and ``predict_proba`` as in scikit-learn, such as its
        HistGradientBoostingClassifier; by default a `QuadraticLogistic`.

    Raises
    ------
    DataError
        If shapes do not go together, a value is NaN, or there are fewer haloes than folds.
    """
    generated, truth = check_table(generated, "generated"), check_table(truth, "truth")
    if generated.shape[1] != truth.shape[1]:
        raise DataError(
            f"generated and truth have {generated.shape[1]} and {truth.shape[1]} features"
        )
    if np.shape(halo_generated) != (len(generated),) or np.shape(halo_truth) != (len(truth),):
        raise DataError(
            f"labels of haloes have shapes {np.shape(halo_generated)} and {np.shape(halo_truth)}, "
            f"expected one for each of {len(generated)} generated and {len(truth)} true rows"
        )
    features = np.concatenate([generated, truth])
    labels = np.repeat([1, 0], [len(generated), len(truth)])
    names, halo = np.unique(np.concatenate([halo_generated, halo_truth]), return_inverse=True)
    if not 2 <= n_folds <= len(names):
        raise DataError(
            f"{n_folds} folds need at least as many haloes, and two; found {len(names)} haloes"
        )
    fold = (generator(seed, "folds").permutation(len(names)) % n_folds)[halo]
    scores = _held_out_scores(features, labels, fold, classifier or QuadraticLogistic())
    return _test(scores, labels, fold, halo, seed)


def auc(scores: FloatArray, labels: IntArray) -> float:
    """Area under the ROC curve, P(s_1 > s_0) + P(s_1 = s_0) / 2 of scores (N,) of labels 0, 1.

    Raises
    ------
    DataError
        If one of the labels is missing.
    """
    n_ones = int(labels.sum())
    n_zeros = len(labels) - n_ones
    if not n_ones or not n_zeros:
        raise DataError(f"an AUC needs both labels, found {n_ones} ones and {n_zeros} zeros")
    return float(_auc(rankdata(scores), labels == 1))


def _auc(ranks: FloatArray, ones: NDArray[np.bool_]) -> FloatArray:
    """From Mann & Whitney's U; ``ones`` has shape (..., N)."""
    n_ones = ones.sum(-1)
    rank_sum = (ones * ranks).sum(-1)
    area: FloatArray = (rank_sum / n_ones - (n_ones + 1) / 2) / (ones.shape[-1] - n_ones)
    return area


def _held_out_scores(
    features: FloatArray, labels: IntArray, fold: IntArray, classifier: Classifier
) -> FloatArray:
    scores = np.empty(len(labels))
    for i in np.unique(fold):
        test = fold == i
        for part, name in ((~test, "others"), (test, "one")):
            if len(np.unique(labels[part])) < 2:
                raise DataError(
                    f"{name} of the folds holds only generated or only true rows: use fewer folds, "
                    "or samples and truths of the same haloes"
                )
        classifier.fit(features[~test], labels[~test])
        scores[test] = classifier.predict_proba(features[test])[:, 1]
    return scores


def _test(
    scores: FloatArray,
    labels: IntArray,
    fold: IntArray,
    halo: IntArray,
    seed: int,
    n_resamples: int = 500,
) -> TwoSampleTest:
    random = generator(seed, "permutations")
    folds: list[IntArray] = [np.flatnonzero(fold == i) for i in np.unique(fold)]
    ranks = [rankdata(scores[rows]) for rows in folds]
    value = float(np.mean([_auc(r, labels[f] == 1) for r, f in zip(ranks, folds, strict=True)]))
    # under the null the rows of one halo are exchangeable, those of different haloes are not: the
    # haloes of a model and of the truth may differ in their numbers of rows
    mixed = all(len(np.unique(labels[halo == h])) == 2 for h in np.unique(halo))
    null = np.zeros(n_resamples)
    for r, rows in zip(ranks, folds, strict=True):
        group = halo[rows] if mixed else np.zeros(len(rows), int)
        ordered = labels[rows][np.argsort(group, kind="stable")]
        key = random.random((n_resamples, len(rows))) + group
        ones = np.empty((n_resamples, len(rows)), bool)
        np.put_along_axis(ones, np.argsort(key, axis=1), ordered[None] == 1, axis=1)
        null += _auc(r, ones) / len(folds)
    return TwoSampleTest(
        auc=value,
        error=_bootstrap_error(ranks, labels, folds, halo, seed),
        p_value=float((1 + (null >= value).sum()) / (1 + n_resamples)),
        null_95=float(np.quantile(null, 0.95)),
    )


def _bootstrap_error(
    ranks: list[FloatArray],
    labels: IntArray,
    folds: list[IntArray],
    halo: IntArray,
    seed: int,
    n_resamples: int = 200,
) -> float:
    """Standard error of the mean AUC over folds, whose haloes are resampled one fold at a time."""
    variance = 0.0
    for r, rows in zip(ranks, folds, strict=True):
        if len(np.unique(halo[rows])) < 2:
            raise DataError("a fold holds one halo only, so that the AUC has no error: fewer folds")
        weights = bootstrap_weights(halo[rows], n_resamples, seed)
        order = np.argsort(r, kind="stable")
        one, zero = (weights[:, order] * (labels[rows][order] == label) for label in (1, 0))
        # weight of the true rows below each row, equal scores counting half
        first = np.searchsorted(r[order], r[order], "left")
        last = np.searchsorted(r[order], r[order], "right")
        below = np.concatenate([np.zeros((n_resamples, 1)), np.cumsum(zero, axis=1)], axis=1)
        area = (one * (below[:, first] + below[:, last]) / 2).sum(1)
        pairs = one.sum(1) * zero.sum(1)
        variance += np.var(area[pairs > 0] / pairs[pairs > 0], ddof=1) / len(folds) ** 2
    return float(np.sqrt(variance))


def _loss(weights: FloatArray, x: FloatArray, labels: IntArray, penalty: FloatArray) -> float:
    margin = x @ weights
    likelihood = np.logaddexp(0, margin).sum() - labels @ margin
    return float(likelihood + (penalty * weights**2).sum() / 2)
