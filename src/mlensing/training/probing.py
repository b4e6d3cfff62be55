"""Labelled images that judge features which were learned without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mlensing.contract import ModelContract
from mlensing.data.cache import CacheSettings
from mlensing.data.cached import CachedSplit
from mlensing.data.normalise import KINDS, Normaliser
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.probe import PROBES, knn_auc
from mlensing.models import classifier

MOST = 2048
"""Labelled images that are looked at."""
AT_ONCE = 256


class Probe:
    """Called with a network and its normaliser: the ROC area of a vote of nearest neighbours among labelled images.

    Arguments:
        labelled: an index CSV, a folder with one, or one that ``prepare`` wrote, of which the training split is taken.
        contract: of the networks that are judged; images at other pixel scales are resampled.
        survey: preset of files that name none.
        seed: of the choice among more than ``MOST``, and of the folds.

    Raises:
        ConfigError, CatalogError, ImageError, ContractError: images that cannot be used, or of one class only.
    """

    def __init__(self, labelled: str, contract: ModelContract, *, survey: str | None, seed: int) -> None:
        index, self.seed = index_of(Path(labelled)), seed
        settings = CacheSettings(contract.bands, contract.input_size, survey, contract.pixel_scale)
        split = CachedSplit(index, settings)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:MOST])
        self.split, self.rows, self.labels = split, chosen, split.labels[chosen]
        for composite in np.unique(split.cache.composite[split.rows[chosen]]):
            contract.require_representation(KINDS[int(composite)], where=index)
        if not 2 <= int((self.labels >= 0.5).sum()) <= len(chosen) - 2:
            problem = "there are not two images of each class to judge features by"
            raise CatalogError(index, problem, "Give lenses and non-lenses.")
        groups = split.catalog.text("group")
        named = any(group is not None for group in groups)
        self.groups = [groups[row] or f"\0{row}" for row in split.rows[chosen]] if named else None

    def __call__(self, net: nn.Module, normaliser: Normaliser) -> float:
        """The figure told after every epoch."""
        return knn_auc(self.features(net, normaliser), self.labels, groups=self.groups, seed=self.seed)

    def figures(self, net: nn.Module, normaliser: Normaliser) -> dict[str, float]:
        """Every figure of ``evaluation.probe``."""
        found = self.features(net, normaliser)
        return {name: f(found, self.labels, groups=self.groups, seed=self.seed) for name, f in PROBES.items()}

    @torch.no_grad()
    def features(self, net: nn.Module, normaliser: Normaliser) -> NDArray[np.float64]:
        """Features [N, F] of the labelled images, the network being in evaluation mode."""
        device, parts, training = normaliser.mean.device, [], net.training
        net.eval()
        for rows in np.split(self.rows, range(AT_ONCE, len(self.rows), AT_ONCE)):
            batch = self.split.__getitems__(rows.tolist())
            pixels = normaliser(batch["image"].to(device), batch["composite"].to(device))
            features = classifier(net).features(pixels.contiguous(memory_format=torch.channels_last))
            parts.append(features.double().cpu().numpy())
        net.train(training)
        return np.concatenate(parts)


def index_of(given: Path) -> Path:
    """The index CSV that a path means.

    Raises:
        ConfigError: none is there.
    """
    tried = [given] if given.suffix == ".csv" else [given / "index.csv", given / "train" / "index.csv"]
    for path in tried:
        if path.is_file():
            return path
    problem = f"no index there ({', '.join(map(str, tried))})"
    raise ConfigError("labelled", problem, "Give an index CSV, or a folder that `mlensing prepare` wrote.")
