import math
from functools import partial

import numpy as np
import pytest
from sklearn import metrics as reference

from mlensing.evaluation import metrics
from mlensing.evaluation.metrics import METRICS, RANKING

REFERENCE = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p >= 0.5),
    "precision": lambda y, p: reference.precision_score(y, p >= 0.5),
    "recall": lambda y, p: reference.recall_score(y, p >= 0.5),
    "f1": lambda y, p: reference.f1_score(y, p >= 0.5),
    "roc_auc": reference.roc_auc_score,
    "pr_auc": reference.average_precision_score,
    "brier": reference.brier_score_loss,
}


def recall_within(labels, scores, allowed):
    """Highest recall of any threshold that lets at most ``allowed`` non-lenses pass, by trying each."""
    best = 0.0
    for threshold in set(scores.tolist()):
        accepted = scores >= threshold
        if np.sum(accepted & (labels == 0)) <= allowed:
            best = max(best, np.sum(accepted & (labels == 1)) / np.sum(labels))
    return best


def calibration_gaps(labels, probabilities, bins=15):
    gaps = []
    for k in range(bins):
        low, high = np.linspace(0, 1, bins + 1)[[k, k + 1]]
        inside = (probabilities > low) & (probabilities <= high)
        inside |= (probabilities == 0) & (k == 0)
        if inside.any():
            gaps.append((inside.sum(), abs(labels[inside].mean() - probabilities[inside].mean())))
    return gaps


@pytest.fixture(params=["smooth", "tied", "saturated", "small"])
def scored(request):
    generator = np.random.default_rng(7)
    size = 30 if request.param == "small" else 1500
    labels = (generator.random(size) < 0.3).astype(float)
    probabilities = 1 / (1 + np.exp(-(generator.normal(size=size) * 1.5 + 3 * labels - 1.5)))
    if request.param == "tied":
        probabilities = np.round(probabilities, 1)
    if request.param == "saturated":
        probabilities = np.round(probabilities)
    return labels, probabilities


@pytest.mark.parametrize("name", REFERENCE)
def test_agrees_with_sklearn(name, scored):
    assert METRICS[name](*scored) == pytest.approx(REFERENCE[name](*scored), abs=1e-12)


@pytest.mark.parametrize(("name", "allowed"), [("tpr0", 0), ("tpr10", 9)])
def test_recall_before_false_positives_agrees_with_every_threshold_tried(name, allowed, scored):
    assert METRICS[name](*scored) == pytest.approx(recall_within(*scored, allowed))


@pytest.mark.parametrize("rate", [0.0, 1e-3, 1e-2, 0.1, 0.5, 1.0])
def test_recall_at_a_rate_agrees_with_every_threshold_tried(rate, scored):
    labels, scores = scored
    allowed = math.floor(rate * np.sum(labels == 0) + 1e-9)
    assert metrics.tpr_at_fpr(labels, scores, rate) == pytest.approx(recall_within(labels, scores, allowed))


def test_recall_at_a_rate_takes_the_point_on_the_line_and_not_the_first_above():
    labels = np.array([1] + [0] + [1] + [0] + [1] + [0] * 98)  # 100 non-lenses
    scores = np.arange(len(labels), 0, -1.0)
    assert metrics.tpr_at_fpr(labels, scores, 0.01) == pytest.approx(2 / 3)
    assert metrics.tpr_at_fpr(labels, scores, 0.0099) == pytest.approx(1 / 3)
    labels = np.array([0] * 29 + [1] + [0] * 71)
    assert metrics.tpr_at_fpr(labels, np.arange(101, 0, -1.0), 0.29) == 1.0  # 0.29 * 100 < 29 in floating point


def test_a_false_positive_tied_with_the_best_lenses_leaves_no_recall():
    assert metrics.tpr0([1, 1, 0], [0.9, 0.9, 0.9]) == 0.0


def test_calibration_errors_agree_with_a_loop(scored):
    gaps = calibration_gaps(*scored)
    assert metrics.ece(*scored) == pytest.approx(sum(n * gap for n, gap in gaps) / len(scored[0]))
    full = [gap for n, gap in gaps if n >= metrics.MEMBERS]
    assert metrics.mce(*scored) == pytest.approx(max(full) if full else math.nan, nan_ok=True)


def test_probability_zero_counts_in_the_calibration_error():
    assert metrics.ece([1, 1], [0.0, 0.0]) == 1.0
    assert metrics.ece([1, 0], [1.0, 0.0]) == 0.0


def test_equal_mass_error_agrees_with_array_split_without_ties():
    generator = np.random.default_rng(3)
    probabilities = np.sort(generator.random(1500))
    labels = (generator.random(1500) < probabilities**2).astype(float)
    parts = np.array_split(np.arange(1500), 15)
    gaps = [abs(labels[part].mean() - probabilities[part].mean()) for part in parts]
    assert metrics.ece_equal_mass(labels, probabilities) == pytest.approx(np.mean(gaps))


def test_equal_mass_error_does_not_depend_on_the_order_of_ties(scored):
    labels, probabilities = scored
    shuffle = np.random.default_rng(1).permutation(len(labels))
    again = metrics.ece_equal_mass(labels[shuffle], probabilities[shuffle])
    assert again == pytest.approx(metrics.ece_equal_mass(labels, probabilities))


@pytest.mark.parametrize("name", METRICS)
def test_order_of_rows_does_not_matter(name, scored):
    labels, probabilities = scored
    shuffle = np.random.default_rng(2).permutation(len(labels))
    again = METRICS[name](labels[shuffle], probabilities[shuffle])
    assert again == pytest.approx(METRICS[name](labels, probabilities), nan_ok=True)


@pytest.mark.parametrize("name", RANKING)
def test_metrics_of_rank_see_only_the_order(name, scored):
    labels, probabilities = scored
    assert RANKING[name](labels, 5 * probabilities - 40) == RANKING[name](labels, probabilities)


@pytest.mark.parametrize("labels", [[], [1], [0], [1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("name", METRICS)
def test_a_figure_that_the_set_cannot_give_is_nan(name, labels):
    value = METRICS[name](labels, [0.7] * len(labels))
    assert isinstance(value, float)
    if not labels or name in RANKING or (name == "recall" and not sum(labels)):
        assert math.isnan(value)


def test_precision_of_nothing_is_nan():
    assert math.isnan(metrics.precision([1, 0], [0.1, 0.2]))


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1", *RANKING])
def test_soft_labels_are_lenses_from_a_half_on(name):
    soft, hard = [0.5, 0.9, 0.49, 0.0], [1, 1, 0, 0]
    scores = [0.6, 0.3, 0.55, 0.1]
    assert METRICS[name](soft, scores) == METRICS[name](hard, scores)


def test_perfect_scores_are_perfect():
    labels, probabilities = [1.0] * 40 + [0.0] * 40, [1.0] * 40 + [0.0] * 40
    errors = {"ece", "ece_equal_mass", "mce", "brier"}
    for name, metric in METRICS.items():
        assert metric(labels, probabilities) == (0.0 if name in errors else 1.0), name


def test_entries_state_their_rate():
    for name, rate in (("tpr_at_fpr_1e-2", 1e-2), ("tpr_at_fpr_1e-3", 1e-3)):
        entry = METRICS[name]
        assert isinstance(entry, partial) and entry.keywords == {"fpr": rate}
