"""Dropout at test time: the closed form is what sampling gives, and nothing but dropout moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlensing.contract import BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.inference.dropout import full_dropout, head_dropout
from mlensing.models import build

STATS = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
CONTRACT = ModelContract(name="x", bands=("g", "r", "i"), pixel_scale=(0.1, 0.4), input_size=32, statistics=STATS)
OPTIONS = {
    "resnet10": {"width": 4, "dropout": 0.3},
    "light_transformer": {"dim": 16, "depth": 1, "heads": 2, "inner_dropout": 0.3, "dropout": 0.3},
}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(name, CONTRACT, **OPTIONS[name]).eval()


def test_the_closed_form_is_what_sampling_gives() -> None:
    torch.manual_seed(0)
    features, head = torch.randn(3, 64), nn.Linear(64, 1)
    logit, variance = head_dropout(features, head, 0.3)
    with torch.no_grad():
        sampled = head(nn.functional.dropout(features.expand(40000, -1, -1), 0.3))[..., 0]
    torch.testing.assert_close(sampled.var(0), variance.detach(), rtol=0.05, atol=0)
    torch.testing.assert_close(sampled.mean(0), logit.detach(), rtol=0.1, atol=0.01)


def test_without_dropout_there_is_no_variance() -> None:
    assert (head_dropout(torch.randn(2, 4), nn.Linear(4, 1), 0.0)[1] == 0).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_full_dropout_moves_logits_and_leaves_the_network_alone(name: str) -> None:
    net, image = make(name), torch.randn(4, 3, 32, 32)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        draws = full_dropout(net, image, passes=8, seed=3)
        assert draws.shape == (8, 4) and (draws.std(0) > 0).all()
        assert torch.equal(draws, full_dropout(net, image, passes=8, seed=3))
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", OPTIONS)
def test_the_spread_of_an_image_depends_on_nothing_beside_it(name: str) -> None:
    net, image = make(name), torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        together = full_dropout(net, image, passes=6)
        alone = torch.cat([full_dropout(net, part, passes=6) for part in image.flip(0).split([1, 3, 1])], 1)
    torch.testing.assert_close(together, alone.flip(1), rtol=1e-4, atol=1e-5)


def test_where_the_sole_dropout_is_before_the_head_both_are_one_estimator() -> None:
    net, image = make("resnet10"), torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        sampled = full_dropout(net, image, passes=2000)
        logit, variance = head_dropout(net.features(image), net.head, net.dropout)
    torch.testing.assert_close(sampled.var(0), variance, rtol=0.15, atol=1e-6)
    torch.testing.assert_close(sampled.mean(0), logit, rtol=0.1, atol=0.05)


def test_one_pass_has_no_variance() -> None:
    with pytest.raises(ConfigError, match="2 or more"):
        full_dropout(make("resnet10"), torch.zeros(1, 3, 32, 32), passes=1)
