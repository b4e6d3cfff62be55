"""The domain: Mahalanobis' distance, a limit that holds, and what it is for."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis

from mlensing.data.statistics import image_statistics
from mlensing.models.domain import EACH, FEWEST, FLAGGED, SHRINKAGE, Domain

GENERATOR = torch.Generator().manual_seed(0)
MIXING = torch.randn(5, 5, generator=GENERATOR)


def cloud(count: int) -> torch.Tensor:
    return torch.randn(count, 5, generator=GENERATOR) @ MIXING + 3.0


def test_distance_from_one_cloud_is_that_of_scipy() -> None:
    """Few images make one cloud; what shrinks its correlation twice is an identity in whitened space."""
    sample, linear = cloud(2 * EACH), torch.zeros(2 * EACH).bool()
    found = Domain.fit(sample, linear)
    assert found.mean.shape == (2, 1, 5)
    inner = sample[::2].double()
    scatter = inner.std(0) + 1e-6
    scaled = (inner - inner.mean(0)) / scatter
    once = (1 - SHRINKAGE) * scaled.T @ scaled / len(inner) + SHRINKAGE * torch.eye(5)
    shrunk = (scaled.T @ scaled / len(inner) + SHRINKAGE * once) * scatter[:, None] * scatter
    inverse = np.linalg.inv(shrunk.numpy())
    expected = [mahalanobis(row, inner.mean(0).numpy(), inverse) for row in sample[:20].double().numpy()]
    distance = found.distance(sample[:20], linear[:20]) * found.limit[0]
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-3)


def test_distance_from_many_clouds_is_that_of_scipy() -> None:
    """Of the density of the mixture itself, beside that of normal distributions."""
    sample = torch.cat([cloud(1000) + 30 * number for number in range(3)])[torch.randperm(3000, generator=GENERATOR)]
    found = Domain.fit(sample, torch.zeros(3000).bool())
    density = 0.0
    for mean, whiten, peak in zip(found.mean[0], found.whiten[0], found.peak[0], strict=True):
        inverse = (whiten @ whiten.T).double().numpy()
        here = np.array([mahalanobis(row, mean.double().numpy(), inverse) for row in sample[:50].double().numpy()])
        density = density + np.exp(peak.item() - here**2 / 2)
    distance = (found.distance(sample[:50], torch.zeros(50).bool()) * found.limit[0]).numpy()
    np.testing.assert_allclose(distance, np.sqrt(np.maximum(-2 * np.log(density), 0)), atol=0.02)
    places = torch.stack([torch.full((5,), 18.0), found.mean[0, 0]])  # amid two clouds, and in one
    between, within = found.distance(places, torch.zeros(2).bool())
    assert between > within + 0.5 and found.peak[0].max() == 0


def test_fit_is_deterministic_and_pads_the_smaller_representation() -> None:
    sample, composite = cloud(1500), torch.arange(1500) >= 1200
    found, again = Domain.fit(sample, composite), Domain.fit(sample, composite)
    assert all(torch.equal(found.state()[name], again.state()[name]) for name in found.state())
    alone = Domain.fit(sample[1200:], composite[1200:])
    assert found.mean.shape[1] > alone.mean.shape[1]
    torch.testing.assert_close(
        found.distance(sample[1200:], composite[1200:]), alone.distance(sample[1200:], composite[1200:])
    )


def test_the_limit_holds_on_images_alike() -> None:
    flagged = [Domain.fit(cloud(4000), torch.zeros(4000).bool()).distance(cloud(4000), torch.zeros(4000).bool()) > 1]
    assert abs(float(torch.cat(flagged).float().mean()) - FLAGGED) < 0.006


def test_kinds_are_apart_and_too_few_say_nothing() -> None:
    sample = torch.cat([cloud(1000), cloud(1000) + 100, cloud(FEWEST - 1)])
    composite = torch.arange(len(sample)) >= 1000
    found = Domain.fit(sample[:2000], composite[:2000])
    assert (found.distance(sample[:1000], composite[:1000]) > 1).float().mean() < 0.05
    assert (found.distance(sample[1000:2000], composite[:1000]) > 1).all()
    few = Domain.fit(sample[-FEWEST + 1 :], composite[-FEWEST + 1 :])
    assert few.distance(sample[:2], composite[:2]).isnan().all()


def test_state_goes_through_a_checkpoint() -> None:
    found = Domain.fit(cloud(1000), torch.zeros(1000).bool())
    again = Domain.of({**found.state(), "net.fc.weight": torch.zeros(1)})
    assert again is not None and Domain.of({}) is None
    assert torch.equal(again.whiten, found.whiten)


def test_foreign_images_are_far_away() -> None:
    """Sky noise with a soft galaxy on it is the domain; the same upside down, without noise or flat is not."""
    y, x = torch.meshgrid(torch.arange(48.0) - 23.5, torch.arange(48.0) - 23.5, indexing="ij")
    bright = 5 * torch.rand(1500, 1, 1, 1, generator=GENERATOR) + 1
    galaxy = bright * torch.exp(-torch.hypot(x, y) / 4) * torch.tensor([0.5, 1.0, 1.5])[:, None, None]
    image = galaxy + 0.3 * torch.randn(1500, 3, 48, 48, generator=GENERATOR)
    found = Domain.fit(image_statistics(image[:1400]), torch.zeros(1400).bool())

    def far(images: torch.Tensor) -> float:
        return float((found.distance(image_statistics(images), torch.zeros(len(images)).bool()) > 1).float().mean())

    hot = image[1400:].clone()
    hot[:, :, 5, 5] = 300.0
    assert far(image[1400:]) < 0.1
    for foreign in (-image[1400:], galaxy[1400:], torch.ones(10, 3, 48, 48), hot, image[1400:].flip(1)):
        assert far(foreign) > 0.9


def test_statistics_are_finite_on_anything() -> None:
    for image in (torch.zeros(2, 3, 32, 32), torch.full((2, 1, 40, 40), 1e30), torch.randn(2, 5, 33, 47)):
        found = image_statistics(image)
        bands = image.shape[1]
        assert found.shape == (2, 11 * bands + 4 * (bands - 1) + 1) and torch.isfinite(found).all()
