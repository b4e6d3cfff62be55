"""The promise of conformal prediction, by simulation: exchangeable non-lenses pass as rarely as was said."""

from __future__ import annotations

import numpy as np
import pytest

from mlensing.evaluation.conformal import conformal_threshold, p_values


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("count", [30, 99, 500])
def test_at_most_the_share_passes_on_average(count: int, share: float) -> None:
    rng = np.random.default_rng(count)
    passed = []
    for _ in range(2000):
        scores = rng.standard_t(2, count + 20)  # heavy tails: nothing is assumed of the scores
        threshold = conformal_threshold(scores[:count], share)
        passed.append(np.mean(scores[count:] > threshold))
    error = np.std(passed) / np.sqrt(len(passed))
    assert np.mean(passed) <= share + 3 * error
    if (count + 1) * share >= 1:  # and it is not empty: no more than one rank is lost
        assert np.mean(passed) >= share - 1 / (count + 1) - 3 * error


def test_a_score_passes_the_threshold_where_its_p_value_does() -> None:
    rng = np.random.default_rng(0)
    reference, scores = rng.normal(size=199), rng.normal(1, 2, 1000)
    for share in (0.005, 0.02, 0.1):
        above = scores > conformal_threshold(reference, share)
        np.testing.assert_array_equal(above, p_values(scores, reference) <= share)


def test_ties_are_held_against_the_candidate_and_missing_scores_stay() -> None:
    assert p_values([1.0], [1.0, 1.0, 0.0]).tolist() == [0.75]
    assert np.isnan(p_values([np.nan], [0.0])[0])
    assert p_values([1.0], [0.0, np.nan]).tolist() == [0.5]
    with pytest.raises(ValueError, match="no reference"):
        p_values([1.0], [np.nan])
    assert conformal_threshold([1.0, 2.0], 0.01) == np.inf
