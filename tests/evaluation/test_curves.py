import numpy as np
import pytest

from mlensing.evaluation.curves import (
    purity_at_prevalence,
    purity_completeness,
    roc_curve,
    thin,
    threshold_counts,
)

LABELS, SCORES = [1, 1, 0, 1, 0, 0, 1], [0.9, 0.8, 0.8, 0.5, 0.5, 0.5, 0.1]


def test_counts_agree_with_a_loop_over_thresholds():
    counts = threshold_counts(LABELS, SCORES)
    for threshold, true, false in zip(*counts[:3], strict=True):
        accepted = [label for label, score in zip(LABELS, SCORES, strict=True) if score >= threshold]
        assert (true, false) == (sum(accepted), len(accepted) - sum(accepted))


def test_roc_agrees_with_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    fpr, tpr, _ = metrics.roc_curve(LABELS, SCORES, drop_intermediate=False)
    ours = roc_curve(threshold_counts(LABELS, SCORES))
    np.testing.assert_allclose(ours, (fpr, tpr))


def test_purity_at_the_prevalence_of_the_set_is_the_purity_of_the_set():
    counts = threshold_counts(LABELS, SCORES)
    _, purity, completeness = purity_completeness(counts)
    shifted_completeness, shifted = purity_at_prevalence(counts, 4 / 7)
    np.testing.assert_allclose(shifted_completeness, completeness)
    np.testing.assert_allclose(shifted[1:], purity[1:])
    assert np.isnan(shifted[0])  # no non-lens passes: the rate is not measured


def test_rarer_lenses_mean_less_purity():
    counts = threshold_counts(LABELS, SCORES)
    common, rare = (purity_at_prevalence(counts, pi)[1][-1] for pi in (0.1, 0.001))
    assert rare == pytest.approx(0.001) and common == pytest.approx(0.1)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -1.0, float("nan")])
def test_a_prevalence_outside_the_open_interval_is_refused(prevalence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        purity_at_prevalence(threshold_counts(LABELS, SCORES), prevalence)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="shape"):
        threshold_counts([1, 0], [0.5])


@pytest.mark.parametrize("size", [0, 1, 299, 300, 301, 5000])
def test_thinning_keeps_both_ends_and_the_limit(size):
    kept = thin(size)
    assert len(kept) <= 300 and len(set(kept.tolist())) == len(kept)
    assert size == 0 or (kept[0], kept[-1]) == (0, size - 1)
