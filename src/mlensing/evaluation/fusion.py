"""From the logits of several members to one log-odds: the rules, and how much the members differ.

Conventions: arrays are [members, images]; logits are without the shift of the class weights; weights are normalised
over members for each image, and there is one sigmoid, after fusing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from mlensing.contract import Calibration, Fusion
from mlensing.errors import ConfigError
from mlensing.evaluation.calibrators import calibrate, calibration_slope, fit_calibration
from mlensing.evaluation.curves import LENS, Array

EPSILON = 1e-6
"""Added to a variance before it is inverted."""
CALIBRATED = ("calibrated_mean", "stacked")
"""Rules that calibrate each member before they combine."""


def inverse_variance(logit: ArrayLike, variance: ArrayLike) -> Array:
    """sum w_m logit_m / sum w_m with w_m = 1 / (variance_m + 1e-6): [M, N], [M, N] -> [N].

    Example:
        >>> inverse_variance([[4.0], [0.0]], [[1.0], [3.0]]).round(4).tolist()
        [3.0]
    """
    weight = 1.0 / (np.asarray(variance, float) + EPSILON)
    return np.asarray((weight * np.asarray(logit, float)).sum(0) / weight.sum(0))


def fit_stack(logit: ArrayLike, labels: ArrayLike) -> tuple[float, ...]:
    """Weights of the members, none negative, and a bias: the logistic regression of labels on logits.

    Arguments:
        logit: [M, N], calibrated; rows of ``labels`` [N] that are NaN are left out.

    Example:
        >>> *weights, bias = fit_stack([[3.0, -3.0, 1.0, -1.0], [0.0, 0.0, 0.1, 0.1]], [1, 0, 0, 1])
        >>> weights[0] > 0
        True
    """
    z, y = np.asarray(logit, float), np.asarray(labels, float)
    known = np.isfinite(z).all(0) & np.isfinite(y)
    columns, y = np.append(z[:, known], np.ones((1, known.sum())), 0).T, y[known]

    def loss(parameters: Array) -> tuple[float, Array]:
        odds = columns @ parameters
        slope = 0.5 * (1 + np.tanh(0.5 * odds)) - y
        return float(np.mean(np.logaddexp(0, odds) - y * odds)), columns.T @ slope / y.size

    start = np.append(np.full(len(z), 1 / len(z)), 0.0)
    bounds = [(0.0, None)] * len(z) + [(None, None)]
    return tuple(np.round(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x, 6).tolist())


def members_log_odds(logit: ArrayLike, calibrations: Sequence[Calibration]) -> Array:
    """Each member's own calibrated log-odds [M, N]."""
    pairs = zip(np.asarray(logit, float), calibrations, strict=True)
    return np.stack([calibrate(row, calibration) for row, calibration in pairs])


def combine(logit: ArrayLike, variance: ArrayLike, rule: str, weights: Sequence[float] = ()) -> Array:
    """Fused logit [N] by a rule, before the calibration of the whole.

    Arguments:
        logit: [M, N]; calibrated for the rules ``CALIBRATED``.
        variance: [M, N], of the logit under dropout.
        rule: ``mean``, ``inverse_variance``, ``calibrated_mean`` or ``stacked``.
        weights: of the members and the bias, of ``stacked``.

    Raises:
        ConfigError: an unknown rule.
    """
    z = np.asarray(logit, float)
    if rule in ("mean", "calibrated_mean"):
        return np.asarray(z.mean(0))
    if rule == "inverse_variance":
        return inverse_variance(z, variance)
    if rule == "stacked":
        return np.asarray(np.tensordot(weights[:-1], z, 1) + weights[-1])
    raise ConfigError("rule", f"unknown rule {rule!r}", f"Known: {', '.join(RULES)}.")


RULES = ("mean", "inverse_variance", "calibrated_mean", "stacked")


def fit_fusion(
    rule: str, logit: ArrayLike, variance: ArrayLike, labels: ArrayLike, calibrations: Sequence[Calibration]
) -> Fusion:
    """A rule with its weights, and the calibration of what it fuses, from labelled scores.

    Arguments:
        logit, variance: [M, N] of the members.
        labels: [N], NaN = unlabelled.
        calibrations: of the members.
    """
    z = members_log_odds(logit, calibrations) if rule in CALIBRATED else np.asarray(logit, float)
    weights = fit_stack(z, labels) if rule == "stacked" else ()
    whole = fit_calibration("beta", combine(z, variance, rule, weights), labels)
    return Fusion(rule=rule, weights=weights, calibration=whole)


def fuse(
    fusion: Fusion, logit: ArrayLike, variance: ArrayLike, calibrations: Sequence[Calibration]
) -> tuple[Array, Array]:
    """Log-odds [N] and their deviation [N].

    The deviation is of the members about their mean and of each under dropout, together (law of total variance), as
    log-odds of the whole.

    Example:
        >>> odds, deviation = fuse(Fusion(), [[1.0], [3.0]], [[0.25], [0.25]], [Calibration(), Calibration()])
        >>> odds.tolist(), deviation.round(4).tolist()
        ([2.0], [1.118])
    """
    z, v = np.asarray(logit, float), np.asarray(variance, float)
    if fusion.rule in CALIBRATED:
        pairs = zip(z, calibrations, strict=True)
        v = v * np.stack([calibration_slope(row, calibration) for row, calibration in pairs]) ** 2
        z = members_log_odds(z, calibrations)
    fused = combine(z, v, fusion.rule, fusion.weights)
    spread = np.sqrt(v.mean(0) + z.var(0))
    return calibrate(fused, fusion.calibration), spread * calibration_slope(fused, fusion.calibration)


class Diversity(NamedTuple):
    """How differently members judge the same images.

    Attributes:
        spread: mean over images of the standard deviation over members of the logits.
        disagreement: mean over pairs of members of the share of images that one calls a lens and the other not.
        error_correlation: mean over pairs of the correlation of probability minus label; NaN without labels.
    """

    spread: float
    disagreement: float
    error_correlation: float


def disagreements(logit: ArrayLike) -> Array:
    """Share of images that one member calls a lens and another not: [M, N] -> [M, M].

    Example:
        >>> disagreements([[1.0, -1.0], [-1.0, -1.0]]).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    called = np.asarray(logit, float) >= 0
    return np.stack([np.mean(called != one, axis=1) for one in called])


def error_correlations(logit: ArrayLike, labels: ArrayLike) -> Array:
    """Correlation of probability minus label between members: [M, N], [N] -> [M, M]; rows without a label are left out.

    Example:
        >>> error_correlations([[1.0, 2.0, -1.0], [1.0, 2.0, -1.0]], [1, 0, 0]).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    z, y = np.asarray(logit, float), np.asarray(labels, float)
    known = np.isfinite(y)
    return np.asarray(np.corrcoef(0.5 * (1 + np.tanh(0.5 * z[:, known])) - (y[known] >= LENS)))


def diversity(logit: ArrayLike, labels: ArrayLike | None = None) -> Diversity:
    """Diversity of calibrated logits [M, N], with at least two members.

    Example:
        >>> diversity([[1.0, -1.0], [-1.0, -1.0]]).disagreement
        0.5
    """
    z = np.asarray(logit, float)
    pairs = np.triu_indices(len(z), 1)
    correlation = float("nan") if labels is None else float(np.mean(error_correlations(z, labels)[pairs]))
    return Diversity(float(z.std(0).mean()), float(np.mean(disagreements(z)[pairs])), correlation)
