"""Maps from a network's logit to log-odds that hold: temperature, beta, isotonic; each fitted on labelled scores.

All are increasing, so that calibration never changes a ranking. To add one, write its fit and its map and one line in
`CALIBRATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from mlensing.contract import Calibration
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import fit_temperature
from mlensing.evaluation.curves import LENS, Array

TILT = 1e-3
"""Slope that isotonic plateaus keep, in log-odds per logit: equal log-odds would lose the order within a plateau."""


def _fit_temperature(z: Array, y: Array) -> tuple[float, ...]:
    return (fit_temperature(z, y),)


def _temperature(z: Array, parameters: Array) -> Array:
    return np.asarray(z / parameters[0])


def _fit_beta(z: Array, y: Array) -> tuple[float, ...]:
    """a, b >= 0 and c of the smallest cross-entropy."""
    columns = np.stack([-np.logaddexp(0, -z), np.logaddexp(0, z), np.ones_like(z)], 1)

    def loss(parameters: Array) -> tuple[float, Array]:
        odds = columns @ parameters
        slope = 0.5 * (1 + np.tanh(0.5 * odds)) - y
        return float(np.mean(np.logaddexp(0, odds) - y * odds)), columns.T @ slope / z.size

    start = np.array([1 / fit_temperature(z, y)] * 2 + [0.0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (1e-3, None), (None, None)])
    return tuple(np.round(found.x, 6).tolist())


def _beta(z: Array, parameters: Array) -> Array:
    a, b, c = parameters
    return np.asarray(-a * np.logaddexp(0, -z) + b * np.logaddexp(0, z) + c)


def _fit_isotonic(z: Array, y: Array) -> tuple[float, ...]:
    """Slope beyond the knots, the knots, and their log-odds: the middles of the blocks of the isotonic regression.

    Half a lens and half an impostor are added to each block, or blocks of one class would claim certainty.
    """
    order = np.argsort(z, kind="stable")
    z, y = z[order], y[order]
    block = np.unique(IsotonicRegression().fit_transform(z, y), return_inverse=True)[1]
    size = np.bincount(block)
    share = (np.bincount(block, weights=y) + 0.5) / (size + 1.0)
    knots = np.bincount(block, weights=z) / size
    odds = np.maximum.accumulate(np.log(share / (1 - share))) + TILT * (knots - knots[0])
    return tuple(np.round([1 / fit_temperature(z, y), *knots, *odds], 6).tolist())


def _isotonic(z: Array, parameters: Array) -> Array:
    slope, (knots, odds) = parameters[0], np.split(parameters[1:], 2)
    inside = np.interp(z, knots, odds)
    return np.asarray(inside + slope * (np.minimum(z - knots[0], 0.0) + np.maximum(z - knots[-1], 0.0)))


class Calibrator(NamedTuple):
    """``fit(logit, labels) -> parameters`` and ``apply(logit, parameters) -> log-odds``."""

    fit: Callable[[Array, Array], tuple[float, ...]]
    apply: Callable[[Array, Array], Array]


CALIBRATORS: dict[str, Calibrator] = {
    "temperature": Calibrator(_fit_temperature, _temperature),
    "beta": Calibrator(_fit_beta, _beta),
    "isotonic": Calibrator(_fit_isotonic, _isotonic),
}
"""``temperature``: z / T (Guo+2017). ``beta``: a log p - b log(1 - p) + c (Kull+2017). ``isotonic``: linear between
the middles of the blocks of the pool-adjacent-violators solution (Zadrozny & Elkan 2002; Jiang+2011)."""


def fit_calibration(kind: str, logit: ArrayLike, labels: ArrayLike) -> Calibration:
    """The calibration of a kind with the smallest loss on labelled scores.

    Arguments:
        kind: a key of `CALIBRATORS`.
        logit: [N], without the shift of the class weights; rows without label or score (NaN) are left out.
        labels: [N] in [0, 1].

    Returns:
        the identity where one of the classes is missing or the scores separate them entirely: every sharper map would
        fit better.

    Raises:
        ConfigError: an unknown kind.

    Example:
        >>> fit_calibration("temperature", [4.0, 4.0, 4.0, -4.0], [1, 1, 0, 0])
        Calibration(kind='temperature', parameters=(3.640957,))
    """
    if kind not in CALIBRATORS:
        raise ConfigError("calibration", f"unknown kind {kind!r}", f"Known: {', '.join(CALIBRATORS)}.")
    z, y = np.asarray(logit, float), np.asarray(labels, float)
    known = np.isfinite(z) & np.isfinite(y)
    z, y = z[known], y[known]
    lenses, others = z[y >= LENS], z[y < LENS]
    if not (lenses.size and others.size) or lenses.min() > others.max():
        return Calibration()
    return Calibration(kind=kind, parameters=CALIBRATORS[kind].fit(z, y))


def calibrate(logit: ArrayLike, calibration: Calibration) -> Array:
    """Log-odds of logits without the shift of the class weights, of any shape.

    Example:
        >>> calibrate([2.0], Calibration(parameters=(2.0,))).tolist()
        [1.0]
    """
    return CALIBRATORS[calibration.kind].apply(np.asarray(logit, float), np.asarray(calibration.parameters))


def calibration_slope(logit: ArrayLike, calibration: Calibration, step: float = 0.05) -> Array:
    """Log-odds per logit at ``logit``, over +- ``step``: what a small deviation of the logit becomes.

    Example:
        >>> calibration_slope([2.0], Calibration(parameters=(2.0,))).round(6).tolist()
        [0.5]
    """
    z = np.asarray(logit, float)
    return np.asarray((calibrate(z + step, calibration) - calibrate(z - step, calibration)) / (2 * step))
