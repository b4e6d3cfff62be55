import pytest
import torch

from mlensing.contract import BandStatistics, ModelContract
from mlensing.data.normalise import Normaliser, measure_statistics, sky, stretch


def gaussian_sky(level: float, noise: float, seed: int = 0) -> torch.Tensor:
    return level + noise * torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("level", "noise"), [(0.0, 1.0), (1000.0, 3.0), (-5.0, 1e-11), (1e-9, 1e-10)])
def test_sky_of_any_unit_with_a_galaxy_on_it(level: float, noise: float) -> None:
    y, x = torch.meshgrid(torch.arange(64.0) - 32, torch.arange(64.0) - 32, indexing="ij")
    unit = max(noise, 1e-5 * abs(level))  # what float32 resolves of the level
    galaxy = 50 * unit * torch.exp(-(x**2 + y**2) / 50)
    found_level, found_noise = sky(gaussian_sky(level, unit) + galaxy)
    assert ((found_noise / unit - 1).abs() < 0.15).all()
    assert ((found_level - level).abs() < 0.35 * unit).all()


def test_smooth_light_is_no_noise() -> None:
    image = gaussian_sky(0.0, 1.0)
    ramp = torch.linspace(0, 30, 64)
    assert ((sky(image + ramp)[1] / sky(image)[1] - 1).abs() < 0.15).all()


def test_noise_is_never_zero() -> None:
    black = torch.zeros(1, 3, 64, 64)
    black[..., 30:34, 30:34] = 255.0
    for image in (torch.zeros(1, 1, 64, 64), torch.full((1, 1, 64, 64), 7.0), black):
        level, noise = sky(image)
        assert (noise > 0).all() and level.isfinite().all()
        assert stretch(image, torch.zeros(1, dtype=torch.bool), 3.0).isfinite().all()


def test_padding_does_not_lower_the_noise() -> None:
    image = torch.zeros(8, 3, 64, 64)
    image[..., 12:52, 12:52] = gaussian_sky(0.0, 1.0)[..., 12:52, 12:52]
    assert ((sky(image)[1] - 1).abs() < 0.2).all()


def test_stretch_by_kind_and_unit() -> None:
    image = gaussian_sky(100.0, 5.0)
    kinds = torch.tensor([True, False] * 4)
    out = stretch(image, kinds, 3.0)
    assert torch.allclose(out[0], image[0] / 255)
    level, noise = sky(image)
    assert torch.allclose(out[1], torch.asinh((image[1] - level[1, :, None, None]) / (3 * noise[1, :, None, None])))
    assert torch.allclose(stretch(image * 1e-8, ~kinds, 3.0)[0], stretch(image, ~kinds, 3.0)[0], atol=1e-3)


def test_normaliser_centres_each_kind_with_its_own_statistics() -> None:
    linear, pictures = gaussian_sky(10.0, 2.0), gaussian_sky(90.0, 20.0).clamp(0, 255).round()
    image, kinds = torch.cat([linear, pictures]), torch.arange(16) >= 8
    statistics = measure_statistics(image, kinds, 3.0)
    assert set(statistics) == {"linear", "composite"}
    contract = ModelContract(name="x", bands=("g", "r", "i"), pixel_scale=(0.2, 0.2), statistics=statistics)
    out = Normaliser(contract)(image, kinds)
    for part in (out[:8], out[8:]):
        assert torch.allclose(part.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
        assert torch.allclose(part.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    assert torch.equal(out, Normaliser(contract)(image, kinds))


def test_an_unseen_kind_is_nan_and_statistics_are_no_weights() -> None:
    stats = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
    normaliser = Normaliser(ModelContract(name="x", bands=("r",), pixel_scale=(0.2, 0.2), statistics=stats))
    assert normaliser(torch.ones(1, 1, 8, 8), torch.tensor([True])).isnan().all()
    assert not normaliser.state_dict()


def test_constant_images_have_a_usable_deviation() -> None:
    statistics = measure_statistics(torch.zeros(2, 1, 8, 8), torch.ones(2, dtype=torch.bool), 3.0)
    assert set(statistics) == {"composite"} and statistics["composite"].std[0] > 0
