from __future__ import annotations

import numpy as np
import pytest
import torch

from mlensing.contract import Calibration
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.fusion import (
    RULES,
    combine,
    diversity,
    fit_fusion,
    fuse,
    inverse_variance,
    physics_weights,
)
from mlensing.evaluation.metrics import ece

generator = np.random.default_rng(8)
TRUTH = generator.normal(0, 2, 8000)
LABEL = (generator.random(TRUTH.size) < sigmoid(TRUTH)).astype(float)
NOISE = generator.normal(size=(3, TRUTH.size)) * np.array([[0.5], [1.0], [2.0]])
LOGIT, VARIANCE = 1.5 * (TRUTH + NOISE), np.broadcast_to([[0.25], [1.0], [4.0]], NOISE.shape)
PLAIN = [Calibration()] * 3


def test_inverse_variance_is_the_formula_of_the_seed() -> None:
    """weights = 1 / (uncertainty + 1e-6); weights / weights.sum(); sum of weights times logits."""
    logit, uncertainty = torch.from_numpy(LOGIT), torch.from_numpy(VARIANCE.copy())
    weights = 1.0 / (uncertainty + 1e-6)
    weights = weights / weights.sum(0)
    expected = (weights * logit).sum(0)
    assert inverse_variance(LOGIT, VARIANCE) == pytest.approx(expected.numpy())


def test_weights_of_one_image_do_not_depend_on_the_others() -> None:
    assert inverse_variance(LOGIT[:, :1], VARIANCE[:, :1]) == pytest.approx(inverse_variance(LOGIT, VARIANCE)[:1])


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_calibrated_on_other_data(rule: str) -> None:
    half = TRUTH.size // 2
    fusion = fit_fusion(rule, LOGIT[:, :half], VARIANCE[:, :half], LABEL[:half], PLAIN)
    odds, deviation = fuse(fusion, LOGIT[:, half:], VARIANCE[:, half:], PLAIN)
    assert fusion.rule == rule and odds.shape == deviation.shape == (half,)
    assert ece(LABEL[half:], sigmoid(odds)) < 0.03
    assert (deviation > 0).all()


def test_stacking_trusts_the_better_members() -> None:
    weights = fit_fusion("stacked", LOGIT, VARIANCE, LABEL, PLAIN).weights
    assert len(weights) == 4 and weights[0] > weights[1] > weights[2] >= 0


def test_calibrating_first_brings_members_to_one_scale() -> None:
    loud = LOGIT * np.array([[1.0], [1.0], [10.0]])
    calm = [Calibration(), Calibration(), Calibration(parameters=(10.0,))]
    fusion = fit_fusion("calibrated_mean", loud, VARIANCE, LABEL, calm)
    expected = fit_fusion("calibrated_mean", LOGIT, VARIANCE, LABEL, PLAIN)
    assert fuse(fusion, loud, VARIANCE, calm)[0] == pytest.approx(fuse(expected, LOGIT, VARIANCE, PLAIN)[0], abs=1e-3)


def test_physics_weights_are_the_formula_of_the_seed_where_all_have_maps() -> None:
    """physics_weight = exp(-physics_loss / temperature); final_weight = uncertainty_weight * physics_weight."""
    loss = generator.uniform(0, 0.05, VARIANCE.shape)
    expected = np.exp(-loss / 0.02) / (VARIANCE + 1e-6)
    found = physics_weights(VARIANCE, loss, 0.02)
    assert found / found.sum(0) == pytest.approx(expected / expected.sum(0))


def test_a_member_without_maps_is_no_perfect_physics() -> None:
    loss = np.array([[0.01], [0.03], [np.nan]])
    variance = np.array([[1.0], [2.0], [4.0]])
    plain, found = 1 / (variance + 1e-6), physics_weights(variance, loss, 0.01)
    assert found[2] == plain[2] and found[:2].sum() == pytest.approx(plain[:2].sum())
    assert found[0] > plain[0] and found[1] < plain[1]
    worse = physics_weights(variance, loss + 1e3, 0.01)  # all members with maps are equally worse
    assert worse == pytest.approx(found)


@pytest.mark.parametrize("loss", [np.nan, 0.3, 1e9])
def test_the_factor_of_one_member_alone_changes_nothing(loss: float) -> None:
    physics = np.full(LOGIT.shape, np.nan)
    physics[1] = loss
    fused = combine(LOGIT, VARIANCE, "physics", physics=physics, temperature=1e-3)
    assert fused == pytest.approx(inverse_variance(LOGIT, VARIANCE))


def test_physics_trusts_the_consistent_member_and_learns_its_temperature() -> None:
    same = np.ones_like(VARIANCE)
    physics = np.broadcast_to([[0.0], [0.02], [0.2]], same.shape)
    fusion = fit_fusion("physics", LOGIT, same, LABEL, PLAIN, physics)
    assert fusion.temperature == pytest.approx(0.11, abs=0.1) and fusion.rule == "physics"
    sharp = fusion.model_copy(update={"temperature": 1e-4})
    odds = fuse(sharp, LOGIT, same, PLAIN, physics)[0]
    assert (np.diff(odds[np.argsort(LOGIT[0])]) >= -1e-9).all()


def test_unknown_rules_are_errors() -> None:
    with pytest.raises(ConfigError, match="stacked"):
        combine(LOGIT, VARIANCE, "vote")


def test_diversity_of_equal_and_of_independent_members() -> None:
    same = diversity(np.stack([TRUTH, TRUTH]), LABEL)
    assert same.spread == 0 and same.disagreement == 0 and same.error_correlation == pytest.approx(1)
    other = diversity(np.stack([TRUTH, -TRUTH]), LABEL)
    assert other.disagreement == 1 and other.error_correlation < 0.9
    assert np.isnan(diversity(np.stack([TRUTH, TRUTH])).error_correlation)
