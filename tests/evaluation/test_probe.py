"""Probes of features, against scikit-learn by hand and against what must be so."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from mlensing.evaluation.probe import PROBES, knn_auc, linear_auc


def clouds(apart: float, count: int = 200, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return 3.0 + generator.normal(size=(count, width)) + apart * labels[:, None] * np.eye(width)[0], labels


def test_neighbours_vote_as_a_loop_says() -> None:
    features, labels = clouds(2.0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores = np.zeros(len(labels))
    for fitted, held in StratifiedKFold(5, shuffle=True, random_state=3).split(features, labels):
        for row in held:
            cosine = unit[fitted] @ unit[row]
            nearest = np.argsort(-cosine)[:7]
            votes = np.exp(cosine[nearest] / 0.07)
            scores[row] = (votes * labels[fitted][nearest]).sum() / votes.sum()
    assert knn_auc(features, labels, neighbours=7, seed=3) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


def test_the_linear_probe_is_a_logistic_regression_of_standardised_features() -> None:
    features, labels = clouds(1.0)
    scores = np.zeros(len(labels))
    for fitted, held in StratifiedKFold(5, shuffle=True, random_state=3).split(features, labels):
        mean, std = features[fitted].mean(0), features[fitted].std(0)
        model = LogisticRegression(max_iter=1000).fit((features[fitted] - mean) / std, labels[fitted])
        scores[held] = model.predict_proba((features[held] - mean) / std)[:, 1]
    assert linear_auc(features, labels, seed=3) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


@pytest.mark.parametrize("name", PROBES)
def test_nothing_is_scored_by_an_image_of_its_own_group(name: str) -> None:
    """Pairs of equal noise with equal labels: a twin in another fold would tell the label."""
    features, labels = np.random.default_rng(1).normal(size=(60, 40)), np.arange(60) % 2
    twice, both, groups = np.repeat(features, 2, 0), np.repeat(labels, 2), [f"g{i // 2}" for i in range(120)]
    apart = PROBES[name](twice, both, groups=groups)
    assert PROBES[name](twice, both) > 0.8 and abs(apart - 0.5) < 0.25


@pytest.mark.parametrize("name", PROBES)
def test_more_apart_is_better_and_unknown_labels_do_not_count(name: str) -> None:
    near, far = (PROBES[name](*clouds(apart)) for apart in (0.0, 4.0))
    assert abs(near - 0.5) < 0.12 and far > 0.95
    features, labels = clouds(2.0)
    more = np.concatenate([features, np.full((5, 6), 100.0)]), np.concatenate([labels, np.full(5, np.nan)])
    assert PROBES[name](*more) == PROBES[name](features, labels)


@pytest.mark.parametrize("name", PROBES)
def test_what_the_set_cannot_give_is_nan(name: str) -> None:
    features = np.random.default_rng(0).normal(size=(6, 3))
    assert np.isnan(PROBES[name](features, [1, 0, 0, 0, 0, 0])) and np.isnan(PROBES[name](features, [0] * 6))
    assert not np.isnan(PROBES[name](features, [1, 1, 0, 0, 0, 0]))
