"""The order of bands: doubted where another fits better, and only then."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from mlensing.contract import BandStatistics, ModelContract
from mlensing.data.statistics import image_statistics
from mlensing.inference import Predictor
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.inputs import Pixels
from mlensing.inference.member import Member
from mlensing.inference.order import FEWEST, nearer_order
from mlensing.models import build
from mlensing.models.domain import Domain

STATS = BandStatistics(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
CONTRACT = ModelContract(
    name="resnet10",
    bands=("blue", "green", "red"),
    input_size=32,
    pixel_scale=(0.1, 0.4),
    statistics={"linear": STATS},
)


def sky(count: int, seed: int) -> torch.Tensor:
    """Red galaxies of many brightnesses in noise, [B, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(32.0) - 15.5, torch.arange(32.0) - 15.5, indexing="ij")
    bright = 30 * torch.rand(count, 1, 1, 1, generator=generator) + 5
    colour = torch.tensor([0.3, 1.0, 2.0])[:, None, None] * (
        0.7 + 0.6 * torch.rand(count, 3, 1, 1, generator=generator)
    )
    return bright * colour * torch.exp(-torch.hypot(x, y) / 3) + torch.randn(count, 3, 32, 32, generator=generator)


@pytest.fixture(scope="module")
def member() -> Member:
    """With the domain of this sky, and a network that never matters."""
    made = Member("x", CONTRACT, build(CONTRACT.name, CONTRACT), "cpu")
    linear = torch.zeros(1200).bool()
    made.domain = Domain.fit(image_statistics(made.normaliser(sky(1200, 0), linear)), linear)
    return made


def test_right_order_is_not_doubted(member: Member) -> None:
    for seed in range(1, 6):
        assert nearer_order([member], sky(32, seed), torch.zeros(32).bool()) is None


def test_wrong_order_is_put_right(member: Member) -> None:
    """What is returned undoes the permutation, for each of them."""
    for order in list(permutations(range(3)))[1:]:
        found = nearer_order([member], sky(64, 7)[:, order], torch.zeros(64).bool())
        assert found is not None and tuple(order[place] for place in found) == (0, 1, 2)


def test_nothing_is_said_of_few_or_unknown(member: Member) -> None:
    wrong, linear = sky(64, 7).flip(1), torch.zeros(64).bool()
    assert nearer_order([member], wrong[: FEWEST - 1], linear[: FEWEST - 1]) is None
    assert nearer_order([member], wrong, ~linear) is None  # no composite was seen
    mute = Member("y", CONTRACT, member.net, "cpu")
    assert nearer_order([mute, member], wrong, linear) == nearer_order([member], wrong, linear) is not None
    assert nearer_order([mute], wrong, linear) is None


def test_predictor_says_which_band_looks_like_which(member: Member) -> None:
    predictor = Predictor(Ensemble([member]))
    right, rolled = (
        [Pixels(image, composite=False) for image in sky(64, 7)[:, order]] for order in ([0, 1, 2], [1, 2, 0])
    )
    predictor.doubt_order(right)  # in silence
    with pytest.warns(UserWarning, match="blue, green, red looks like green, red, blue in the first 64"):
        predictor.doubt_order(rolled)
