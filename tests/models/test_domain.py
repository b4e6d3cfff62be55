"""The domain: Mahalanobis' distance, a limit that holds, and what it is for."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis

from mlensing.data.statistics import image_statistics
from mlensing.models.domain import FEWEST, FLAGGED, SHRINKAGE, Domain

GENERATOR = torch.Generator().manual_seed(0)
MIXING = torch.randn(5, 5, generator=GENERATOR)


def cloud(count: int) -> torch.Tensor:
    return torch.randn(count, 5, generator=GENERATOR) @ MIXING + 3.0


def test_distance_is_that_of_scipy() -> None:
    sample, linear = cloud(4000), torch.zeros(4000).bool()
    found = Domain.fit(sample, linear)
    inner = sample[::2].double()
    scatter = inner.std(0) + 1e-6
    correlation = ((inner - inner.mean(0)) / scatter).T @ ((inner - inner.mean(0)) / scatter) / len(inner)
    shrunk = ((1 - SHRINKAGE) * correlation + SHRINKAGE * torch.eye(5)) * scatter[:, None] * scatter
    inverse = np.linalg.inv(shrunk.numpy())
    expected = [mahalanobis(row, inner.mean(0).numpy(), inverse) for row in sample[:20].double().numpy()]
    distance = found.distance(sample[:20], linear[:20]) * found.limit[0]
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-3)


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
        assert found.shape == (2, 10 * bands + 4 * (bands - 1) + 1) and torch.isfinite(found).all()
