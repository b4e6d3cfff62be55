"""What a network was trained on, as clouds of image statistics: how far outside an image lies, and when to say so.

A training set is of many kinds (surveys, stretches, empty sky), so each representation is a mixture of normal clouds.
The distance is ``sqrt(-2 log(p / peak))`` of its density p: with one cloud, Mahalanobis' (1936; for networks Lee+2018,
arXiv:1807.03888). Its unit is a limit that a share ``FLAGGED`` of held-out training images exceeds. It tells other
pictures, and light that no camera took; it cannot tell what training has shown on purpose, such as empty sky or stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

FLAGGED = 0.01
"""Share of images like those of the training that are flagged."""
SHRINKAGE = 0.05
"""Share of the identity in the correlation matrices: directions without scatter must not rule."""
CLOUDS, EACH, STARTS = 8, 100, 4
"""Most clouds of a representation, images that each takes, and fits of which the likeliest is kept."""
FEWEST = 200
"""Images of a representation below which nothing is said of it."""
PREFIX = "domain."
NAMES = ("mean", "whiten", "peak", "limit")


@dataclass(frozen=True)
class Domain:
    """Clouds of the two representations, linear first.

    Attributes:
        mean: [2, M, K].
        whiten: [2, M, K, K], from statistics about the mean to uncorrelated ones of unit variance.
        peak: [2, M] log density at the mean, over that of the densest cloud.
        limit: [2], NaN for a representation that was not seen.
    """

    mean: Tensor
    whiten: Tensor
    peak: Tensor
    limit: Tensor

    @classmethod
    def fit(cls, statistics: Tensor, composite: Tensor) -> Domain:
        """The clouds of a sample of training images: even rows make the clouds, odd rows the limit.

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
        found = [_fitted(statistics[composite == bool(kind)].double()) for kind in (0, 1)]
        most = max(len(peak) for _, _, peak, _ in found)
        padded = [(*map(partial(_padded, most), found[kind][:3]), found[kind][3]) for kind in (0, 1)]
        return cls(*(torch.stack(part).float() for part in zip(*padded, strict=True)))

    def distance(self, statistics: Tensor, composite: Tensor) -> Tensor:
        """Distance [B] from the clouds of each image's kind, over its limit; NaN where the kind was not seen."""
        kind = composite.long()
        return _distance(statistics, self.mean[kind], self.whiten[kind], self.peak[kind]) / self.limit[kind]

    def state(self) -> dict[str, Tensor]:
        """Tensors by the names they have in a checkpoint."""
        return {f"{PREFIX}{name}": getattr(self, name) for name in NAMES}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Domain | None:
        """The domain among the tensors of a checkpoint; None if it has none."""
        names = [f"{PREFIX}{name}" for name in NAMES]
        return cls(*(state[name].float() for name in names)) if all(name in state for name in names) else None

    def to(self, device: torch.device) -> Domain:
        """The same on another device."""
        return Domain(*(getattr(self, name).to(device) for name in NAMES))


def _distance(statistics: Tensor, mean: Tensor, whiten: Tensor, peak: Tensor) -> Tensor:
    """Distance [B] of statistics [B, K] from clouds [B or 1, M, ...]."""
    apart = (statistics[:, None, None] - mean[:, :, None]) @ whiten
    log_density = torch.logsumexp(peak - 0.5 * apart.square().sum((2, 3)), 1)
    return (-2 * log_density).clamp(min=0).sqrt()


def _fitted(statistics: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means [M, K], whitening [M, K, K], peaks [M] and limit of one representation."""
    size = statistics.shape[1]
    if len(statistics) < FEWEST:
        blank = torch.zeros(1, size, size, dtype=statistics.dtype)
        return blank[:, 0], blank, blank[:, 0, 0], torch.tensor(torch.nan)
    inner, held_out = statistics[::2], statistics[1::2]
    mean, turn = _whitening(inner)
    count = max(1, min(CLOUDS, len(inner) // EACH))
    mixture = GaussianMixture(count, reg_covar=SHRINKAGE, n_init=STARTS, random_state=0)
    mixture.fit(((inner - mean) @ turn).numpy())
    triangle = torch.linalg.inv(turn)
    narrow = torch.from_numpy(mixture.precisions_cholesky_)
    peak = torch.from_numpy(mixture.weights_).log() + narrow.diagonal(dim1=1, dim2=2).log().sum(1)
    clouds = mean + torch.from_numpy(mixture.means_) @ triangle, turn @ narrow, peak - peak.max()
    far = _distance(held_out, *(part[None] for part in clouds))
    return *clouds, far.quantile(1 - FLAGGED)


def _whitening(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [K] and the matrix [K, K] that makes all of the statistics alike in scatter and uncorrelated."""
    mean, scatter = statistics.mean(0), statistics.std(0) + 1e-6
    scaled = (statistics - mean) / scatter
    identity = torch.eye(len(mean), dtype=statistics.dtype)
    mixed = (1 - SHRINKAGE) * scaled.T @ scaled / len(scaled) + SHRINKAGE * identity
    return mean, torch.linalg.inv(torch.linalg.cholesky(mixed)).T / scatter[:, None]


def _padded(most: int, part: Tensor) -> Tensor:
    """Clouds [M, ...] filled up to ``most`` with the last, which for peaks is none."""
    extra = most - len(part)
    filling = (
        torch.full((extra,), -torch.inf, dtype=part.dtype)
        if part.ndim == 1
        else part[-1:].expand(extra, *part.shape[1:])
    )
    return torch.cat([part, filling])
