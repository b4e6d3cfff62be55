"""Labelled images among simulated ones: a share of every batch, half of it lenses however rare they are."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlensing.data.cache import data_fingerprint
from mlensing.data.cached import CachedSplit
from mlensing.data.module import LensDataModule
from mlensing.errors import ConfigError

Batch = dict[str, Tensor]


class Labelled:
    """Images of a prepared split that take the place of simulated ones.

    Arguments:
        split: the images; what is stored beyond ``size`` pixels a side is room for centroid shifts.
        share: of every batch, in (0, 1).
        size: pixels a side of a batch's images.
        seed: of the choice; batch ``number`` is the same whoever asks for it.

    Raises:
        ConfigError: a share out of range, or only one class of images.
    """

    def __init__(self, split: CachedSplit, *, share: float, size: int, seed: int) -> None:
        if not 0 < share < 1:
            raise ConfigError("labelled_share", f"expected a share in (0, 1), got {share}", "Take 0.25.")
        lens = split.labels >= 0.5
        if lens.all() or not lens.any():
            problem = f"all {len(lens)} labelled images are {'lenses' if lens.all() else 'non-lenses'}"
            raise ConfigError(split.catalog.source, problem, "Give some of both.")
        self.split, self.share, self.size, self.seed = split, share, size, seed
        self._classes = np.flatnonzero(~lens), np.flatnonzero(lens)

    @classmethod
    def of(cls, folder: str, *, share: float, contract: Mapping[str, Any], margin: int, seed: int) -> LabelledPair:
        """Those to train on and those to validate on, of a folder that ``prepare`` wrote.

        Arguments:
            folder: with ``train/index.csv`` and ``val/index.csv``.
            share: of every batch.
            contract: ``bands``, ``input_size`` and ``pixel_scale`` of the network; other scales are resampled.
            margin: largest centroid shift [px].
            seed: of the choice.

        Raises:
            CatalogError, ImageError, ContractError, ConfigError: images or a share that cannot be used.
        """
        size = contract["input_size"]
        wanted = {"bands": contract["bands"], "scale_range": contract["pixel_scale"]}
        data = LensDataModule(folder, input_size=size, margin=margin, **wanted)
        train, val = (cls(data.split(name), share=share, size=size, seed=seed) for name in ("train", "val"))
        return train, val

    @property
    def fingerprint(self) -> str:
        """Of the index and its files."""
        return data_fingerprint(self.split.catalog)

    def require_kinds(self, known: Container[str]) -> None:
        """Refuse images of a kind that the simulated sky has none of, ``linear`` or ``composite``.

        Raises:
            ConfigError: naming it.
        """
        for kind, there in (("composite", self.split.cache.composite), ("linear", ~self.split.cache.composite)):
            if there[self.split.rows].any() and kind not in known:
                problem = f"some of its images are {kind}, and the simulated sky has no such"
                raise ConfigError(self.split.catalog.source, problem, f"Give {kind} a share in `representations`.")

    def mixed(self, batch: Batch, number: int) -> Batch:
        """``batch`` with its first rows replaced; ``as_is`` [B] marks them: they become no composites.

        What was true of the simulated images that they replace, maps among it, is not known of them: NaN.
        """
        rng = np.random.default_rng([self.seed, number])
        label = batch["label"]
        count = max(1, round(self.share * len(label)))
        chosen = [rng.choice(self._classes[i % 2]) for i in range(count)]
        rows = self.split.__getitems__(chosen)
        rows["image"] = shifted(rows["image"], self.size, rng)
        rows["as_is"] = torch.ones(count, dtype=torch.bool)
        batch = {**batch, "as_is": torch.zeros(len(label), dtype=torch.bool)}
        firsts = {
            name: rows[name].to(label.device) if name in rows else _unknown(batch[name][:count]) for name in batch
        }
        return {name: torch.cat([firsts[name], batch[name][count:].to(label.device)]) for name in batch}


def _unknown(values: Tensor) -> Tensor:
    """Real numbers as NaN; positions in lists (of surveys, of classes) as they are."""
    return torch.full_like(values, torch.nan) if values.is_floating_point() else values


LabelledPair = tuple[Labelled, Labelled]


def shifted(image: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """[B, C, S, S] -> [B, C, size, size], cut anywhere inside.

    Example:
        >>> shifted(torch.zeros(2, 3, 70, 70), 64, np.random.default_rng(0)).shape
        torch.Size([2, 3, 64, 64])
    """
    room = image.shape[-1] - size
    corners = rng.integers(0, room + 1, (len(image), 2))
    return torch.stack([one[:, y : y + size, x : x + size] for one, (y, x) in zip(image, corners, strict=True)])
