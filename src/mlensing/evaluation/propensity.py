"""Lenses from labels that favour some lenses: P(lens | x) and the labelling propensity, fitted together.

A row is labelled with ``P(s = 1 | x) = P(y = 1 | x) e(x)``, where e, the propensity, depends on attributes such as
theta_E, S/N of the arcs and magnitude (Bekker, Robberechts & Davis 2019, arXiv:1809.03207). Both factors are logistic:
P(y = 1 | x) in the features, e in the attributes. SAR-EM climbs the likelihood of s by turns; the same maximum is found
here by Fisher scoring, for many bootstrap weights at once.

What must be assumed, because labels alone do not tell rare lenses that are labelled often from common ones that are
labelled seldom:

1. No labelled row is a non-lens.
2. Both factors have the logistic form. So P(y = 1 | x) rises to 1 with the score: somewhere in the survey, at each
   value of the attributes, lenses stand clear of non-lenses. There g = e is seen directly; all else rests on it.
3. The score of a finder is no attribute: given the attributes, whether a lens is labelled does not depend on it.
4. The attributes are measured alike in all rows, lenses or not, and none that matters to the labelling is missing.

Real scores keep to the second only nearly, and then the interval of a census is too short: on simulated images with 50
or 130 labels the number came out between 0.4 and 4.3 times the truth, with a dozen labels anywhere
(``benchmarks/positive_unlabelled.py``).

Without attributes e is a constant c, and lenses are labelled at random; unlike Elkan & Noto's, this c has no bias where
lenses and non-lenses overlap, as long as the second assumption holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import Array

WIDTHS = {"lens": (100.0, 10.0, 1.0), "labelling": (3.0, 2.0, 2.0)}
"""Standard deviations of the normal priors about zero of intercept, first slope and further ones, in units of the
labelled lenses' spread about their mean. They keep a fit of a handful of labels finite: what stands beside the score is
taken to tell little that the score does not, unless the labels say otherwise."""
STARTS = (-3.0, -1.0, 1.0)
"""Log-odds of e that a fit starts from."""
STEPS, ENOUGH = 200, 1e-6
"""Steps at most, and the gain of log-likelihood at which to stop."""


class Rows(NamedTuple):
    """Rows as the fit takes them.

    Attributes:
        x, a: [N, F + 1], [N, A + 1]: a column of ones and the features, or the attributes, in units of the spread of
            the labelled lenses.
        labelled: [N].
        weights: [N], how many rows of the survey each stands for.
        units: centre and spread of features and of attributes.
    """

    x: Array
    a: Array
    labelled: NDArray[np.bool_]
    weights: Array
    units: tuple[Array, Array, Array, Array]


class Propensity(NamedTuple):
    """A fit.

    Attributes:
        lens: intercept and coefficients [1 + F] of the log-odds of P(lens | x).
        labelling: intercept and coefficients [1 + A] of the log-odds of e.
        number: of lenses in all rows, the labelled ones among them.
        parameters: the same coefficients [2 + F + A] in the units of ``rows_of``, to go on from.
    """

    lens: Array
    labelling: Array
    number: float
    parameters: Array


def rows_of(
    features: ArrayLike, attributes: ArrayLike | None, labelled: ArrayLike, weights: ArrayLike | None = None
) -> Rows:
    """Rows in the units of a fit; arguments as for :func:`fit_propensity`.

    Raises:
        ValueError: fewer than two labelled rows, a number that is not finite, or rows that differ in number.
    """
    s = np.asarray(labelled, bool)
    columns = [_columns(values, len(s)) for values in (features, attributes)]
    if s.sum() < 2:
        raise ValueError(f"expected two labelled rows or more, got {s.sum()}")
    many = np.ones(len(s)) if weights is None else np.asarray(weights, float)
    if not all(np.isfinite(values).all() for values in (*columns, many)):
        raise ValueError("features, attributes and weights must be finite")
    units, scaled = [], []
    for values in columns:
        centre, spread = values[s].mean(0), values[s].std(0)
        spread = np.where(spread > 0, spread, np.where(values.std(0) > 0, values.std(0), 1.0))
        units += [centre, spread]
        scaled.append(np.column_stack([np.ones(len(s)), (values - centre) / spread]))
    return Rows(scaled[0], scaled[1], s, many, (units[0], units[1], units[2], units[3]))


def _columns(values: ArrayLike | None, rows: int) -> Array:
    table = np.empty((rows, 0)) if values is None else np.asarray(values, float)
    table = table[:, None] if table.ndim == 1 else table
    if len(table) != rows:
        raise ValueError(f"expected {rows} rows, got {len(table)}")
    return table


def fit_propensity(
    features: ArrayLike,
    attributes: ArrayLike | None,
    labelled: ArrayLike,
    *,
    weights: ArrayLike | None = None,
) -> Propensity:
    """P(lens | x) and the labelling propensity of the greatest likelihood, and the number of lenses.

    Arguments:
        features: [N, F] or [N], what P(lens | x) depends on: first the score (log-odds) of a finder, then the
            attributes too, unless the score is known to hold all that they say of a row being a lens.
        attributes: [N, A] or [N], what the labelling depends on; None if lenses were labelled at random.
        labelled: [N], true for labelled lenses. Leave known non-lenses out: the rest is a survey of its own.
        weights: [N], how many rows of the survey each stands for.

    Raises:
        ValueError: as :func:`rows_of`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> lens = np.arange(20_000) < 200
        >>> z = rng.normal(6.0 * lens)
        >>> fit = fit_propensity(z, None, lens & (rng.random(20_000) < 0.3))
        >>> bool(150 < fit.number < 260), len(fit.labelling)
        (True, 1)
    """
    rows = rows_of(features, attributes, labelled, weights)
    found = climb(rows, np.tile(rows.weights, (len(STARTS), 1)), first_guesses(rows))
    best = found[int(np.argmax(_likelihood(rows, rows.weights[None], found)))]
    count, units = rows.x.shape[1], rows.units
    lens, labelling = _original(best[:count], *units[:2]), _original(best[count:], *units[2:])
    return Propensity(lens, labelling, float(lens_numbers(rows, rows.weights[None], best[None])[0]), best)


def log_odds(coefficients: ArrayLike, values: ArrayLike | None, rows: int) -> Array:
    """Log-odds [N] of an intercept and coefficients at ``values`` [N, F]: of P(lens | x), or of e.

    Example:
        >>> log_odds([1.0, 2.0], [0.5, 1.0], 2).tolist()
        [2.0, 3.0]
    """
    b = np.asarray(coefficients, float)
    return np.asarray(b[0] + _columns(values, rows) @ b[1:])


def posterior(lens: ArrayLike, propensity: ArrayLike, labelled: ArrayLike) -> Array:
    """P(lens | x, s): 1 for labelled rows, else p (1 - e) / (1 - p e), for having been passed over speaks against it.

    Example:
        >>> posterior([0.5, 0.5], [0.5, 0.0], [False, False]).round(3).tolist()
        [0.333, 0.5]
    """
    p, e, s = np.asarray(lens, float), np.asarray(propensity, float), np.asarray(labelled, bool)
    return np.where(s, 1.0, p * (1 - e) / np.maximum(1 - p * e, 1e-12))


def first_guesses(rows: Rows) -> Array:
    """Starts of a climb [starts, parameters]: labelled lenses are lenses, the first feature tells, e as in STARTS."""
    start = np.zeros((len(STARTS), rows.x.shape[1] + rows.a.shape[1]))
    start[:, :2], start[:, rows.x.shape[1]] = 3.0, STARTS
    return start


def lens_numbers(rows: Rows, weights: Array, parameters: Array) -> Array:
    """Expected number of lenses [B] for weights [B, N] and parameters [B, P]."""
    p, e = _factors(rows, parameters)
    return np.asarray((weights * posterior(p, e, rows.labelled)).sum(1))


def climb(rows: Rows, weights: Array, start: Array) -> Array:
    """Parameters [B, P] of the greatest penalised likelihood for each row of weights [B, N].

    Fisher scoring with Levenberg's damping: the information ``sum of w g / (1 - g) u u'``, with u the derivative of
    log g, is never negative, so that each accepted step climbs.
    """
    at, damping = start.copy(), np.full(len(start), 1e-2)
    value = _likelihood(rows, weights, at)
    active = np.arange(len(at))
    for _ in range(STEPS):
        slope, information = _derivatives(rows, weights[active], at[active])
        diagonal = np.einsum("bii->bi", information)
        damped = information + np.eye(at.shape[1]) * (damping[active, None] * diagonal)[:, :, None]
        new = at[active] + np.linalg.solve(damped, slope[..., None])[..., 0]
        risen = _likelihood(rows, weights[active], new)
        gain = risen - value[active]
        better = gain >= 0
        at[active[better]], value[active[better]] = new[better], risen[better]
        damping[active] *= np.where(better, 0.2, 10.0)
        active = active[~better & (damping[active] < 1e8) | (gain > ENOUGH)]
        if not active.size:
            break
    return at


def _original(parameters: Array, centre: Array, spread: Array) -> Array:
    """The same log-odds in the units of the user."""
    slopes = parameters[1:] / spread
    return np.append(parameters[0] - slopes @ centre, slopes)


def _factors(rows: Rows, parameters: Array) -> tuple[Array, Array]:
    count = rows.x.shape[1]
    return sigmoid(parameters[:, :count] @ rows.x.T), sigmoid(parameters[:, count:] @ rows.a.T)


def _precision(rows: Rows) -> Array:
    """Inverse squares of the priors' widths [P]; their means are zero."""
    counts = ((WIDTHS["lens"], rows.x.shape[1]), (WIDTHS["labelling"], rows.a.shape[1]))
    return np.concatenate([[*width[:2], *[width[2]] * count][:count] for width, count in counts]) ** -2.0


def _likelihood(rows: Rows, weights: Array, parameters: Array) -> Array:
    p, e = _factors(rows, parameters)
    g = np.clip(p * e, 1e-300, 1 - 1e-12)
    each = np.where(rows.labelled, np.log(g), np.log1p(-g))
    return np.asarray((weights * each).sum(1) - 0.5 * parameters**2 @ _precision(rows))


def _derivatives(rows: Rows, weights: Array, parameters: Array) -> tuple[Array, Array]:
    """Gradient [B, P] and information [B, P, P] of the likelihood."""
    p, e = _factors(rows, parameters)
    g = np.clip(p * e, 1e-300, 1 - 1e-12)
    odds = weights * g / (1 - g)
    pull = np.where(rows.labelled, weights, -odds)
    precision, slopes, informations = _precision(rows), [], []
    for of_lens, of_labelling, pulled, weighted in zip(1 - p, 1 - e, pull, odds, strict=True):
        u = np.column_stack([rows.x * of_lens[:, None], rows.a * of_labelling[:, None]])  # derivative of log g
        slopes.append(pulled @ u)
        informations.append(u.T @ (weighted[:, None] * u))
    return np.stack(slopes) - parameters * precision, np.stack(informations) + np.diag(precision)
