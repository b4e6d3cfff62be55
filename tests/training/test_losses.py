"""The weighted cross-entropy against its formula, and the sum of terms."""

from __future__ import annotations

import math

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.training.losses import LOSSES, total_loss, weighted_bce


def test_weighted_bce_is_the_formula_for_soft_labels_too() -> None:
    logit, label = torch.tensor([-2.0, 0.3, 1.5]), torch.tensor([0.0, 0.7, 1.0])
    p = logit.sigmoid()
    expected = -(5 * label * p.log() + (1 - label) * (1 - p).log()).mean()
    got = weighted_bce({"logit": logit}, {"label": label, "positive_weight": torch.tensor(5.0)})
    torch.testing.assert_close(got, expected)


def test_unlabelled_rows_count_for_nothing() -> None:
    logit = torch.tensor([0.4, 9.0], requires_grad=True)
    loss = weighted_bce({"logit": logit}, {"label": torch.tensor([1.0, math.nan])})
    loss.backward()
    torch.testing.assert_close(loss, -torch.tensor(0.4).sigmoid().log())
    assert logit.grad is not None and logit.grad[1] == 0
    assert weighted_bce({"logit": logit}, {"label": torch.full((2,), math.nan)}) == 0


def test_the_weight_shifts_the_best_logit_by_its_logarithm() -> None:
    logit = torch.zeros((), requires_grad=True)
    label = torch.tensor([1.0] * 3 + [0.0] * 7)
    optimiser = torch.optim.LBFGS([logit], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        batch = {"label": label, "positive_weight": torch.tensor(20.0)}
        loss = weighted_bce({"logit": logit.expand(10)}, batch)
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    assert float(logit.detach()) == pytest.approx(math.log(20.0) + math.log(0.3 / 0.7), abs=1e-3)


def test_terms_are_summed_with_their_weights() -> None:
    output, batch = {"logit": torch.tensor([0.5])}, {"label": torch.tensor([1.0])}
    torch.testing.assert_close(total_loss({"bce": 0.25})(output, batch), 0.25 * LOSSES["bce"](output, batch))


@pytest.mark.parametrize("terms", [{}, {"bcd": 1.0}])
def test_unknown_or_no_terms_are_errors(terms: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Known: bce"):
        total_loss(terms)
