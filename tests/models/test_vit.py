"""ViT: timm's names, published sizes, and public weights brought to other images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mlensing.contract import BandStatistics, ModelContract
from mlensing.errors import ConfigError
from mlensing.models import build
from mlensing.models.vit import resampled_positions
from mlensing.models.warm_start import warm_start

SMALL: dict[str, Any] = {"dim": 16, "depth": 2, "heads": 2}


def make_contract(size: int = 64, bands: int = 3) -> ModelContract:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * bands, std=(1.0,) * bands)}
    names = tuple("grizy"[:bands])
    return ModelContract(name="vit_s16", bands=names, input_size=size, pixel_scale=(0.1, 0.4), statistics=stats)


def timm_weights(dim: int = 16, depth: int = 2, patch: int = 16) -> dict[str, Tensor]:
    """Names and shapes as timm writes them for 224 pixels, three bands and 1000 classes."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim), "pos_embed": (1, 1 + (224 // patch) ** 2, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch), "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (1000, dim), "head.bias": (1000,),
    }  # fmt: skip
    inside = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for block in range(depth):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{kind}": (dim,) for kind in ("weight", "bias")}
        for name, shape in inside.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("name", "millions"), [("vit_s16", 21.67), ("vit_b16", 85.80)])
def test_the_defaults_are_the_published_networks(name: str, millions: float) -> None:
    """21 665 664 and 85 798 656 parameters without their 1000 classes."""
    with torch.device("meta"):
        net = build(name, make_contract(224))
    count = sum(p.numel() for key, p in net.named_parameters() if not key.startswith("head"))
    assert count / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("size", [64, 101, 224])
def test_weights_of_timm_load(tmp_path: Path, suffix: str, size: int) -> None:
    public, path = timm_weights(), tmp_path / f"vit{suffix}"
    save_file(public, path) if suffix == ".safetensors" else torch.save(public, path)
    net = build("vit_s16", make_contract(size), **SMALL)
    assert warm_start(net, path) == ["head.bias", "head.weight"]
    own = net.state_dict()
    assert own.keys() == public.keys()
    kept = public.keys() - {"head.bias", "head.weight", "pos_embed"}
    assert all(torch.equal(own[key], public[key]) for key in kept)
    assert torch.equal(own["pos_embed"][:, 0], public["pos_embed"][:, 0])
    assert torch.equal(own["pos_embed"], public["pos_embed"]) == (size == 224)


def test_resampled_weights_see_the_same_in_an_enlarged_image(tmp_path: Path) -> None:
    """Patches of 8 in an image say what patches of 16 say in the same image at twice the size."""
    torch.save(timm_weights(), tmp_path / "vit.pth")
    coarse, fine = build("vit_s16", make_contract(128), **SMALL), build("vit_s16", make_contract(64), patch=8, **SMALL)
    for net in (coarse, fine):
        warm_start(net.eval(), tmp_path / "vit.pth")
    image = torch.randn(2, 3, 64, 64)
    patches = image.unflatten(3, (8, 8)).unflatten(2, (8, 8)).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 8, 8)
    large = torch.nn.functional.interpolate(patches, size=16, mode="bilinear", align_corners=False)
    large = large.reshape(2, 8, 8, 3, 16, 16).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 128, 128)
    torch.testing.assert_close(fine.patch_embed(image), coarse.patch_embed(large), rtol=1e-4, atol=1e-3)


def test_positions_keep_their_order_and_the_class_token() -> None:
    ramp = torch.arange(14.0)[:, None] * 100 + torch.arange(14.0)
    positions = torch.cat([torch.full((1, 1), -5.0), ramp.reshape(-1, 1)])[None]
    small = resampled_positions(positions, 4, 5)
    assert small[0, 0, 0] == -5.0
    grid = small[0, 1:, 0].reshape(4, 5)
    assert (grid.diff(dim=0) > 200).all() and (grid.diff(dim=1) > 2).all()
    assert grid.mean() == pytest.approx(ramp.mean().item(), rel=1e-3)


def test_images_of_another_size_than_the_contract_are_taken() -> None:
    net = build("vit_s16", make_contract(64), **SMALL).eval()
    assert torch.isfinite(net(torch.randn(2, 3, 224, 101))).all()


def test_padding_is_even() -> None:
    """An image that patches do not divide is that image in the middle of a larger, empty one."""
    net = build("vit_s16", make_contract(96), **SMALL).eval()
    image = torch.randn(1, 3, 90, 90)
    framed = torch.nn.functional.pad(image, (3, 3, 3, 3))
    assert torch.equal(net(image), net(framed))


@pytest.mark.parametrize("options", [{"heads": 5}, {"depth": 0}, {"patch": 1}, {"patch": 65}, {"inner_dropout": 1.0}])
def test_impossible_options_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        build("vit_s16", make_contract(64), **options)
