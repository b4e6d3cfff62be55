"""Tiles give what the whole image gives: the largest error of any pixel, with networks that see around each pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from torch import Tensor, nn

from mlensing.errors import ConfigError
from mlensing.inference.fields.receptive import receptive_radius
from mlensing.inference.fields.spans import spans, weights
from mlensing.inference.fields.tiling import predict_full, predict_tiled, write_tiled

TOLERANCE = 1e-3
"""Of the map's range; what is found is rounding, thousands of times less."""
SIZES = [(150, 211), (197, 131), (128, 128), (129, 250)]


class MapNet(nn.Module):
    """Sees ten pixels around each (dilated convolutions), and gives kappa, psi and a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 8, 5, padding=2), nn.GELU(), nn.Conv2d(8, 8, 5, padding=4, dilation=2), nn.GELU(),
            nn.Conv2d(8, 2, 5, padding=4, dilation=2, padding_mode="replicate"),
        )  # fmt: skip

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.body(image)
        return {"kappa": maps[:, 0], "psi": maps[:, 1:], "logit": maps.mean((1, 2, 3))}


class UNet(nn.Module):
    """With a stride of 2 inside: tiles must begin on the grid that the whole image has."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(2, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(10, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.low(torch.relu(self.down(image)))
        up = low.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., : image.shape[-2], : image.shape[-1]]
        return self.last(torch.cat([image, up], 1))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(1)
    return MapNet().eval()


def sky(*shape: int) -> Tensor:
    """Noise with a few bright pixels: whatever a seam cuts matters."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator) + 20 * (torch.rand(shape, generator=generator) > 0.99)


def largest_error(tiled: Any, full: Any) -> float:
    return float((tiled - full).abs().max() / (full.max() - full.min()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("tile", "overlap"), [(64, 20), (56, 29), (48, 33)])
def test_tiles_equal_the_whole(net: nn.Module, size: tuple[int, int], tile: int, overlap: int) -> None:
    image = sky(2, 2, *size)
    assert min(len(spans(length, tile, overlap, 10)) for length in size) >= 3
    full, tiled = predict_full(net, image), predict_tiled(net, image, tile, overlap)
    assert isinstance(full, dict) and isinstance(tiled, dict)
    assert set(tiled) == set(full) == {"kappa", "psi"}  # a logit is no map
    for name, whole in full.items():
        assert tiled[name].shape == whole.shape
        assert largest_error(tiled[name], whole) < TOLERANCE


def test_a_network_with_a_stride_keeps_its_grid() -> None:
    torch.manual_seed(2)
    net, image = UNet().eval(), sky(1, 2, 121, 175)
    full = predict_full(net, image)
    assert largest_error(predict_tiled(net, image, 40, 17, align=2), full) < TOLERANCE
    assert largest_error(predict_tiled(net, image, 40, 17, align=1, halo=6), full) > TOLERANCE


def without_halo(model: nn.Module, image: Tensor, overlap: int, key: str) -> Any:
    return predict_tiled(model, image, 64, overlap, key, halo=0)


@pytest.mark.parametrize("ramp", [0, 12])
def test_a_blend_without_halo_shows_its_seams(net: nn.Module, ramp: int) -> None:
    """They are seen by the largest error, with this network; one that treats each pixel alone has none."""
    image = sky(1, 2, 150, 211)
    alone = nn.Conv2d(2, 1, 1).eval()
    for model, seams in ((net, True), (alone, False)):
        full, tiled = (f(model, image, *given, "kappa") for f, given in ((predict_full, ()), (without_halo, (ramp,))))
        assert (largest_error(tiled, full) > 10 * TOLERANCE) is seams


@pytest.mark.parametrize("length", [64, 65, 100, 127, 500])
@pytest.mark.parametrize(
    ("tile", "overlap", "halo", "align"), [(32, 8, 4, 1), (32, 25, 3, 1), (32, 12, 4, 4), (33, 0, 0, 1)]
)
def test_weights_are_positive_and_sum_to_one(length: int, tile: int, overlap: int, halo: int, align: int) -> None:
    plan = spans(length, tile, overlap, halo, align)
    total = np.zeros(length)
    for span, weight in zip(plan, weights(plan), strict=True):
        assert bool((weight > 0).all())
        assert span.start % align == 0 and tile <= span.stop - span.start < tile + align
        assert span.first - span.start in (0, halo) and span.stop - span.last in (0, halo)
        total[span.first : span.last] += weight.numpy()
    assert plan[0].start == plan[0].first == 0 and plan[-1].stop == plan[-1].last == length
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_there_is_no_ramp_at_the_border() -> None:
    plan = spans(100, 40, 10)
    ends = weights(plan)
    assert ends[0][:30].eq(1).all() and ends[-1][-30:].eq(1).all()
    assert 0 < ends[0][-1] < 0.2


def test_the_receptive_field_is_measured(net: nn.Module) -> None:
    assert receptive_radius(net, 2, 64) == 2 + 4 + 4
    assert receptive_radius(net, 2, 64, key="psi") == 10


def test_images_on_disk_are_read_in_pieces(net: nn.Module, tmp_path: Path) -> None:
    """A memory map, and the section of a FITS cube; results in a memory map."""
    image = sky(2, 150, 211)
    full = predict_full(net, image, "kappa")
    assert isinstance(full, Tensor)
    np.save(tmp_path / "image.npy", image.numpy())
    fits.PrimaryHDU(image.numpy()).writeto(tmp_path / "image.fits")
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "kappa.npy", "w+", np.float32, (150, 211))
    write_tiled(net, mapped, out, 64, 24, "kappa")
    assert largest_error(torch.from_numpy(np.load(tmp_path / "kappa.npy")), full) < TOLERANCE
    with fits.open(tmp_path / "image.fits") as hdus:
        tiled = predict_tiled(net, hdus[0].section, 64, 24, "kappa")
    assert largest_error(tiled, full) < TOLERANCE


def test_the_model_is_given_nothing_larger_than_a_tile() -> None:
    seen: list[tuple[int, ...]] = []

    def model(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape))
        return pixels[:, :1]

    predict_tiled(model, np.zeros((1, 90, 130), np.float32), 32, 8, halo=2)
    assert set(seen) == {(1, 1, 32, 32)}


def refused(model: Any, image: Tensor, match: str, **options: Any) -> None:
    with pytest.raises(ConfigError, match=match):
        predict_tiled(model, image, **{"tile": 32, "overlap": 20, **options})


def test_what_cannot_be_is_told(net: nn.Module) -> None:
    image = sky(1, 2, 90, 90)
    refused(net, image, "less than two halos of 10.*Take an overlap of 20", overlap=19, tile=40)
    refused(net, image, "do not advance", overlap=32, halo=2)
    refused(net, image, "one is too small", tile=0, overlap=0, halo=0)
    refused(net, image, "one is too small", overlap=-1, halo=0)
    refused(net, image, "sees .* around each, as far as a tile of 16 reaches", tile=16, overlap=0)
    refused(net, image, "no map 'alpha': the model gives kappa, psi, logit", key="alpha", halo=10)
    refused(net, image[0, 0], "expected \\[B, C, y, x\\]")
    refused(lambda pixels: pixels.mean((2, 3)), image, "a value at each pixel", halo=2)
    refused(lambda pixels: pixels.detach(), image, "no gradient through")
    refused(MapNet(), image, "training mode")
    with pytest.raises(ConfigError, match="no array"):
        write_tiled(net, image, {"kappa": np.zeros((1, 90, 90))}, 40, 20)
