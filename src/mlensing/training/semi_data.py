"""Batches of a training set of which only some images have labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mlensing.data.cache import FOLDER, CacheSettings
from mlensing.data.cached import Batch, CachedSplit
from mlensing.data.module import LensDataModule, tell_rows
from mlensing.data.pool import pooled, tell_rejected
from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint
from mlensing.training.numbered import EpochSampler
from mlensing.training.schedules import LARGEST_RATIO, unlabelled_count

SHARED = ("image", "composite", "dx", "dy")
"""Of an unlabelled image."""


class PartBatches(Dataset[dict[str, Batch]]):
    """Item i is the i-th batch: ``labelled``, and ``unlabelled`` as many as the schedule will ever ask for.

    Both are endless sequences in which every pass over the images has an order of its own; where a batch begins follows
    from its number alone, whoever asks for it.

    Arguments:
        labelled: images with labels.
        pools: images without.
        batch_size: labelled images a batch.
        seed: of both orders.
    """

    def __init__(self, labelled: CachedSplit, pools: list[CachedSplit], *, batch_size: int, seed: int) -> None:
        self.labelled, self.pools, self.batch_size, self.seed = labelled, pools, batch_size, seed
        self.starts = np.cumsum([0, *map(len, pools)])

    def __getitem__(self, number: int) -> dict[str, Batch]:
        beside = unlabelled_count(self.batch_size, LARGEST_RATIO)
        with_labels = places(len(self.labelled), number, self.batch_size, seed=(self.seed, 0))
        without = places(int(self.starts[-1]), number, beside, seed=(self.seed, 1))
        return {"labelled": self.labelled.__getitems__(with_labels.tolist()), "unlabelled": self.read(without)}

    def read(self, chosen: NDArray[np.int64]) -> Batch:
        """Unlabelled images by their places in all pools, pool after pool."""
        which = np.searchsorted(self.starts, chosen, side="right") - 1
        parts = [
            pool.__getitems__((chosen[which == i] - self.starts[i]).tolist())
            for i, pool in enumerate(self.pools)
            if (which == i).any()
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in SHARED}


def places(rows: int, number: int, count: int, *, seed: tuple[int, int]) -> NDArray[np.int64]:
    """The ``number``-th ``count`` places of an endless sequence of passes over ``rows``.

    Example:
        >>> sorted(np.concatenate([places(6, number, 4, seed=(1, 0)) for number in range(3)]).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    """
    turn, place = np.divmod(np.arange(number * count, (number + 1) * count), rows)
    orders = {int(which): _order(rows, int(which), seed) for which in np.unique(turn)}
    return np.array([orders[int(which)][at] for which, at in zip(turn, place, strict=True)], dtype=np.int64)


@lru_cache(maxsize=8)
def _order(rows: int, turn: int, seed: tuple[int, int]) -> NDArray[np.int64]:
    return np.random.default_rng([*seed, turn]).permutation(rows)


class PartlyLabelled(LensDataModule):
    """Prepared splits whose training rows without a label teach too, and further images without labels.

    Arguments:
        data_dir, options: as ``LensDataModule``.
        unlabelled: more images without labels, as ``data.pool.pooled`` takes them; if they have any, nobody looks.
            Pixel scales outside the labelled images' range are resampled.
        epoch_steps: batches between two validations; None makes it a pass over as many images as there are.

    Raises:
        ConfigError, CatalogError, ImageError: as ``LensDataModule`` and ``pooled``; not one unlabelled image.
    """

    def __init__(
        self, data_dir: str, *, unlabelled: str | None = None, epoch_steps: int | None = None, **options: Any
    ) -> None:
        super().__init__(data_dir, **options)
        self.unlabelled, self.epoch_steps = unlabelled, epoch_steps
        self.pools: list[CachedSplit] = []

    def tell_unlabelled(self, name: str) -> None:
        """Those of the training split teach."""
        fate = "without a label teach too" if name == "train" else "without a label are left out"
        tell_rows(self.index_of(name), self.splits[name].unlabelled, fate)

    def setup(self, stage: str) -> None:
        """Open the splits, and the images without labels."""
        super().setup(stage)
        if stage != "fit" or self.pools:
            return
        train = self.split("train")
        if train.unlabelled:
            own = CachedSplit(train.catalog, self.settings, cache_dir=self._cache_of("train"), keep_unlabelled=True)
            self.pools.append(own.part(np.isnan(own.labels)))
        if self.unlabelled is not None:
            self.pools.append(self._further(self.summary()["pixel_scale"]))
        if not self.pools:
            remedy = "Leave the label of such rows empty, or give a folder or index with --unlabelled."
            raise ConfigError(self.index_of("train"), "not one image is without a label", remedy)

    def _further(self, scales: tuple[float, float]) -> CachedSplit:
        wanted = CacheSettings(self.bands, self.settings.size, self.settings.survey, scales)
        folder = self._cache_of("unlabelled") or self.index_of("train").parent / FOLDER
        index = pooled([str(self.unlabelled)], folder, bands=self.bands, survey=self.settings.survey)
        rank_zero_only(tell_rejected)(index)
        return CachedSplit(index, wanted, cache_dir=self._cache_of("unlabelled"), keep_unlabelled=True)

    def _cache_of(self, name: str) -> Path | None:
        return None if self.cache_dir is None else self.cache_dir / name

    def summary(self) -> dict[str, Any]:
        """As ``LensDataModule.summary``; the fingerprint is of the unlabelled images too."""
        found = super().summary()
        marks = [pool.cache.checksum.tobytes() for pool in self.pools]
        return {**found, "training_hash": fingerprint(found["training_hash"].encode(), *marks)}

    def require_kinds(self, known: dict[Any, Any], composites: float) -> None:
        """Refuse unlabelled images of a kind that the labelled ones have none of, ``linear`` or ``composite``.

        Raises:
            ConfigError: naming it.
        """
        for pool in self.pools:
            colour = pool.cache.composite[pool.rows]
            there = {"composite": colour.any(), "linear": not colour.all() and composites < 1}
            for kind, some in there.items():
                if some and kind not in known:
                    problem = f"some unlabelled images are {kind}, and no labelled one is"
                    remedy = "Leave them out, or (linear labelled images) make composites of some: --composites 0.5."
                    raise ConfigError(pool.catalog.source, problem, remedy)

    def train_dataloader(self) -> DataLoader[Any]:
        """Whole batches in order; each epoch goes on where the one before it ended."""
        process = self._process
        data = PartBatches(self.split("train"), self.pools, batch_size=self.batch_size, seed=self.seed)
        sampler = EpochSampler(self.steps(process["world"]), **process)
        sampler.set_epoch(self.epochs)
        return self._loader(data, sampler, None)

    def steps(self, world: int) -> int:
        """Batches an epoch and process."""
        images = len(self.split("train")) + sum(map(len, self.pools))
        return self.epoch_steps or max(images // (self.batch_size * world), 1)

    def state_dict(self) -> dict[str, Any]:
        """As ``LensDataModule``, and in what portions images were shown."""
        world = self._process["world"]
        return {**super().state_dict(), "portions": [self.batch_size, self.steps(world), world]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on in other portions: some images would be shown again, others not.

        Raises:
            ConfigError: naming both.
        """
        super().load_state_dict(state_dict)
        own = self.state_dict()["portions"]
        if state_dict["portions"] != own:
            problem = f"batch_size, epoch_steps and processes were {state_dict['portions']}, now {own}"
            raise ConfigError("resume", problem, "Use those of the checkpoint.")
