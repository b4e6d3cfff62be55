"""One contiguous array of the images of an index, built once, so that no epoch opens a FITS file.

``.mlensing_cache/`` beside the index holds, for each choice of bands and size, the pixels ``.npy`` [N, C, S, S]
float32 that is mapped into memory, the numbers of each row ``.npz``, and a ``.json`` written last that says what the
cache was made from: when the index or a file changes, the cache is built again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mlensing.catalog import Catalog
from mlensing.data.cutout import Cutout, frame, select_bands
from mlensing.data.dataset import read_row, scales_of
from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint, replacing, write_json

FOLDER = ".mlensing_cache"
FORMAT = 1
"""Raised when the same files would give other pixels."""


@dataclass(frozen=True)
class CacheSettings:
    """How images are made to fit before they are stored.

    Attributes:
        bands: what ``select_bands`` is asked for.
        size: pixels a side, margin included.
        survey: preset for files that name none.
        scale_range: pixel scales that are kept as they are [arcsec/px]; None keeps all.
    """

    bands: tuple[str, ...]
    size: int
    survey: str | None = None
    scale_range: tuple[float, float] | None = None

    @property
    def key(self) -> str:
        """Short name of these settings."""
        return fingerprint(json.dumps([FORMAT, asdict(self)]).encode())


@dataclass(frozen=True)
class Cache:
    """The stored images of an index.

    Attributes:
        path: the ``.npy`` of the pixels.
        label: [N], NaN if unknown.
        composite: [N] bool.
        dx, dy: [N] pixel scales [arcsec/px].
        checksum: [N] of the pixels.
    """

    path: Path
    label: NDArray[np.float32]
    composite: NDArray[np.bool_]
    dx: NDArray[np.float32]
    dy: NDArray[np.float32]
    checksum: NDArray[np.uint32]

    @classmethod
    def open(cls, catalog: Catalog, settings: CacheSettings, folder: Path | None = None) -> Cache:
        """The cache of an index; built first if there is none, or if the index or a file has changed.

        Arguments:
            catalog: the index.
            settings: what to make of its images.
            folder: where to keep it; ``.mlensing_cache`` beside the index without it.

        Raises:
            ImageError, CatalogError, ContractError: an image that cannot be used.
            ConfigError: a folder that cannot be written.
        """
        stem = (folder or catalog.folder / FOLDER) / f"{catalog.source.stem}-{settings.key}"
        made_from = {"data": data_fingerprint(catalog), "settings": asdict(settings)}
        if not _made_from(stem, made_from):
            _require_writable(stem.parent)
            with FileLock(stem.with_suffix(".lock")):  # one process builds it, the others of a training wait
                if not _made_from(stem, made_from):
                    _build(catalog, settings, stem)
                    write_json(stem.with_suffix(".json"), made_from)
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as rows:
            columns = {name: rows[name] for name in rows.files}
        return cls(path=stem.with_suffix(".npy"), label=catalog.labels, **columns)

    @cached_property
    def images(self) -> NDArray[np.float32]:
        """Pixels [N, C, S, S], mapped from disk."""
        # A plain view of the map: numpy's memmap class would cost more per batch than the copy itself.
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def __getstate__(self) -> dict[str, Any]:
        """Without the pixels, which a worker process maps for itself."""
        return {name: value for name, value in vars(self).items() if name != "images"}

    def read(self, rows: NDArray[np.int64] | Sequence[int], size: int | None = None) -> NDArray[np.float32]:
        """Images [n, C, size, size] of these rows, from the centre; all pixels stored without ``size``."""
        start = 0 if size is None else (self.images.shape[-1] - size) // 2
        inner = self.images[:, :, start : start + size, start : start + size] if size else self.images
        # Indexing copies these rows only; numpy.take would first copy all of a slice that is not contiguous.
        batch: NDArray[np.float32] = inner[np.asarray(rows)]
        return batch

    def __len__(self) -> int:
        return len(self.label)


def data_fingerprint(catalog: Catalog) -> str:
    """Fingerprint of an index and of the size and time of every file in it."""
    stats = [path.stat() for path in catalog.paths]
    files = np.array([(s.st_size, s.st_mtime_ns) for s in stats], dtype=np.int64)
    return fingerprint(catalog.table.to_csv(index=False).encode(), files.tobytes())


def _made_from(stem: Path, made_from: dict[str, Any]) -> bool:
    try:
        found = json.loads(stem.with_suffix(".json").read_text())
    except (OSError, ValueError):  # none yet, or cut short: build
        return False
    return bool(found == json.loads(json.dumps(made_from)))


def _build(catalog: Catalog, settings: CacheSettings, stem: Path) -> None:
    count, size = len(catalog), settings.size
    rows: dict[str, NDArray[Any]] = {
        "composite": np.zeros(count, dtype=bool),
        "dx": np.zeros(count, dtype=np.float32),
        "dy": np.zeros(count, dtype=np.float32),
        "checksum": np.zeros(count, dtype=np.uint32),
    }
    with replacing(stem.with_suffix(".npy")) as beside:
        shape = (count, len(settings.bands), size, size)
        images = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
        message = f"Caching {catalog.source}"
        for i in track(range(count), description=message, console=Console(stderr=True), transient=True):
            cutout = fitted(catalog, i, settings)
            images[i] = cutout.image
            rows["composite"][i] = cutout.representation == "composite"
            rows["dx"][i], rows["dy"][i] = scales_of(cutout, catalog.paths[i])
            rows["checksum"][i] = zlib.crc32(images[i].tobytes())
        images.flush()
    with replacing(stem.with_suffix(".npz")) as beside:
        np.savez(beside, allow_pickle=False, **rows)


def fitted(catalog: Catalog, index: int, settings: CacheSettings) -> Cutout:
    """One image of the index as the cache stores it."""
    cutout = read_row(catalog, index, survey=settings.survey)
    return frame(select_bands(cutout, settings.bands, where=catalog.paths[index]), settings.size, settings.scale_range)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot write the image cache here ({error.strerror})"
        raise ConfigError(
            folder, problem, "Prepare into a folder that can be written (mlensing prepare --output_dir)."
        ) from error
