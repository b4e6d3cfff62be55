"""What every architecture in MODELS must do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mlensing.contract import BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.inference.dropout import full_dropout
from mlensing.models import build

SMALL: dict[str, dict[str, Any]] = {  # the conformance of a narrow network is that of a wide one
    "dinov2": {"pixels": 56},
    "light_transformer": {"dim": 16, "depth": 2, "heads": 2, "inner_dropout": 0.0},
    "resnet10": {"width": 8},
    "resnet18": {"width": 8},
    "resnet34": {"width": 8},
    "vit_b16": {"dim": 16, "depth": 2, "heads": 2},
    "vit_s16": {"dim": 16, "depth": 2, "heads": 2, "patch": 8},
    "zoobot": {"size": "convnext_pico"},
}


def make_contract(bands: int = 3, size: int = 64, name: str = "resnet18") -> ModelContract:
    stats = BandStatistics(mean=(0.0,) * bands, std=(1.0,) * bands)
    names = tuple(f"b{i}" for i in range(bands))
    kinds: dict[Any, BandStatistics] = {"linear": stats}
    return ModelContract(name=name, bands=names, input_size=size, pixel_scale=(0.1, 0.4), statistics=kinds)


@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("size", [32, 64, 101, 224])
def test_one_logit_a_sample_for_any_bands_and_size(name: str, bands: int, size: int) -> None:
    net = build(name, make_contract(bands, size), **SMALL[name]).eval()
    image = torch.randn(2, bands, size, size)
    with torch.no_grad():
        logit, features = net(image), net.features(image)
    assert logit.shape == (2,) and torch.isfinite(logit).all()
    assert features.shape == (2, net.head.in_features) and net.head.out_features == 1
    torch.testing.assert_close(net.head(features).squeeze(1), logit)


def test_gradients_are_finite_and_reach_every_parameter(name: str) -> None:
    net = build(name, make_contract(), dropout=0.0, **SMALL[name]).train()
    net(torch.randn(4, 3, 64, 64)).square().sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_saved_and_loaded_it_says_the_same(name: str, tmp_path: Any) -> None:
    net, other = (build(name, make_contract(), **SMALL[name]).eval() for _ in range(2))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    other.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(net(image), other(image))


def test_a_checkpoint_builds_it_without_memory_first(name: str) -> None:
    net, image = build(name, make_contract(), **SMALL[name]).eval(), torch.randn(2, 3, 64, 64)
    with torch.device("meta"):
        other = build(name, make_contract(), **SMALL[name]).eval()
    assert all(tensor.is_meta for tensor in other.state_dict().values())
    other.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(net(image), other(image))


def test_it_learns_after_it_has_predicted(name: str) -> None:
    """Nothing that inference mode made is kept: autograd refuses such tensors."""
    net, image = build(name, make_contract(size=48), **SMALL[name]), torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        net(image)
    net(image).sum().backward()


def test_it_exports_for_any_batch_and_stays_as_it_is(name: str) -> None:
    net, image = build(name, make_contract(size=72), **SMALL[name]).eval(), torch.randn(5, 3, 72, 72)
    program = torch.export.export(net, (image[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    torch.testing.assert_close(program.module()(image), net(image), rtol=1e-4, atol=1e-5)


def test_a_prediction_does_not_depend_on_batch_mates(name: str) -> None:
    net = build(name, make_contract(), **SMALL[name]).eval()
    image = torch.randn(5, 3, 64, 64)
    torch.testing.assert_close(net(image)[2:3], net(image[2:3]), rtol=1e-4, atol=1e-5)


def test_channels_last_says_the_same(name: str) -> None:
    net = build(name, make_contract(), **SMALL[name]).eval()
    image = torch.randn(2, 3, 64, 64)
    expected = net(image)
    last = net.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)


def test_dropout_only_when_asked(name: str) -> None:
    image = torch.randn(2, 3, 64, 64)
    net = build(name, make_contract(), dropout=0.5, **SMALL[name])
    assert net.dropout == 0.5
    assert not torch.equal(net.train()(image), net.train()(image))
    assert torch.equal(net.eval()(image), net.eval()(image))
    without = build(name, make_contract(), dropout=0.0, **SMALL[name]).train()
    assert torch.equal(without(image), without(image))


def test_monte_carlo_dropout_varies_and_leaves_the_network_alone(name: str) -> None:
    net = build(name, make_contract(), dropout=0.5, **SMALL[name]).eval()
    before, image = {key: value.clone() for key, value in net.state_dict().items()}, torch.randn(2, 3, 64, 64)
    logits = full_dropout(net, image, passes=4)
    assert logits.shape == (4, 2) and (logits.std(dim=0) > 0).all()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_unknown_names_options_and_values_are_errors(name: str) -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        build("resnet19", make_contract())
    with pytest.raises(ConfigError, match="widht"):
        build(name, make_contract(), widht=3)
    with pytest.raises(ConfigError, match="dropout"):
        build(name, make_contract(), dropout=1.0)
