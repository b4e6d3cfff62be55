"""Selection: good members are taken, noise is left out, ties go to the plainer, and the reasons are written."""

from __future__ import annotations

import numpy as np
import pytest

from mlensing.contract import Calibration
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import sigmoid
from mlensing.inference.selection import select

rng = np.random.default_rng(4)
TRUTH = rng.normal(0, 2, 3000)
LABEL = (rng.random(TRUTH.size) < sigmoid(TRUTH)).astype(float)
NOISE = rng.normal(0, 1.5, (3, TRUTH.size))
VARIANCE = np.ones((3, TRUTH.size))
PLAIN = {key: Calibration() for key in ("a", "b", "c")}


def test_members_that_err_apart_are_taken_together() -> None:
    found = select(TRUTH + NOISE, VARIANCE, LABEL, PLAIN)
    assert set(found.keys) == {"a", "b", "c"}
    alone = found.record["members"]["a"]["log_loss"]
    assert found.record["chosen"]["log_loss"] < alone
    assert found.record["chosen"]["rule"] == "mean" and "mean of" in found.record["why"]
    assert found.record["diversity"]["spread"] > 0.5


def test_noise_is_left_out_unless_everybody_is_asked_for() -> None:
    logit = np.stack([TRUTH, TRUTH + 0.01 * NOISE[0], 5 * NOISE[1]])
    found = select(logit, VARIANCE, LABEL, PLAIN)
    assert found.keys in (("a",), ("b",))
    everybody = select(logit, VARIANCE, LABEL, PLAIN, keep_all=True)
    assert everybody.keys == ("a", "b", "c") and everybody.fusion.rule == "stacked"
    assert everybody.fusion.weights[2] < 0.05


def test_a_rule_can_be_asked_for_and_rows_without_label_do_not_count() -> None:
    label = LABEL.copy()
    label[:100] = np.nan
    found = select(TRUTH + NOISE, VARIANCE, label, PLAIN, rules=["inverse_variance"])
    assert found.fusion.rule == "inverse_variance" and found.record["images"] == 2900
    again = select(TRUTH + NOISE, VARIANCE, label, PLAIN, rules=["inverse_variance"])
    assert again == found


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(ConfigError, match="of one class"):
        select(TRUTH[:, None].T[:, :6], VARIANCE[:1, :6], [1, 0, 0, 0, 0, 0], {"a": Calibration()})


def test_physics_is_a_rule_of_two_members_with_maps() -> None:
    loss = np.full(VARIANCE.shape, 0.01)
    found = select(TRUTH + NOISE, VARIANCE, LABEL, PLAIN, rules=["physics"], keep_all=True, physics=loss)
    assert found.fusion.rule == "physics" and found.fusion.temperature == pytest.approx(0.01)
    loss[1:] = np.nan
    with pytest.raises(ConfigError, match="two members that predict maps"):
        select(TRUTH + NOISE, VARIANCE, LABEL, PLAIN, rules=["physics"], physics=loss)
    tried = select(TRUTH + NOISE, VARIANCE, LABEL, PLAIN, physics=loss).record["candidates"]
    assert "physics" not in {candidate["rule"] for candidate in tried}
