"""Counts at every threshold, and the curves drawn from them.

Conventions: a higher score means more lens-like. A label counts as a lens from 0.5 on, so that soft labels
rank. A threshold accepts every image that scores at least as much: images with equal scores go in together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LENS = 0.5
"""Soft labels from here on count as lenses."""


class Counts(NamedTuple):
    """True and false positives at each distinct score, from the highest down, and the class sizes."""

    threshold: Array
    true: Array
    false: Array
    lenses: int
    others: int


def threshold_counts(labels: ArrayLike, scores: ArrayLike) -> Counts:
    """What each threshold accepts.

    Arguments:
        labels: shape [N], in [0, 1].
        scores: shape [N], logits, probabilities or any other ranking, without NaN.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> counts = threshold_counts([1, 0, 1, 0], [0.9, 0.7, 0.7, 0.1])
        >>> counts.threshold.tolist(), counts.true.tolist(), counts.false.tolist()
        ([0.9, 0.7, 0.1], [1.0, 2.0, 2.0], [0.0, 1.0, 2.0])
    """
    truth, scores = np.asarray(labels, float) >= LENS, np.asarray(scores, float)
    if truth.shape != scores.shape:
        raise ValueError(f"labels have shape {truth.shape}, scores {scores.shape}")
    order = np.argsort(-scores, kind="stable")  # linear in time on the bootstrap's samples: they come sorted
    scores, truth = scores[order], truth[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: scores.size])
    true = np.cumsum(truth)[last].astype(float)
    lenses = int(truth.sum())
    return Counts(scores[last], true, last + 1 - true, lenses, truth.size - lenses)


def roc_curve(counts: Counts) -> tuple[Array, Array]:
    """False and true positive rates, one point a threshold, from (0, 0) to (1, 1); NaN without either class.

    Example:
        >>> fpr, tpr = roc_curve(threshold_counts([1, 0, 1, 0], [0.9, 0.7, 0.7, 0.1]))
        >>> fpr.tolist(), tpr.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    fpr = np.append(0.0, counts.false) / (counts.others or np.nan)
    tpr = np.append(0.0, counts.true) / (counts.lenses or np.nan)
    return fpr, tpr


def purity_completeness(counts: Counts) -> tuple[Array, Array, Array]:
    """Rank, purity and completeness when everything down to that rank is inspected.

    Purity is TP / (TP + FP) among the images accepted, completeness TP / lenses.

    Example:
        >>> rank, purity, completeness = purity_completeness(threshold_counts([1, 0, 1], [3, 2, 1]))
        >>> rank.tolist(), purity.round(2).tolist(), completeness.tolist()
        ([1.0, 2.0, 3.0], [1.0, 0.5, 0.67], [0.5, 0.5, 1.0])
    """
    rank = counts.true + counts.false
    return rank, counts.true / rank, counts.true / (counts.lenses or np.nan)


def purity_at_prevalence(counts: Counts, prevalence: float) -> tuple[Array, Array]:
    """Completeness, and the purity to expect where a share ``prevalence`` of all images are lenses.

    purity = pi TPR / (pi TPR + (1 - pi) FPR) (Bayes). The purity is NaN at thresholds that no non-lens of the
    set passes: FPR is then only known to be small, and a purity of 1 would be a claim without a measurement.

    Raises:
        ValueError: if ``prevalence`` is not between 0 and 1.

    Example:
        >>> counts = threshold_counts([1, 1, 0, 0], [4, 2, 3, 1])
        >>> completeness, purity = purity_at_prevalence(counts, 0.01)
        >>> completeness.tolist(), purity.round(4).tolist()
        ([0.5, 0.5, 1.0, 1.0], [nan, 0.01, 0.0198, 0.01])
    """
    if not 0.0 < prevalence < 1.0:
        raise ValueError(f"prevalence must lie between 0 and 1, got {prevalence}")
    fpr, tpr = (rate[1:] for rate in roc_curve(counts))
    accepted = prevalence * tpr + (1.0 - prevalence) * fpr
    with np.errstate(invalid="ignore"):
        return tpr, np.where(fpr > 0, prevalence * tpr / accepted, np.nan)


def thin(size: int, limit: int = 300) -> NDArray[np.int64]:
    """At most ``limit`` of ``size`` positions, dense at the start: half in equal ratios, half in equal steps.

    Example:
        >>> thin(5).tolist(), len(thin(100_000)) <= 300, thin(100_000)[-1].item()
        ([0, 1, 2, 3, 4], True, 99999)
    """
    if size <= limit:
        return np.arange(size)
    ratios = np.geomspace(1, size, limit // 2).round().astype(int) - 1
    return np.unique(np.append(ratios, np.linspace(0, size - 1, limit // 2).round().astype(int)))
