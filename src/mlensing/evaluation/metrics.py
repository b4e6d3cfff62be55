"""Every metric is one pure function ``(labels, probabilities) -> float``; `METRICS` names them.

Conventions: a label counts as a lens from 0.5 on (`ece`, `mce` and `brier` use soft labels as they are); an
image is called a lens from probability 0.5 on; equal probabilities pass a threshold together. A figure that
the set cannot give (one class only, nothing accepted) is NaN. Functions in `RANKING` see only the order of
the scores, so they take logits as well.

To add a metric, write its function and one line in `DECISIONS`, `RANKING` or `CALIBRATION`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from mlensing.evaluation.calibration import Bins, equal_mass_bins, equal_width_bins
from mlensing.evaluation.curves import LENS, Array, roc_curve, threshold_counts

Metric = Callable[[ArrayLike, ArrayLike], float]
MEMBERS = 20
"""A bin with fewer members says little about calibration: its share of lenses is uncertain by 0.1 or more."""


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _decide(labels: ArrayLike, probabilities: ArrayLike) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives and true negatives at probability 0.5."""
    truth, called = np.asarray(labels, float) >= LENS, np.asarray(probabilities, float) >= 0.5
    cells = (truth & called, ~truth & called, truth & ~called, ~truth & ~called)
    true, false, missed, rest = (int(np.count_nonzero(cell)) for cell in cells)
    return true, false, missed, rest


def accuracy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Share of images called rightly, (TP + TN) / N.

    Example:
        >>> accuracy([1, 0, 0, 0], [0.9, 0.6, 0.2, 0.1])
        0.75
    """
    true, false, missed, rest = _decide(labels, probabilities)
    return _ratio(true + rest, true + false + missed + rest)


def precision(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Share of true lenses among the images called lenses, TP / (TP + FP); NaN if none is.

    Example:
        >>> precision([1, 0, 0, 0], [0.9, 0.6, 0.2, 0.1])
        0.5
    """
    true, false, _, _ = _decide(labels, probabilities)
    return _ratio(true, true + false)


def recall(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Share of the lenses that are called lenses, TP / (TP + FN).

    Example:
        >>> recall([1, 1, 0, 0], [0.9, 0.4, 0.2, 0.1])
        0.5
    """
    true, _, missed, _ = _decide(labels, probabilities)
    return _ratio(true, true + missed)


def f1(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979).

    Example:
        >>> f1([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1])
        0.5
    """
    true, false, missed, _ = _decide(labels, probabilities)
    return _ratio(2 * true, 2 * true + false + missed)


def roc_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Chance that a lens outranks a non-lens, ties counting half: the area under the ROC curve.

    Hanley & McNeil 1982; integral of TPR over FPR by trapezia, which give ties their half.

    Example:
        >>> roc_auc([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.1])
        0.875
    """
    counts = threshold_counts(labels, probabilities)
    if not (counts.lenses and counts.others):
        return float("nan")
    fpr, tpr = roc_curve(counts)
    return float(np.trapezoid(tpr, fpr))


def pr_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Average precision, sum_k (recall_k - recall_{k-1}) precision_k over the thresholds.

    Without linear interpolation, which would flatter it (Davis & Goadrich 2006). A random ranking gives the
    prevalence.

    Example:
        >>> round(pr_auc([1, 0, 1, 0], [0.9, 0.7, 0.6, 0.1]), 4)
        0.8333
    """
    counts = threshold_counts(labels, probabilities)
    if not (counts.lenses and counts.others):
        return float("nan")
    gained = np.diff(counts.true, prepend=0.0)
    return float(np.sum(gained * counts.true / (counts.true + counts.false)) / counts.lenses)


def _tpr_within(labels: ArrayLike, scores: ArrayLike, allowed: Callable[[int], float]) -> float:
    """Highest recall with at most ``allowed(number of non-lenses)`` false positives."""
    counts = threshold_counts(labels, scores)
    if not (counts.lenses and counts.others):
        return float("nan")
    passing = counts.true[counts.false <= allowed(counts.others)]
    return float(passing[-1] / counts.lenses) if passing.size else 0.0


def tpr0(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Highest recall before the first false positive (Metcalf+2019).

    It depends on the number of non-lenses: state it beside the figure.

    Example:
        >>> tpr0([1, 1, 0, 1], [0.9, 0.8, 0.7, 0.6])  # the third lens lies below the false positive
        0.6666666666666666
    """
    return _tpr_within(labels, probabilities, lambda others: 0)


def tpr10(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Highest recall with fewer than ten false positives (Metcalf+2019).

    Example:
        >>> tpr10([1] + [0] * 9 + [1, 0, 1], list(range(13, 0, -1)))
        0.6666666666666666
    """
    return _tpr_within(labels, probabilities, lambda others: 9)


def tpr_at_fpr(labels: ArrayLike, probabilities: ArrayLike, fpr: float) -> float:
    """Highest recall with a false positive rate of at most ``fpr``; never the first point above it.

    With fewer than 1 / fpr non-lenses this is `tpr0`.

    Example:
        >>> tpr_at_fpr([1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5], fpr=0.34)
        1.0
    """
    # The margin, far below one image, keeps a point on the line: 0.29 * 100 is 28.999...
    return _tpr_within(labels, probabilities, lambda others: fpr * others * (1.0 + 1e-12))


def _gap(bins: Bins) -> Array:
    return np.abs(bins.observed - bins.confidence)


def ece(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Expected calibration error: sum_i (n_i / N) |observed_i - confidence_i| over 15 bins of equal width.

    Naeini+2015; `observed` is the share of lenses, `confidence` the mean probability of the bin.

    Example:
        >>> round(ece([1, 0], [0.9, 0.1]), 6)
        0.1
    """
    return _weighted_gap(equal_width_bins(labels, probabilities))


def ece_equal_mass(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """`ece` over 15 bins of equal numbers of images (Nixon+2019), which crowded scores cannot hide in.

    Example:
        >>> round(ece_equal_mass([1, 0], [0.9, 0.1]), 6)
        0.1
    """
    return _weighted_gap(equal_mass_bins(labels, probabilities))


def _weighted_gap(bins: Bins) -> float:
    return _ratio(float(np.sum(bins.members * _gap(bins))), float(bins.members.sum()))


def mce(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Largest |observed_i - confidence_i| over the bins of `ece` with at least 20 members; NaN without one.

    Naeini+2015; the bound on members keeps one lonely image from being the answer.

    Example:
        >>> round(mce([1] * 30 + [0], [0.9] * 30 + [0.6]), 6)
        0.1
    """
    bins = equal_width_bins(labels, probabilities)
    gaps = _gap(bins)[bins.members >= MEMBERS]
    return float(gaps.max()) if gaps.size else float("nan")


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of the probability from the label (Brier 1950); 0.25 for a constant 0.5.

    Example:
        >>> brier([1, 0], [0.5, 0.5])
        0.25
    """
    distance = np.asarray(probabilities, float) - np.asarray(labels, float)
    return _ratio(float(np.sum(distance**2)), distance.size)


RANKING: dict[str, Metric] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "tpr0": tpr0,
    "tpr10": tpr10,
    "tpr_at_fpr_1e-2": partial(tpr_at_fpr, fpr=1e-2),
    "tpr_at_fpr_1e-3": partial(tpr_at_fpr, fpr=1e-3),
}
DECISIONS: dict[str, Metric] = {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}
CALIBRATION: dict[str, Metric] = {"ece": ece, "ece_equal_mass": ece_equal_mass, "mce": mce, "brier": brier}
METRICS: dict[str, Metric] = {**RANKING, **DECISIONS, **CALIBRATION}
