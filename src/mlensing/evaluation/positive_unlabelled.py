"""Learning from labels of a few lenses and of nothing else: Elkan & Noto, and what is measured without non-lenses.

A row is labelled (s = 1), and then a lens (y = 1), or unlabelled, and then either. All here but the ranks assumes that
lenses were labelled at random: P(s = 1 | x, y = 1) = c, whatever x. Where bright and wide systems were labelled first,
see :mod:`mlensing.evaluation.propensity`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.base import clone, is_classifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mlensing.contract import Calibration
from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.metrics import roc_auc

CLIP = 1e-6
"""c lies this far from 0 and 1 at least."""


def out_of_fold(
    features: ArrayLike,
    labelled: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
    estimator: Any = None,
) -> Array:
    """g(x) = P(labelled | x) of each row [N] by a classifier that has not seen it: stratified folds.

    Arguments:
        features: [N, F], or [N] scores.
        labelled: [N], true for labelled lenses; each fold gets its share of them.
        weights: [N], how many rows of the survey each stands for.
        folds: how many; no more than there are labelled rows.
        seed: of the folds.
        estimator: a scikit-learn classifier; None is an isotonic regression on one feature, which levels off at c as g
            does, and a logistic one on several, which cannot: rare lenses then are too many.

    Raises:
        ValueError: fewer than two labelled rows.

    Example:
        >>> z = np.append(np.linspace(-3, 1, 80), np.linspace(4, 5, 20))
        >>> g = out_of_fold(z, np.arange(100) % 2 * (z > 3) == 1)  # half of those above 3 are labelled
        >>> round(float(g[80:].mean()), 1), g[0].item()
        (0.5, 0.0)
    """
    x, s = np.asarray(features, float), np.asarray(labelled, bool)
    x = x[:, None] if x.ndim == 1 else x
    if s.sum() < 2:
        raise ValueError(f"expected two labelled rows or more, got {s.sum()}")
    many = np.ones(len(s)) if weights is None else np.asarray(weights, float)
    model = _default(x.shape[1]) if estimator is None else estimator
    name = f"{model.steps[-1][0]}__sample_weight" if isinstance(model, Pipeline) else "sample_weight"
    g = np.empty(len(s))
    for train, held_out in StratifiedKFold(min(folds, int(s.sum())), shuffle=True, random_state=seed).split(x, s):
        fitted = clone(model).fit(x[train], s[train], **{name: many[train]})
        says = fitted.predict_proba(x[held_out])[:, 1] if is_classifier(fitted) else fitted.predict(x[held_out])
        g[held_out] = says
    return g


def _default(columns: int) -> Any:
    if columns == 1:
        return IsotonicRegression(out_of_bounds="clip")
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def labelling_share(g: ArrayLike, labelled: ArrayLike) -> float:
    """Elkan & Noto's c = P(labelled | lens): the mean of out-of-fold g over the labelled lenses (2008, their e_1).

    This is not the prior: that is P(labelled) / c. It is right where labelled rows are lenses beyond doubt, that is
    where P(lens | x) = 1 at them; in general the mean is c E[P(lens | x) | lens]: too small, so that too many lenses
    are counted, wherever non-lenses of a survey reach the scores of its lenses.
    :func:`mlensing.evaluation.propensity.fit_propensity` has no such bias.

    Returns:
        c, kept within [1e-6, 1 - 1e-6]; what lies outside is brought there with a warning.

    Example:
        >>> round(labelling_share([0.1, 0.4, 0.6], [False, True, True]), 6)
        0.5
    """
    mean = float(np.mean(np.asarray(g, float)[np.asarray(labelled, bool)]))
    if not CLIP <= mean <= 1 - CLIP:
        warnings.warn(f"c is {mean:.3g}: brought into [{CLIP:g}, 1 - {CLIP:g}]", stacklevel=2)
    return float(np.clip(mean, CLIP, 1 - CLIP))


def lens_probability(g: ArrayLike, c: float) -> Array:
    """P(lens | x) = min(g / c, 1) (Elkan & Noto 2008, lemma 1).

    Example:
        >>> lens_probability([0.1, 0.3], 0.2).tolist()
        [0.5, 1.0]
    """
    return np.minimum(np.asarray(g, float) / c, 1.0)


def unlabelled_share(labels: ArrayLike, prior: float) -> float:
    """Share of lenses among all rows that are not labelled lenses, where ``prior`` is that of the unlabelled ones.

    Known non-lenses (label 0) stand beside the unlabelled rows (NaN), and hold no lens.

    Example:
        >>> unlabelled_share([1, np.nan, np.nan, np.nan, 0], 0.1)
        0.07500000000000001
    """
    y = np.asarray(labels, float)
    free, known = int(np.isnan(y).sum()), int((y < LENS).sum())
    return prior * free / max(free + known, 1)


def unlabelled_auc(labels: ArrayLike, scores: ArrayLike, prior: float) -> float:
    """The area under the ROC curve without non-lenses: (AUC' - pi / 2) / (1 - pi).

    AUC' is that of labelled lenses against all other rows, of which a share pi are lenses like them, which a lens
    outranks with a chance of 1/2: AUC' = pi / 2 + (1 - pi) AUC (Menon+2015). So both rank finders alike.
    By chance it may come out above 1. Where lenses were not labelled at random it is the AUC of lenses like the
    labelled ones.

    Arguments:
        labels: [N]; from 0.5 on a labelled lens, NaN unlabelled, else a known non-lens.
        scores: [N].
        prior: share of lenses among the unlabelled.

    Example:
        >>> unlabelled_auc([1, np.nan, np.nan, np.nan, np.nan], [3, 4, 2, 1, 0], 0.25)
        0.8333333333333334
    """
    pi = unlabelled_share(labels, prior)
    observed = roc_auc(np.asarray(labels, float) >= LENS, scores)
    return (observed - pi / 2) / (1 - pi)


def fit_unlabelled(logit: ArrayLike, labels: ArrayLike, prior: float) -> Calibration:
    """The affine calibration of logits with the smallest cross-entropy, without labels of non-lenses.

    With pi = :func:`unlabelled_share`, the cross-entropy of log-odds t = a z + b over rows of which a share pi are
    lenses is ``mean of log(1 + exp t) over all rows but the labelled - pi mean of t over the labelled`` (du
    Plessis+2015). It is convex; at its minimum the mean probability of the rows without a label is pi. As a ``beta``
    calibration: a = b.

    Arguments:
        logit: [N]; rows without a score (NaN) are left out.
        labels: [N]; from 0.5 on a labelled lens, NaN unlabelled, else a known non-lens.
        prior: share of lenses among the unlabelled, in (0, 1).

    Returns:
        the identity without labelled lenses or without other rows, and where the former all rank first.

    Example:
        >>> z = np.repeat([-4.0, 4.0, 4.0], [90, 10, 5])
        >>> found = fit_unlabelled(z, np.repeat([np.nan, np.nan, 1.0], [90, 10, 5]), 0.05)
        >>> found.kind, len(found.parameters)
        ('beta', 3)
    """
    z, y = np.asarray(logit, float), np.asarray(labels, float)
    z, y = z[np.isfinite(z)], y[np.isfinite(z)]
    lenses, others = z[y >= LENS], z[~(y >= LENS)]
    if not (lenses.size and others.size) or lenses.min() > others.max():
        return Calibration()
    pi = unlabelled_share(y, prior)

    def loss(parameters: Array) -> tuple[float, Array]:
        a, b = parameters
        odds = a * others + b
        p = 0.5 * (1 + np.tanh(0.5 * odds))
        value = np.mean(np.logaddexp(0, odds)) - pi * (a * lenses.mean() + b)
        return value / pi, np.array([np.mean(p * others) - pi * lenses.mean(), p.mean() - pi]) / pi

    start = np.array([1.0, 0.0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, 50.0), (-50.0, 50.0)])
    a, b = np.round(found.x, 6).tolist()
    return Calibration(kind="beta", parameters=(a, a, b))
