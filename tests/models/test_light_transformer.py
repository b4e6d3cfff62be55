"""Light Transformer: what its attention is told of where tokens stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mlensing.contract import CHANNELS, BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.models import build
from mlensing.models.light_transformer import REACH, STRIDE, polar_geometry


def make_contract() -> ModelContract:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    return ModelContract(name="light_transformer", bands=CHANNELS, pixel_scale=(0.1, 0.4), statistics=stats)


def test_about_three_million_parameters() -> None:
    with torch.device("meta"):
        net = build("light_transformer", make_contract())
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(2.9e6, rel=0.02)


def test_a_token_stands_where_it_looks() -> None:
    net = build("light_transformer", make_contract(), dim=16, depth=1, heads=2).eval()
    place, _ = polar_geometry(48, 64)
    image = torch.randn(1, 3, 48, 64, requires_grad=True)
    net.stem(image)[0, :, 3, 2].sum().backward()
    rows, columns = (torch.nonzero(image.grad.abs().sum((0, 1, axis)))[:, 0].float() for axis in (3, 2))
    middle = rows.aminmax(), columns.aminmax()
    y, x = (float(low + high) / 2 for low, high in middle)
    token = place[3 * 64 // STRIDE + 2, :2] * REACH
    assert token == pytest.approx([x - 63 / 2, y - 47 / 2])


def test_along_the_radius_and_along_the_tangent_are_told_apart() -> None:
    _, pair = polar_geometry(57, 57)  # 8 x 8 tokens, 0 to 56: the middle lies between the fourth and the fifth
    token = np.arange(64).reshape(8, 8)
    inner, outer, mirrored = token[3, 4], token[0, 7], token[3, 3]  # two on a diagonal, the first mirrored
    unit = STRIDE / REACH
    radius = np.sqrt(0.5) * unit
    assert pair[inner, outer, :3] == pytest.approx([3 * np.sqrt(2) * unit, 0.0, 1.0], abs=1e-6)
    assert pair[inner, mirrored, :3] == pytest.approx([0.0, radius * np.pi / 2, 0.0], abs=1e-6)
    assert pair[inner, inner] == pytest.approx([0.0, 0.0, 1.0, radius, radius], abs=1e-6)


@pytest.mark.parametrize("shape", [(57, 57), (33, 33), (25, 49)])
def test_pairs_are_the_same_from_all_sides_of_the_galaxy(shape: tuple[int, int]) -> None:
    _, pair = polar_geometry(*shape)  # a multiple of the stride and one: tokens lie alike about the middle
    rows, columns = ((size + STRIDE - 1) // STRIDE for size in shape)
    token = np.arange(rows * columns).reshape(rows, columns)
    sides = [token[::-1], token[:, ::-1], *([np.rot90(token), token.T] if shape[0] == shape[1] else [])]
    for side in sides:
        order = side.ravel()
        np.testing.assert_allclose(pair[np.ix_(order, order)], pair, atol=1e-5)
    np.testing.assert_allclose(pair[..., :3], pair[..., :3].swapaxes(0, 1), atol=1e-6)


def test_the_bias_moves_attention_and_can_be_left_out() -> None:
    options: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2}
    biased = build("light_transformer", make_contract(), **options).eval()
    plain = build("light_transformer", make_contract(), arc_bias=False, **options).eval()
    missing = plain.load_state_dict(biased.state_dict(), strict=False)
    assert not missing.missing_keys and all(key.startswith("bias.") for key in missing.unexpected_keys)
    image = torch.randn(2, 3, 64, 64)
    assert not torch.allclose(biased(image), plain(image), atol=1e-6)
    biased.bias[2].weight.data.zero_()
    torch.testing.assert_close(biased(image), plain(image))


@pytest.mark.parametrize("options", [{"dim": 18}, {"heads": 5}, {"depth": 0}, {"inner_dropout": 1}, {"dropout": -0.1}])
def test_impossible_options_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        build("light_transformer", make_contract(), **options)
