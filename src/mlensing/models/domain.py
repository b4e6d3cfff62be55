"""What a network was trained on, as a cloud of image statistics: how far outside an image lies, and when to say so.

The distance is Mahalanobis' (Mahalanobis 1936; for networks Lee+2018, arXiv:1807.03888), for each kind of image by
itself, in units of a limit that a share ``FLAGGED`` of held-out training images exceeds. It tells other cameras and
other pictures; it cannot tell what training has shown on purpose, such as empty sky or stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

FLAGGED = 0.005
"""Share of images like those of the training that are flagged."""
SHRINKAGE = 0.05
"""Share of the identity in the correlation matrix: directions without scatter must not rule."""
FEWEST = 200
"""Images of a kind below which nothing is said of that kind."""
PREFIX = "domain."


@dataclass(frozen=True)
class Domain:
    """Clouds of the two kinds of image, linear first.

    Attributes:
        mean: [2, K].
        whiten: [2, K, K], from statistics about the mean to uncorrelated ones of unit variance.
        limit: [2], NaN for a kind that was not seen.
    """

    mean: Tensor
    whiten: Tensor
    limit: Tensor

    @classmethod
    def fit(cls, statistics: Tensor, composite: Tensor) -> Domain:
        """The clouds of a sample of training images: even rows make the cloud, odd rows the limit.

        Arguments:
            statistics: [N, K], of ``data.statistics.image_statistics``.
            composite: [N] bool.

        Example:
            >>> normal = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
            >>> found = Domain.fit(normal, torch.zeros(4000).bool())
            >>> far = found.distance(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.zeros(2).bool())
            >>> bool(far[0] < 1 < far[1]), bool(found.limit[1].isnan())
            (True, True)
        """
        clouds = [_cloud(statistics[composite == bool(kind)].double()) for kind in (0, 1)]
        return cls(*(torch.stack(part).float() for part in zip(*clouds, strict=True)))

    def distance(self, statistics: Tensor, composite: Tensor) -> Tensor:
        """Distance [B] from the cloud of each image's kind, over its limit; NaN where the kind was not seen."""
        kind = composite.long()
        apart = (statistics - self.mean[kind])[:, None] @ self.whiten[kind]
        far: Tensor = torch.linalg.vector_norm(apart[:, 0], dim=1)
        return far / self.limit[kind]

    def state(self) -> dict[str, Tensor]:
        """Tensors by the names they have in a checkpoint."""
        return {f"{PREFIX}{name}": getattr(self, name) for name in ("mean", "whiten", "limit")}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Domain | None:
        """The domain among the tensors of a checkpoint; None if it has none."""
        names = [f"{PREFIX}{name}" for name in ("mean", "whiten", "limit")]
        return cls(*(state[name].float() for name in names)) if all(name in state for name in names) else None

    def to(self, device: torch.device) -> Domain:
        """The same on another device."""
        return Domain(self.mean.to(device), self.whiten.to(device), self.limit.to(device))


def _cloud(statistics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = statistics.shape[1]
    if len(statistics) < FEWEST:
        nothing = torch.full((), torch.nan, dtype=torch.float64)
        return torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64), nothing
    inner, held_out = statistics[::2], statistics[1::2]
    mean, scatter = inner.mean(0), inner.std(0) + 1e-6
    scaled = (inner - mean) / scatter
    mixed = (1 - SHRINKAGE) * scaled.T @ scaled / len(scaled) + SHRINKAGE * torch.eye(size, dtype=torch.float64)
    whiten = torch.linalg.inv(torch.linalg.cholesky(mixed)).T / scatter[:, None]
    far = torch.linalg.vector_norm((held_out - mean) @ whiten, dim=1)
    return mean, whiten, far.quantile(1 - FLAGGED)
