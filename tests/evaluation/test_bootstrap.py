import math

import numpy as np
import pytest

from mlensing.evaluation.bootstrap import intervals, resamples
from mlensing.evaluation.metrics import METRICS, RANKING, accuracy, recall, roc_auc


def drawn(size=400, seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.3).astype(float)
    return labels, 1 / (1 + np.exp(-(generator.normal(size=size) + 2 * labels - 1)))


def test_samples_keep_the_classes_and_come_sorted():
    labels, scores = drawn()
    pairs = set(zip(labels.tolist(), scores.tolist(), strict=True))
    for found, found_scores in resamples(labels, scores, seed=1, count=5):
        assert found.sum() == labels.sum() and found.size == labels.size
        assert np.all(np.diff(found_scores) <= 0)
        assert set(zip(found.tolist(), found_scores.tolist(), strict=True)) < pairs


def test_the_same_seed_gives_the_same_intervals_and_another_does_not():
    first, again, other = (intervals(METRICS, *drawn(), seed=seed, count=20) for seed in (3, 3, 4))
    assert first == again and first["roc_auc"] != other["roc_auc"]


def test_interval_of_a_share_is_that_of_the_binomial():
    labels = np.ones(1000)
    scores = np.r_[np.full(800, 0.9), np.full(200, 0.1)]
    found = intervals({"recall": recall}, labels, scores, count=2000)["recall"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert found.value == 0.8
    assert (found.low, found.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.004)


def test_coverage_of_the_auc_of_two_normals():
    truth = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # AUC of N(0, 1) against N(sqrt 2, 1) is Phi(1)
    hits, trials = 0, 150
    generator = np.random.default_rng(5)
    labels = np.repeat([1.0, 0.0], 80)
    for trial in range(trials):
        scores = generator.normal(size=160) + math.sqrt(2) * labels
        found = intervals({"auc": roc_auc}, labels, scores, seed=trial, count=200)["auc"]
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / trials <= 0.99


def test_figures_of_the_whole_set_are_the_metrics_themselves():
    found = intervals(METRICS, *drawn(), count=5)
    for name, metric in METRICS.items():
        assert found[name].value == pytest.approx(metric(*drawn()), nan_ok=True)


@pytest.mark.parametrize("labels", [[1.0], [0.0, 0.0], []])
def test_one_class_gives_nan_and_no_warning(labels, recwarn):
    found = intervals(METRICS, labels, [0.7] * len(labels), count=5)
    assert all(math.isnan(bound) for name in RANKING for bound in found[name])
    assert not recwarn.list


def test_no_resamples_give_figures_without_bounds():
    found = intervals({"accuracy": accuracy}, [1, 0], [0.9, 0.1], count=0)["accuracy"]
    assert found.value == 1.0 and math.isnan(found.low) and math.isnan(found.high)
