"""What features are worth: how well the simplest classifiers tell lenses by them, on images they were not fitted to.

Every score is out of fold: folds are stratified by label, images of one group never in two of them. Rows whose label is
NaN are left out; a figure that the set cannot give (fewer than two images of a class) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.metrics import roc_auc

NEIGHBOURS = 20
SHARPNESS = 0.07
"""Temperature of the neighbours' votes (Wu+2018)."""
FOLDS = 5


def knn_auc(
    features: ArrayLike, labels: ArrayLike, *, groups: Sequence[Any] | None = None, seed: int = 0,
    neighbours: int = NEIGHBOURS,
) -> float:  # fmt: skip
    """ROC area of a vote of the nearest neighbours by cosine, each weighted by ``exp(cosine / 0.07)``.

    The classifier of Wu et al. 2018 (arXiv:1805.01978), which has nothing to learn.

    Arguments:
        features: [N, F].
        labels: [N], a lens from 0.5 on, NaN if unknown.
        groups: [N], which object each image shows.
        seed: of the folds.
        neighbours: that vote; fewer where a fold has fewer.

    Example:
        >>> features = np.array([[1.0, 0.1 * i] for i in range(-9, 10, 2)])
        >>> knn_auc(features, features[:, 1] > 0, neighbours=3)
        1.0
    """
    return _auc(partial(_neighbours, most=neighbours), features, labels, groups, seed)


def linear_auc(features: ArrayLike, labels: ArrayLike, *, groups: Sequence[Any] | None = None, seed: int = 0) -> float:
    """ROC area of a logistic regression on standardised features (L2 penalty, C = 1); arguments as ``knn_auc``.

    The linear probe of Alain & Bengio 2016 (arXiv:1610.01644).

    Example:
        >>> features = np.array([[1.0, 0.1 * i] for i in range(-9, 10, 2)])
        >>> linear_auc(features, features[:, 1] > 0)
        1.0
    """
    return _auc(
        lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), features, labels, groups, seed
    )


PROBES: dict[str, Callable[..., float]] = {"knn_auroc": knn_auc, "linear_auroc": linear_auc}
"""Each figure by its name: ``(features, labels, *, groups, seed) -> float``."""


def _neighbours(fitted: int, *, most: int) -> Any:
    return KNeighborsClassifier(min(most, fitted), metric="cosine", weights=_votes)


def _votes(distance: Array) -> Array:
    votes: Array = np.exp(-distance / SHARPNESS)  # distance is 1 - cosine
    return votes


def _auc(
    make: Callable[[int], Any], features: ArrayLike, labels: ArrayLike, groups: Sequence[Any] | None, seed: int
) -> float:
    """Area under the ROC of out-of-fold scores of ``make(images that the smallest fit has)``."""
    x, label = np.asarray(features, np.float64), np.asarray(labels, np.float64)
    known = ~np.isnan(label)
    x, truth = x[known], label[known] >= LENS
    objects = np.arange(len(truth)) if groups is None else np.asarray(groups)[known]
    per_class = [len(np.unique(objects[truth == which])) for which in (True, False)]
    folds = min(FOLDS, *per_class)
    if folds < 2:
        return float("nan")
    kind: Any = StratifiedKFold if groups is None else StratifiedGroupKFold
    split = kind(folds, shuffle=True, random_state=seed)
    parts = list(split.split(x, truth, None if groups is None else objects))
    model = make(min(len(fitted) for fitted, _ in parts))
    scores = cross_val_predict(model, x, truth, cv=parts, method="predict_proba")[:, 1]
    return roc_auc(truth, scores)
