"""From a logit to a probability that means what it says, and the bins that check it.

A network trained with class weights, on as many lenses as non-lenses, gives logits for that world. Two
shifts bring them to the sky: `remove_class_weight_shift`, then `shift_prevalence`; `fit_temperature` corrects
over-confidence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlensing.evaluation.curves import Array

BINS = 15
"""Bins of the calibration errors, as in Guo+2017."""


def sigmoid(logit: ArrayLike) -> Array:
    """Probability of a logit, 1 / (1 + exp(-logit)), without overflow.

    Example:
        >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
        [0.0, 0.5, 1.0]
    """
    with np.errstate(invalid="ignore"):  # NaN, an image without a score, stays NaN
        return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(logit, float))))


def remove_class_weight_shift(logit: ArrayLike, ratio: float) -> Array:
    """Logit without what the weighted loss put on it: logit - log(w_pos / w_neg).

    A loss that weights lenses by ``ratio`` has its minimum at odds ``ratio`` times too high (Elkan 2001).

    Example:
        >>> remove_class_weight_shift([math.log(2.0)], ratio=2.0).tolist()
        [0.0]
    """
    return np.asarray(logit, float) - math.log(ratio)


def shift_prevalence(logit: ArrayLike, pi_train: float, pi: float) -> Array:
    """Logit where a share ``pi`` of the images are lenses, from one trained where it was ``pi_train``.

    logit + log(pi / (1 - pi)) - log(pi_train / (1 - pi_train)) (Saerens+2002).

    Example:
        >>> sigmoid(shift_prevalence([0.0], pi_train=0.5, pi=0.01)).round(6).tolist()
        [0.01]
    """
    return np.asarray(logit, float) + math.log(pi / (1.0 - pi)) - math.log(pi_train / (1.0 - pi_train))


def fit_temperature(logit: ArrayLike, labels: ArrayLike) -> float:
    """Temperature T for which sigmoid(logit / T) has the smallest cross-entropy (Guo+2017), in [0.02, 50].

    The cross-entropy is convex in 1/T: the zero of its derivative, mean((sigmoid(logit / T) - label) logit),
    is found by bisection. Unlabelled rows (NaN) are left out. Separable data have no minimum and give the
    lower bound.

    Raises:
        ValueError: if no row has both a logit and a label.

    Example:
        >>> fit_temperature([4.0, 4.0, 4.0, -4.0], [1, 1, 0, 0])  # over-confident: T > 1
        3.640957
    """
    z, y = np.asarray(logit, float), np.asarray(labels, float)
    known = np.isfinite(z) & np.isfinite(y)
    if not known.any():
        raise ValueError("no row has both a logit and a label")
    z, y = z[known], y[known]
    low, high = math.log(0.02), math.log(50.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        slope = np.mean((sigmoid(z * math.exp(-middle)) - y) * z)
        low, high = (middle, high) if slope > 0 else (low, middle)
    return round(math.exp(0.5 * (low + high)), 6)


class Bins(NamedTuple):
    """Mean confidence, observed share of lenses and number of members of each bin that has any."""

    confidence: Array
    observed: Array
    members: Array


def _collect(index: NDArray[np.int64], labels: Array, probabilities: Array, bins: int) -> Bins:
    members = np.bincount(index, minlength=bins).astype(float)
    filled = members > 0
    sums = (np.bincount(index, weights=w, minlength=bins)[filled] for w in (probabilities, labels))
    confidence, observed = (total / members[filled] for total in sums)
    return Bins(confidence, observed, members[filled])


def equal_width_bins(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Bins:
    """Bins (k / bins, (k + 1) / bins]; the first is closed at 0, so that p = 0 counts.

    Example:
        >>> equal_width_bins([0, 1, 1], [0.0, 0.1, 1.0], bins=2).members.tolist()
        [2.0, 1.0]
    """
    y, p = np.asarray(labels, float), np.asarray(probabilities, float)
    inner = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return _collect(np.searchsorted(inner, p, side="left"), y, p, bins)


def equal_mass_bins(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Bins:
    """Bins of equal numbers of members, up to one and up to ties: equal probabilities share a bin.

    Example:
        >>> equal_mass_bins([0, 1, 1, 1], [0.1, 0.2, 0.8, 0.9], bins=2).observed.tolist()
        [0.5, 1.0]
    """
    y, p = np.asarray(labels, float), np.asarray(probabilities, float)
    ordered = np.sort(p, kind="stable")
    first = np.searchsorted(ordered, p, side="left")  # rank of the first of its ties
    return _collect(first * bins // max(p.size, 1), y, p, bins)
