import math

import numpy as np
import pytest

from mlensing.evaluation.calibration import (
    equal_mass_bins,
    equal_width_bins,
    fit_temperature,
    remove_class_weight_shift,
    shift_prevalence,
    sigmoid,
)

generator = np.random.default_rng(11)
LOGIT = generator.normal(0, 2, 4000)
LABEL = (generator.random(4000) < 1 / (1 + np.exp(-LOGIT))).astype(float)


def test_sigmoid_keeps_small_probabilities_and_nan():
    assert sigmoid([-700.0])[0] == pytest.approx(math.exp(-700))
    assert sigmoid([-1e4, 1e4]).tolist() == [0.0, 1.0]
    assert np.isnan(sigmoid([np.nan])[0])


def test_removing_the_weight_shift_gives_back_the_share_of_lenses():
    # The minimum of a loss with w_pos / w_neg = r over a constant logit has odds r * pi / (1 - pi).
    ratio, share = 4.0, 0.2
    logit = math.log(ratio * share / (1 - share))
    assert sigmoid(remove_class_weight_shift([logit], ratio))[0] == pytest.approx(share)


def test_prevalence_shift_is_bayes():
    logit, likelihood_ratio = math.log(3.0 * 0.4 / 0.6), 3.0
    expected = 3e-3 * likelihood_ratio / (3e-3 * likelihood_ratio + 1 - 3e-3)
    assert sigmoid(shift_prevalence([logit], 0.4, 3e-3))[0] == pytest.approx(expected)
    assert shift_prevalence(shift_prevalence([1.0], 0.5, 0.01), 0.01, 0.5)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_temperature_undoes_a_known_factor(factor):
    assert fit_temperature(factor * LOGIT, LABEL) == pytest.approx(factor, rel=0.08)


def test_temperature_is_the_minimum_of_the_cross_entropy():
    def loss(temperature):
        z = 2 * LOGIT / temperature
        return np.mean(np.logaddexp(0, z) - LABEL * z)

    best = fit_temperature(2 * LOGIT, LABEL)
    assert loss(best) < min(loss(best * 1.02), loss(best / 1.02))


def test_temperature_leaves_out_rows_without_label_or_score():
    logit, label = np.append(LOGIT, [np.nan, 5.0]), np.append(LABEL, [1.0, np.nan])
    assert fit_temperature(logit, label) == fit_temperature(LOGIT, LABEL)


def test_temperature_is_bounded_on_separable_data_and_refuses_nothing_at_all():
    assert fit_temperature([3.0, -3.0], [1, 0]) == pytest.approx(0.02)
    with pytest.raises(ValueError, match="no row"):
        fit_temperature([np.nan], [1.0])


@pytest.mark.parametrize("bins", [equal_width_bins, equal_mass_bins])
def test_bins_hold_every_image_once(bins):
    found = bins(LABEL, sigmoid(LOGIT))
    assert found.members.sum() == len(LABEL)
    assert np.sum(found.members * found.observed) == pytest.approx(LABEL.sum())
    assert np.all(np.diff(found.confidence) > 0)


def test_bins_of_equal_mass_are_of_equal_mass_without_ties():
    assert np.ptp(equal_mass_bins(LABEL, sigmoid(LOGIT)).members) <= 1


def test_edges_belong_to_the_bin_below_and_zero_to_the_first():
    found = equal_width_bins([0, 0, 1, 1], [0.0, 0.5, 0.500001, 1.0], bins=2)
    assert found.members.tolist() == [2.0, 2.0]
    assert found.observed.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("bins", [equal_width_bins, equal_mass_bins])
def test_bins_of_nothing_are_none(bins):
    assert bins([], []).members.size == 0
