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
NONE = float("nan")
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


def physics_weights(variance: ArrayLike, physics: ArrayLike, temperature: float) -> Array:
    """Weights [M, N]: ``exp(-physics_loss / temperature) / (variance + 1e-6)`` among members with maps.

    The factor is normalised among these: together they keep the weight that their variances give them, and what they
    share out is that. A member without maps (NaN) keeps its own, for no residual is not a perfect one; and where only
    one has maps the factor changes nothing.

    Arguments:
        variance: [M, N].
        physics: [M, N], mean squared Poisson residual of each member's maps.
        temperature: of the factor.

    Example:
        >>> nan = float("nan")
        >>> physics_weights([[1.0], [1.0], [1.0]], [[0.0], [9.0], [nan]], 0.1).round(3).ravel().tolist()
        [2.0, 0.0, 1.0]
    """
    weight, loss = 1.0 / (np.asarray(variance, float) + EPSILON), np.asarray(physics, float)
    takes_part = np.isfinite(loss)
    least = np.where(takes_part, loss, np.inf).min(0, initial=np.inf)
    factor = np.exp(-np.where(takes_part, loss - np.where(np.isfinite(least), least, 0.0), 0.0) / temperature)
    before, after = ((takes_part * part).sum(0) for part in (weight, weight * factor))
    kept = np.divide(before, after, out=np.ones_like(before), where=after > 0)
    return np.asarray(np.where(takes_part, weight * factor * kept, weight))


def consistency(physics: ArrayLike, temperature: float) -> Array:
    """How well maps keep lap psi = 2 kappa, from 0 to 1: the mean over members with maps of exp(-loss / temperature).

    Example:
        >>> consistency([[0.0, float("nan")], [float("nan"), float("nan")]], 0.01).tolist()
        [1.0, nan]
    """
    score = np.exp(-np.asarray(physics, float) / temperature)
    known = np.isfinite(score)
    count = known.sum(0)
    total = np.where(known, score, 0.0).sum(0)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, NONE), where=count > 0))


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


def combine(
    logit: ArrayLike, variance: ArrayLike, rule: str, weights: Sequence[float] = (), *, physics: ArrayLike = NONE,
    temperature: float = 1.0,
) -> Array:  # fmt: skip
    """Fused logit [N] by a rule, before the calibration of the whole.

    Arguments:
        logit: [M, N]; calibrated for the rules ``CALIBRATED``.
        variance: [M, N], of the logit under dropout.
        rule: one of ``RULES``.
        weights: of the members and the bias, of ``stacked``.
        physics, temperature: as for ``physics_weights``, of ``physics``; NaN where a member has no maps.

    Raises:
        ConfigError: an unknown rule.
    """
    z = np.asarray(logit, float)
    if rule in ("mean", "calibrated_mean"):
        return np.asarray(z.mean(0))
    if rule == "inverse_variance":
        return inverse_variance(z, variance)
    if rule == "physics":
        share = physics_weights(variance, np.broadcast_to(physics, z.shape), temperature)
        return np.asarray((share * z).sum(0) / share.sum(0))
    if rule == "stacked":
        return np.asarray(np.tensordot(weights[:-1], z, 1) + weights[-1])
    raise ConfigError("rule", f"unknown rule {rule!r}", f"Known: {', '.join(RULES)}.")


RULES = ("mean", "inverse_variance", "physics", "calibrated_mean", "stacked")


def fit_fusion(
    rule: str, logit: ArrayLike, variance: ArrayLike, labels: ArrayLike, calibrations: Sequence[Calibration],
    physics: ArrayLike = NONE,
) -> Fusion:  # fmt: skip
    """A rule with its weights, and the calibration of what it fuses, from labelled scores.

    Arguments:
        logit, variance: [M, N] of the members.
        labels: [N], NaN = unlabelled.
        calibrations: of the members.
        physics: [M, N] residuals of the members' maps; the temperature is the median of those of lenses.
    """
    z = members_log_odds(logit, calibrations) if rule in CALIBRATED else np.asarray(logit, float)
    weights = fit_stack(z, labels) if rule == "stacked" else ()
    loss = np.broadcast_to(physics, z.shape)[:, np.asarray(labels, float) >= LENS]
    loss = loss[np.isfinite(loss) & (loss > 0)]
    temperature = float(np.median(loss)) if loss.size else Fusion().temperature
    fused = combine(z, variance, rule, weights, physics=physics, temperature=temperature)
    whole = fit_calibration("beta", fused, labels)
    return Fusion(rule=rule, weights=weights, calibration=whole, temperature=temperature)


def fuse(
    fusion: Fusion, logit: ArrayLike, variance: ArrayLike, calibrations: Sequence[Calibration],
    physics: ArrayLike = NONE,
) -> tuple[Array, Array]:  # fmt: skip
    """Log-odds [N] and their deviation [N]; ``physics`` [M, N] as for ``physics_weights``.

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
    fused = combine(z, v, fusion.rule, fusion.weights, physics=physics, temperature=fusion.temperature)
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
