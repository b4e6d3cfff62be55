"""Batches of the prepared splits (``data.cached``), for Lightning or for a plain loop.

Rows without a label are left out, and counted aloud, but for a training that asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.utils.data import DataLoader, Dataset, Sampler

from mlensing.contract import CHANNELS, ModelContract
from mlensing.data.cache import CacheSettings
from mlensing.data.cached import Batch, CachedSplit, as_it_is
from mlensing.data.normalise import KINDS, measure_statistics
from mlensing.data.order import InOrder, Shuffled, WithRare, even_batch_size
from mlensing.errors import CatalogError, ConfigError
from mlensing.provenance import fingerprint

MEASURED = 2048
"""Images that the statistics are measured on: their standard error is then far below one percent of the noise."""


class LensDataModule(LightningDataModule):
    """The splits that ``prepare`` wrote, as data loaders.

    Arguments:
        data_dir: folder with ``train``, ``val`` and ``test``, each with an ``index.csv``; or, for testing, one split.
        bands: band names, or blue, green, red for any survey.
        input_size: pixels a side.
        batch_size: images a batch.
        margin: further pixels on each side of training images, for centroid shifts: hand ``size=input_size`` to
            ``augment`` then.
        survey: preset for files whose header and row name none.
        scale_range: pixel scales kept as they are, others are resampled [arcsec/px]; None keeps all.
        num_workers: reading processes; none are needed, as the cache is fast.
        seed: of the order of training images.
        cache_dir: where to keep the caches; beside each index without it.
        keep_unlabelled: keep rows without a label (NaN); every batch of the training then has a quarter of lenses.
        maps: read the maps too, those named KAPPA being kappa (``dimensionless``) or surface density (``physical``).

    Raises:
        ConfigError: a split that is not there.
        CatalogError: maps are wanted, and no lens of the training split has any; or unlabelled rows, and there are
            none, or no labelled lens.
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        bands: Sequence[str] = CHANNELS,
        input_size: int = 64,
        batch_size: int = 64,
        margin: int = 0,
        survey: str | None = None,
        scale_range: tuple[float, float] | None = None,
        num_workers: int = 0,
        seed: int = 42,
        cache_dir: str | Path | None = None,
        maps: Literal["dimensionless", "physical"] | None = None,
        keep_unlabelled: bool = False,
    ) -> None:
        super().__init__()
        self.data_dir, self.input_size, self.margin = Path(data_dir), input_size, margin
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.settings = CacheSettings(tuple(bands), input_size + 2 * margin, survey, scale_range, maps)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.keep_unlabelled, self.splits = keep_unlabelled, dict[str, CachedSplit]()
        self.epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """How many epochs are behind a checkpoint, which is written at the end of one."""
        return {"epochs": self.trainer.current_epoch + 1 if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the order of the next epoch: the trainer tells it only after workers have read ahead."""
        self.epochs = int(state_dict["epochs"])

    def index_of(self, split: str) -> Path:
        """Path of a split's index; ``data_dir`` itself may be the test split."""
        path = self.data_dir / split / "index.csv"
        if split == "test" and not path.is_file():
            path = self.data_dir / "index.csv"
        if not path.is_file():
            problem = f"no {split}/index.csv in it"
            raise ConfigError(self.data_dir, problem, "Write the splits with `mlensing prepare`, and give its folder.")
        return path

    def split(self, name: str) -> CachedSplit:
        """The images of ``train``, ``val`` or ``test``; their cache is built if need be."""
        if name not in self.splits:
            size = None if name == "train" else self.input_size
            cache_dir = None if self.cache_dir is None else self.cache_dir / name
            path = self.index_of(name)
            more: dict[str, Any] = {"cache_dir": cache_dir, "keep_unlabelled": self.keep_unlabelled}
            self.splits[name] = CachedSplit(path, self.settings, size=size, **more)
            if not self.keep_unlabelled:
                self.tell_unlabelled(name)
            elif name != "test":
                _require_both(self.splits[name], path)
            if self.settings.maps and name == "train":
                _require_maps(self.splits[name], path)
        return self.splits[name]

    def tell_unlabelled(self, name: str) -> None:
        """Say how many rows of a split have no label, and what becomes of them."""
        tell_rows(self.index_of(name), self.splits[name].unlabelled, "without a label are left out")

    def prepare_data(self) -> None:
        """Build what caches can be built; Lightning calls this on one process only."""
        for name in ("train", "val", "test"):
            if (self.data_dir / name / "index.csv").is_file():
                self.split(name)

    def setup(self, stage: str) -> None:
        """Open the splits of a stage: ``fit``, ``validate`` or ``test``."""
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for name in stages.get(stage, ()):
            self.split(name)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches, the same order for the same seed; a short last batch would upset batch norm."""
        split = self.split("train")
        if self.keep_unlabelled:
            lens = split.labels >= 0.5
            batches: dict[str, Any] = {"batch_size": self.batch_size, "seed": self.seed, **self._process}
            balanced = WithRare(np.flatnonzero(lens), np.flatnonzero(~lens), **batches)
            balanced.set_epoch(self.epochs)
            return self._loader(split, balanced, self.batch_size)
        order = Shuffled(len(split), seed=self.seed, **self._process)
        order.set_epoch(self.epochs)
        return self._loader(split, order, self.batch_size, drop_last=len(order) > self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every row, in order; of several processes that train, each has its share."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Every row, in order, as ``val_dataloader``."""
        return self._in_order("test")

    def _in_order(self, name: str) -> DataLoader[Batch]:
        split, process = self.split(name), self._process
        batch_size = even_batch_size(len(split), self.batch_size, process["world"])
        return self._loader(split, InOrder(len(split), **process), batch_size)

    @property
    def _process(self) -> dict[str, int]:
        """Which process this is, of how many: one of one without a trainer."""
        trainer = self.trainer
        return {"rank": trainer.global_rank, "world": trainer.world_size} if trainer else {"rank": 0, "world": 1}

    def _loader(
        self, split: Dataset[Any], order: Sampler[Any], batch_size: int | None, **options: Any
    ) -> DataLoader[Any]:
        if self.num_workers:
            options |= {"num_workers": self.num_workers, "persistent_workers": True}
            options |= {"multiprocessing_context": "spawn"}  # a fork of a process that computed with threads can hang
        return DataLoader(split, batch_size=batch_size, sampler=order, collate_fn=as_it_is, **options)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in order."""
        return self.settings.bands

    def statistics_sample(self, count: int = MEASURED) -> Batch:
        """Training images drawn with the seed, without margin, to measure statistics on."""
        split = self.split("train")
        count = min(count, len(split))
        chosen = np.sort(np.random.default_rng(self.seed).permutation(len(split))[:count])
        batch = split.__getitems__(chosen.tolist())
        start = (batch["image"].shape[-1] - self.input_size) // 2
        inner = slice(start, start + self.input_size)
        return {**batch, "image": batch["image"][..., inner, inner]}

    def summary(self) -> dict[str, Any]:
        """What there is to train on: rows, prevalence, pixel scales, kinds of image, fingerprint."""
        train = self.split("train")
        scales = np.concatenate([train.cache.dx[train.rows], train.cache.dy[train.rows]])
        composite = train.cache.composite[train.rows]
        index = train.catalog.table[["filepath", "label"]].to_csv(index=False).encode()
        settings = json.dumps(self.settings.key).encode()
        return {
            "rows": {name: len(split) for name, split in self.splits.items()},
            "unlabelled": {name: split.unlabelled for name, split in self.splits.items()},
            "prevalence": float(np.nanmean(train.labels, dtype=np.float64)),
            "bands": self.bands,
            "pixel_scale": (round(float(scales.min()), 6), round(float(scales.max()), 6)),
            "representations": [kind for i, kind in enumerate(KINDS) if (composite == bool(i)).any()],
            "training_hash": fingerprint(index, train.cache.checksum.tobytes(), settings),
        }

    def contract_fields(self) -> dict[str, Any]:
        """What the data say in a ``ModelContract``: all but the network; with unlabelled rows no ``prevalence``.

        Raises:
            CatalogError: training data of one class only.
        """
        summary = self.summary()
        if not self.keep_unlabelled and not 0.0 < summary["prevalence"] < 1.0:
            problem = f"all {len(self.split('train'))} labels are {summary['prevalence']:g}"
            raise CatalogError(self.index_of("train"), problem, "Training needs lenses and non-lenses.")
        sample = self.statistics_sample()
        softening = float(ModelContract.model_fields["softening"].default)
        return {
            "statistics": measure_statistics(sample["image"], sample["composite"], softening),
            "input_size": self.input_size,
            **{key: summary[key] for key in ("bands", "pixel_scale", "training_hash")},
            **({} if self.keep_unlabelled else {"prevalence": summary["prevalence"]}),
        }


def _require_maps(split: CachedSplit, path: Path) -> None:
    lenses = split.rows[split.labels >= 0.5]
    middle = split.cache.maps.shape[-1] // 2
    if not np.isfinite(split.cache.maps[lenses, 0, middle, middle]).any():
        problem = "the loss needs maps, and no lens has the HDU KAPPA"
        raise CatalogError(path, problem, "Give simulated images with maps, or take the terms of maps out of the loss.")


def _require_both(split: CachedSplit, path: Path) -> None:
    for there, what in ((split.labels >= 0.5, "labelled lens"), (np.isnan(split.labels), "unlabelled image")):
        if not there.any():
            remedy = "Label lenses with 1 and leave all else empty, then divide it with `mlensing prepare`."
            raise CatalogError(path, f"no {what} in it", remedy)


@rank_zero_only
def tell_rows(path: Path, count: int, fate: str) -> None:
    """Say what becomes of some rows of an index, if there are any."""
    if count:
        Console(stderr=True).print(f"{path}: {count} rows {fate}", highlight=False)
