import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from mlensing.data.augment import augment, dihedral

DX, DY = 0.2, 0.2


def sis(dx: float = DX, dy: float = DY, size: int = 65) -> tuple[Tensor, Tensor]:
    """psi and alpha of a shifted SIS with shear: nothing about it is symmetric."""
    y, x = torch.meshgrid(
        *[(torch.arange(size, dtype=torch.float64) - size // 2) * step for step in (dy, dx)], indexing="ij"
    )
    psi = torch.sqrt((x - 0.3) ** 2 + (y + 0.5) ** 2 + 0.5) + 0.05 * (x**2 - y**2) + 0.1 * x * y
    root = torch.sqrt((x - 0.3) ** 2 + (y + 0.5) ** 2 + 0.5)
    alpha = torch.stack([(x - 0.3) / root + 0.1 * x + 0.1 * y, (y + 0.5) / root - 0.1 * y + 0.1 * x])
    return psi, alpha


def gradient(psi: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    along_y, along_x = (
        np.gradient(psi.numpy(), float(dy), axis=0),
        np.gradient(psi.numpy(), float(dx), axis=1),
    )
    return torch.from_numpy(np.stack([along_x, along_y]))


@pytest.mark.parametrize("which", range(8))
@pytest.mark.parametrize("dy", [0.2, 0.3])
def test_alpha_stays_the_gradient_of_psi(which: int, dy: float) -> None:
    psi, alpha = sis(DX, dy)
    maps = {"psi": psi[None], "alpha": alpha[None], "dx": torch.tensor([DX]), "dy": torch.tensor([dy])}
    image, moved = dihedral(psi[None, None], maps, torch.tensor([which]))
    assert torch.equal(image[:, 0], moved["psi"])
    expected = gradient(moved["psi"][0], moved["dx"][0], moved["dy"][0])
    assert (moved["alpha"][0] - expected)[:, 2:-2, 2:-2].abs().max() < 4e-2
    assert {float(moved["dx"]), float(moved["dy"])} == {float(maps["dx"]), float(maps["dy"])}


def test_the_eight_transforms_differ_and_keep_every_pixel() -> None:
    image = torch.rand(1, 2, 9, 9).expand(8, -1, -1, -1)
    turned, _ = dihedral(image, {}, torch.arange(8))
    assert len({t.numpy().tobytes() for t in turned}) == 8
    assert torch.equal(turned.flatten(2).sort().values, image.flatten(2).sort().values)


@pytest.mark.parametrize("dy", [0.2, 0.25])
def test_small_rotations_turn_alpha_as_a_vector(dy: float) -> None:
    psi, alpha = sis(DX, dy)
    maps = {"psi": psi[None], "alpha": alpha[None], "dx": torch.tensor([DX]), "dy": torch.tensor([dy])}
    _, moved = augment(psi[None, None], maps, Generator().manual_seed(3), shift_px=0, rotate_deg=40.0)
    assert not torch.allclose(moved["psi"], psi[None])
    expected = gradient(moved["psi"][0], moved["dx"][0], moved["dy"][0])
    inner = slice(20, -20)
    assert (moved["alpha"][0] - expected)[:, inner, inner].abs().max() < 4e-2


def blob(size: int = 72) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size) - size / 2, torch.arange(size) - size / 2, indexing="ij")
    return torch.exp(-((x - 3) ** 2 + (y + 5) ** 2) / 30).expand(16, 3, -1, -1).clone()


@pytest.mark.parametrize("rotate", [0.0, 10.0])
def test_flux_is_kept(rotate: float) -> None:
    image = blob()
    turned, _ = augment(image, {}, Generator().manual_seed(0), shift_px=4, rotate_deg=rotate, size=64)
    assert turned.shape == (16, 3, 64, 64)
    assert torch.allclose(turned.sum(dim=(2, 3)), image.sum(dim=(2, 3)), rtol=1e-5 if not rotate else 5e-3)
    assert torch.equal(turned[:, 0], turned[:, 1])  # no colour jitter


def test_maps_mask_and_image_move_together() -> None:
    image = torch.rand(16, 1, 32, 32)
    maps = {"kappa": image[:, 0], "mask": image[:, 0] > 0.9}
    turned, moved = augment(image, maps, Generator().manual_seed(0), shift_px=4)
    seen = ~moved["mask"] | (moved["kappa"] > 0.9)
    inside = seen & (turned[:, 0] == moved["kappa"])
    assert torch.equal(moved["kappa"][:, 4:-4, 4:-4], turned[:, 0, 4:-4, 4:-4])
    assert torch.equal(moved["mask"][:, 4:-4, 4:-4], turned[:, 0, 4:-4, 4:-4] > 0.9)
    assert inside.any() and moved["mask"][:, :4].sum() > maps["mask"][:, :4].sum()


def test_without_margin_the_sky_comes_in() -> None:
    noise = 100 + torch.randn(16, 1, 64, 64, generator=Generator().manual_seed(1))
    turned, _ = augment(noise, {}, Generator().manual_seed(0), shift_px=8)
    assert turned.shape == noise.shape and (turned - 100).abs().max() < 6


def test_seeded() -> None:
    results = [augment(blob(), {}, Generator().manual_seed(s), rotate_deg=10.0)[0] for s in (5, 5, 6)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_oblong_images_are_not_transposed() -> None:
    assert augment(torch.rand(8, 1, 20, 30), {}, Generator().manual_seed(0))[0].shape == (8, 1, 20, 30)


def test_a_turn_makes_the_middle_that_is_kept_as_it_would_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {
        "kappa": torch.randn(4, 60, 60, generator=generator), "alpha": torch.randn(4, 2, 60, 60, generator=generator),
        "psf": torch.rand(4, 21, 21, generator=generator), "dx": torch.ones(4), "dy": torch.full((4,), 1.3),
    }  # fmt: skip
    image = torch.randn(4, 3, 60, 60, generator=generator)
    few, many = (
        augment(image, maps, torch.Generator().manual_seed(1), shift_px=4, rotate_deg=180.0, size=size)
        for size in (32, 52)  # the latter looks at all there is
    )
    torch.testing.assert_close(few[0], many[0][..., 10:42, 10:42], atol=1e-4, rtol=0)
    for name in ("kappa", "alpha"):
        torch.testing.assert_close(few[1][name], many[1][name][..., 10:42, 10:42], atol=1e-4, rtol=0)
    assert torch.equal(few[1]["psf"], many[1]["psf"])
