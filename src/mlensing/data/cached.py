"""A split of images, read from its cache a batch at a time.

A batch is a dict: ``image`` [B, C, S, S] raw (not stretched, not augmented), ``label`` [B], ``composite`` [B] bool,
``dx``, ``dy`` [B] arcsec/px, and, if asked for, the maps ``kappa``, ``psi`` [B, S, S], ``alpha`` [B, 2, S, S], NaN
where there is none.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mlensing.catalog import Catalog
from mlensing.data.cache import Cache, CacheSettings
from mlensing.errors import CatalogError

Batch = dict[str, Tensor]


class CachedSplit(Dataset[Batch]):
    """The labelled images of one index, read from its cache a batch at a time.

    Arguments:
        index: the index, or the path of its CSV.
        settings: bands, size (margin included) and scales of the cache.
        size: pixels a side of what is read; all that is stored without it.
        cache_dir: where the cache lies; beside the index without it.
        keep_unlabelled: keep rows without a label (their label is NaN).

    Raises:
        CatalogError: no row is left.
        ImageError, ContractError: as ``Cache.open``.
    """

    def __init__(
        self,
        index: Path | Catalog,
        settings: CacheSettings,
        *,
        size: int | None = None,
        cache_dir: Path | None = None,
        keep_unlabelled: bool = False,
    ) -> None:
        self.catalog = index if isinstance(index, Catalog) else Catalog.read(index)
        self.cache = Cache.open(self.catalog, settings, cache_dir)
        self.size, self.with_maps = size, settings.maps is not None
        labelled = ~np.isnan(self.cache.label)
        self.rows = np.flatnonzero(labelled | keep_unlabelled)
        self.unlabelled = int((~labelled).sum())
        if not len(self.rows):
            raise CatalogError(
                self.catalog.source, "no labelled rows", "Fill the column label: 1 for lenses, 0 for others."
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A whole batch in one read; the loader must pass it on as it is (``collate_fn=as_it_is``)."""
        rows = self.rows[np.asarray(indices)]
        cache = self.cache
        columns: dict[str, NDArray[Any]] = {
            "image": cache.read(rows, self.size),
            "label": cache.label[rows],
            "composite": cache.composite[rows],
            "dx": cache.dx[rows],
            "dy": cache.dy[rows],
            **(cache.read_maps(rows, self.size) if self.with_maps else {}),
        }
        return {name: torch.from_numpy(values) for name, values in columns.items()}

    def part(self, chosen: NDArray[np.bool_]) -> CachedSplit:
        """Some of these images, by a flag for each; of the same cache."""
        part = copy.copy(self)
        part.rows = self.rows[chosen]
        return part

    @property
    def files(self) -> list[Path]:
        """The image file of each row."""
        paths = self.catalog.paths
        return [paths[row] for row in self.rows]

    @property
    def labels(self) -> NDArray[np.float32]:
        """The label of each row."""
        return self.cache.label[self.rows]


def as_it_is(batch: Any) -> Any:
    """Collation of what is a batch already."""
    return batch
