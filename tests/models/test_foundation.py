"""Backbones from hubs, with stand-ins for their libraries: what is asked of those, and what is said without them."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlensing.contract import CHANNELS, BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.models import build
from mlensing.models.foundation import Foundation, red_green_blue
from mlensing.models.maps import predict_maps


def make_contract(name: str = "dinov2", bands: tuple[str, ...] = CHANNELS) -> ModelContract:
    none, one = (0.0,) * len(bands), (1.0,) * len(bands)
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=none, std=one)}
    return ModelContract(name=name, bands=bands, pixel_scale=(0.1, 0.4), statistics=stats)


class Backbone(nn.Module):
    """Takes what DINOv2 and a ConvNeXt take, keeps the last image, gives ``width`` channels of patch means."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.num_features, self.proj = width, nn.Conv2d(3, width, patch, stride=patch)
        self.seen = torch.empty(0)

    def forward(self, pixel_values: Tensor) -> Any:
        self.seen = pixel_values
        tokens = self.proj(pixel_values).flatten(2).transpose(1, 2)
        return SimpleNamespace(last_hidden_state=torch.cat([tokens.mean(1, keepdim=True), tokens], 1))


class Pooled(Backbone):
    def forward_features(self, image: Tensor) -> Tensor:
        self.seen = image
        return self.proj(image)  # type: ignore[no-any-return]

    def forward_head(self, grid: Tensor) -> Tensor:
        return grid.mean((2, 3))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand-ins for both libraries; what they are asked for, in order. Of weights they have only ``there``."""
    calls: list[dict[str, Any]] = []

    class Dinov2Model(Backbone):
        def __init__(self, config: SimpleNamespace) -> None:
            super().__init__(config.hidden_size, config.patch_size)

        @classmethod
        def from_pretrained(cls, weights: str, *, config: Any, **options: Any) -> Any:
            calls.append({"weights": weights, **options})
            if weights == "away":
                raise OSError("no network")
            return cls(config), {"missing_keys": {"layernorm.weight"} if weights == "other" else set()}

    def create_model(name: str, **options: Any) -> nn.Module:
        calls.append({"name": name, **options})
        if options.get("pretrained_cfg_overlay", {}).get("hf_hub_id") == "other":
            raise RuntimeError("size mismatch for stem.0.weight")
        return Pooled(640, 32)

    transformers, timm = ModuleType("transformers"), ModuleType("timm")
    vars(transformers).update(Dinov2Model=Dinov2Model, Dinov2Config=SimpleNamespace)
    vars(timm).update(create_model=create_model)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setitem(sys.modules, "timm", timm)
    return calls


@pytest.mark.parametrize(("name", "features", "shown"), [("dinov2", 2 * 384, 70), ("zoobot", 640, 64)])
@pytest.mark.parametrize("bands", [("r",), CHANNELS, tuple("ugriz")])
def test_any_bands_become_three_and_sides_fit(
    asked: list[dict[str, Any]], name: str, features: int, shown: int, bands: tuple[str, ...]
) -> None:
    net = build(name, make_contract(name, bands)).eval()
    assert net(torch.randn(2, len(bands), 64, 64)).shape == (2,)
    assert net.head.in_features == features
    backbone = next(module for module in net.modules() if isinstance(module, Backbone))
    assert backbone.seen.shape == (2, 3, shown, shown)
    assert not any(call.get("pretrained") or "weights" in call for call in asked), "nothing was to be fetched"


@pytest.mark.parametrize("name", ["dinov2", "zoobot"])
def test_their_grids_carry_a_map_head(asked: list[dict[str, Any]], name: str) -> None:
    net = build(name, make_contract(name).model_copy(update={"task": "maps"})).eval()
    maps, features = predict_maps(net, torch.randn(2, 3, 64, 64), dx=0.2, dy=0.2)
    assert maps["kappa"].shape == maps["psi"].shape == (2, 64, 64)
    assert features.shape == (2, net.head.in_features)


def test_blue_green_and_red_are_shown_as_red_green_and_blue() -> None:
    sizes = {"width": 3 * 32 * 32, "channels": 3, "stride": 32, "pixels": 0}
    net = Foundation(nn.Identity(), lambda _, shown: (shown.flatten(1), shown), bands=3, dropout=0.0, **sizes)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(net.features(image).reshape(1, 3, 32, 32), image.flip(1))
    assert torch.equal(red_green_blue(1), torch.ones(3, 1))
    torch.testing.assert_close(red_green_blue(5).sum(1), torch.ones(3))


def test_pixels_enlarge_what_the_backbone_sees(asked: list[dict[str, Any]]) -> None:
    net = build("dinov2", make_contract(), pixels=100).eval()
    net(torch.randn(1, 3, 64, 64))
    assert net.backbone.model.seen.shape[-1] == 112


def test_frozen_leaves_the_colours_and_the_head(asked: list[dict[str, Any]]) -> None:
    net = build("zoobot", make_contract("zoobot"), frozen=True)
    learning = {key for key, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {"colours.weight", "fc.weight", "fc.bias"}


def test_named_weights_are_fetched_without_pickles(asked: list[dict[str, Any]]) -> None:
    build("dinov2", make_contract(), weights="there")
    build("zoobot", make_contract("zoobot"), weights="there")
    assert asked[0]["weights"] == "there" and asked[0]["use_safetensors"]
    assert asked[1]["pretrained"] and asked[1]["pretrained_cfg_overlay"]["hf_hub_id"] == "there"


@pytest.mark.parametrize("name", ["dinov2", "zoobot"])
def test_reading_a_checkpoint_fetches_nothing(asked: list[dict[str, Any]], name: str) -> None:
    with torch.device("meta"):
        build(name, make_contract(name), weights="there")
    assert not any(call.get("pretrained") or "weights" in call for call in asked)


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [("dinov2", "away", "no network"), ("dinov2", "other", "layernorm"), ("zoobot", "other", "size mismatch")],
)
def test_weights_that_cannot_be_had_are_errors(asked: list[dict[str, Any]], name: str, weights: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{weights}.*{said}.*HF_HUB_OFFLINE"):
        build(name, make_contract(name), weights=weights)


@pytest.mark.parametrize(
    ("name", "library", "said"),
    [("dinov2", "transformers", r"mlensing\[foundation\]"), ("zoobot", "timm", "torchvision.*breaks.*lightning")],
)
def test_without_its_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # importing it now fails as if it were not installed
    with pytest.raises(ConfigError, match=f"needs {library}.*{said}"):
        build(name, make_contract(name))


@pytest.mark.parametrize("options", [{"size": "huge"}, {"pixels": 4000}, {"dropout": 1.0}])
def test_impossible_options_are_errors(asked: list[dict[str, Any]], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        build("dinov2", make_contract(), **options)
    assert not asked
