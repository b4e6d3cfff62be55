"""Views: what they keep (flux, units, noise), what they change, and that a seed decides all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor

from mlensing.data.normalise import sky
from mlensing.errors import ConfigError
from mlensing.training.views import broadened, require_possible, room, views

STILL: dict[str, Any] = {"shift_px": 0, "rotate_deg": 0.0, "blur": 0.0, "dust": 0.0, "noise": 0.0}


def linear(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def galaxies(count: int = 8, size: int = 48, noise: float = 0.02) -> Tensor:
    """Round Gaussians of unit flux a band, [count, 3, size, size]."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    light = np.exp(-(x**2 + y**2) / (2 * 3.0**2)) / (2 * np.pi * 3.0**2)
    white = torch.randn(count, 3, size, size, generator=seeded(1))
    return torch.from_numpy(light).float() + noise * white / size


def test_without_ranges_only_the_square_s_symmetries_are_left() -> None:
    image = galaxies()
    for view in views(image, linear(8), seeded(), **STILL):
        for one, seen in zip(image, view, strict=True):
            sides = [torch.rot90(flipped, k, (1, 2)) for flipped in (one, one.flip(2)) for k in range(4)]
            assert min(float((side - seen).abs().max()) for side in sides) < 1e-6


def test_turns_shifts_and_seeing_keep_the_flux() -> None:
    image = galaxies(64, noise=0.0) + 1e-5 * torch.randn(64, 3, 48, 48, generator=seeded(2))
    seen, _ = views(image, linear(64), seeded(), **{**STILL, "shift_px": 3, "rotate_deg": 180.0, "blur": 1.5})
    assert not torch.equal(seen, image)
    torch.testing.assert_close(seen.sum((2, 3)), image.sum((2, 3)), rtol=0.02, atol=0.01)


def test_units_do_not_matter() -> None:
    image = galaxies()
    plain, scaled = (views(factor * image, linear(8), seeded(3)) for factor in (1.0, 1e4))
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(1e4 * one, other, rtol=1e-3, atol=1.0)


@pytest.mark.parametrize("ranges", [{}, {"rotate_deg": 180.0}, {"rotate_deg": 180.0, "blur": 1.5, "dust": 0.3}])
def test_the_sky_s_noise_is_given_back(ranges: dict[str, float]) -> None:
    """Interpolation, blur and dimming of white noise leave less of it; its variance must come out as it was."""
    image = 7.0 + 2.0 * torch.randn(32, 3, 64, 64, generator=seeded(4))
    seen, _ = views(image, linear(32), seeded(5), **{**STILL, **ranges})
    assert float(seen.std()) == pytest.approx(2.0, rel=0.03)
    assert float(seen.mean()) == pytest.approx(7.0, abs=0.1)


def test_further_noise_is_a_share_of_the_image_s_own() -> None:
    image = (
        torch.randn(256, 1, 32, 32, generator=seeded(6)) * torch.tensor([0.1, 10.0]).repeat(128)[:, None, None, None]
    )
    seen, _ = views(image, linear(256), seeded(7), **{**STILL, "noise": 1.5})
    share = sky(seen)[1] / sky(image)[1]
    expected = (1 + (1.5 * torch.rand(100_000, generator=seeded(8))).square()).sqrt()
    for rows in (slice(0, None, 2), slice(1, None, 2)):  # the faint and the bright unit alike
        assert float(share[rows].mean()) == pytest.approx(float(expected.mean()), rel=0.05)
    assert float(share.min()) > 0.85 and float(share.max()) < 2.0


def test_the_seeing_is_a_gaussian() -> None:
    light = torch.zeros(3, 2, 33, 33)
    light[:, :, 16, 16] = 1.0
    widths = torch.tensor([0.0, 0.7, 2.0])
    found, kept = broadened(light, widths, most=2.0)
    for i, width in enumerate(widths.tolist()):
        expected = gaussian_filter(light[i].numpy().astype(float), (0, width, width), truncate=6 / max(width, 1e-3))
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-3 if width < 2 else 5e-4)
        assert float(kept[i]) == pytest.approx(float(np.square(expected[0]).sum()), rel=0.02)


def test_dust_changes_colours_and_never_brightens() -> None:
    image = 100.0 * galaxies(200, noise=1e-3)
    seen, _ = views(image, linear(200), seeded(9), **{**STILL, "dust": 0.2})
    middle = (slice(None), slice(None), slice(20, 28), slice(20, 28))
    factor = seen[middle].sum((2, 3)) / image[middle].sum((2, 3))
    assert float(factor.max()) < 1.01 and torch.allclose(factor.amax(1), torch.ones(200), atol=0.01)
    apart = factor[:, 0].log() - factor[:, 1].log()
    assert float(apart.std()) == pytest.approx(0.2 * 2**0.5, rel=0.2) and abs(float(apart.mean())) < 0.06


def test_composites_stay_within_their_range() -> None:
    image = (255 * torch.rand(4, 3, 32, 32, generator=seeded(10))).round()
    colour = torch.tensor([True, True, False, False])
    seen, _ = views(image, colour, seeded(11))
    assert float(seen[:2].min()) >= 0 and float(seen[:2].max()) <= 255
    assert float(seen[2:].max()) > 255 and float(seen[2:].min()) < 0


def test_the_margin_comes_into_view() -> None:
    """A turn of a large image shows what was beyond the frame; it never shows a border as long as there is room."""
    size = 32
    wide = size + 2 * room(size, 2, 180.0) + 2
    image = torch.full((64, 1, wide, wide), 5.0) + 1e-3 * torch.randn(64, 1, wide, wide, generator=seeded(12))
    image[:, :, 0] = image[:, :, -1] = 50.0
    seen, _ = views(image, linear(64), seeded(13), size=size, **{**STILL, "shift_px": 2, "rotate_deg": 180.0})
    assert seen.shape[-1] == size and float(seen.max()) < 6.0


def test_a_seed_decides_and_the_two_views_differ() -> None:
    image = galaxies()
    first, again = views(image, linear(8), seeded(14)), views(image, linear(8), seeded(14))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_impossible_ranges_are_named(wrong: float) -> None:
    with pytest.raises(ConfigError, match="blur"):
        require_possible(noise=0.0, blur=wrong)
