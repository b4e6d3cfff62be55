"""One contiguous array of the images of an index, built once, so that no epoch opens a FITS file.

``.mlensing_cache/`` beside the index holds, for each choice of bands and size, the pixels ``.npy`` [N, C, S, S]
float32 that is mapped into memory, the numbers of each row ``.npz``, and a ``.json`` written last that says what the
cache was made from: when the index or a file changes, the cache is built again. If asked for, the maps of all rows are
``.maps.npy`` [N, 4, S, S], NaN where a file has none, beyond its border and at unusable pixels.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mlensing.catalog import Catalog
from mlensing.data.cutout import Cutout, select_bands
from mlensing.data.dataset import read_row, scales_of
from mlensing.data.framing import frame
from mlensing.errors import ConfigError, ImageError
from mlensing.provenance import fingerprint, replacing, write_json

MAPS = ("kappa", "psi", "alpha")
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
        maps: store the maps too, those named KAPPA being kappa (``dimensionless``) or surface density (``physical``).
    """

    bands: tuple[str, ...]
    size: int
    survey: str | None = None
    scale_range: tuple[float, float] | None = None
    maps: Literal["dimensionless", "physical"] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """These settings as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "maps" or value}

    @property
    def key(self) -> str:
        """Short name of these settings."""
        return fingerprint(json.dumps([FORMAT, self.record]).encode())


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
        made_from = {"data": data_fingerprint(catalog), "settings": settings.record}
        if not _made_from(stem, made_from):
            require_writable(stem.parent)
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

    @cached_property
    def maps(self) -> NDArray[np.float32]:
        """kappa, psi, alpha_x, alpha_y [N, 4, S, S], mapped from disk; only of a cache with maps."""
        return np.asarray(np.load(self.path.with_suffix(".maps.npy"), mmap_mode="r", allow_pickle=False))

    def __getstate__(self) -> dict[str, Any]:
        """Without the pixels, which a worker process maps for itself."""
        return {name: value for name, value in vars(self).items() if name not in ("images", "maps")}

    def read(self, rows: NDArray[np.int64] | Sequence[int], size: int | None = None) -> NDArray[np.float32]:
        """Images [n, C, size, size] of these rows, from the centre; all pixels stored without ``size``."""
        return _rows(self.images, rows, size)

    def read_maps(self, rows: NDArray[np.int64] | Sequence[int], size: int | None = None) -> dict[str, Any]:
        """``kappa``, ``psi`` [n, size, size] and ``alpha`` [n, 2, size, size] of these rows, cut as ``read`` cuts."""
        planes = _rows(self.maps, rows, size)
        return {"kappa": planes[:, 0], "psi": planes[:, 1], "alpha": planes[:, 2:]}

    def __len__(self) -> int:
        return len(self.label)


def _rows(
    stored: NDArray[np.float32], rows: NDArray[np.int64] | Sequence[int], size: int | None
) -> NDArray[np.float32]:
    start = 0 if size is None else (stored.shape[-1] - size) // 2
    inner = stored[:, :, start : start + size, start : start + size] if size else stored
    # Indexing copies these rows only; numpy.take would first copy all of a slice that is not contiguous.
    batch: NDArray[np.float32] = inner[np.asarray(rows)]
    return batch


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
    with replacing(stem.with_suffix(".npy")) as beside, _maps_file(stem, settings, count) as maps:
        shape = (count, len(settings.bands), size, size)
        images = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
        message = f"Caching {catalog.source}"
        for i in track(range(count), description=message, console=Console(stderr=True), transient=True):
            cutout = fitted(catalog, i, settings)
            images[i] = cutout.image
            if maps is not None:
                maps[i] = _planes(cutout, settings, catalog.paths[i])
            rows["composite"][i] = cutout.representation == "composite"
            rows["dx"][i], rows["dy"][i] = scales_of(cutout, catalog.paths[i])
            rows["checksum"][i] = zlib.crc32(images[i].tobytes())
        images.flush()
    with replacing(stem.with_suffix(".npz")) as beside:
        np.savez(beside, allow_pickle=False, **rows)


def fitted(catalog: Catalog, index: int, settings: CacheSettings) -> Cutout:
    """One image of the index as the cache stores it."""
    cutout = read_row(catalog, index, survey=settings.survey, maps=MAPS if settings.maps else ())
    return frame(select_bands(cutout, settings.bands, where=catalog.paths[index]), settings.size, settings.scale_range)


@contextmanager
def _maps_file(stem: Path, settings: CacheSettings, count: int) -> Iterator[NDArray[np.float32] | None]:
    """The array of maps [N, 4, S, S] to be filled, if maps are stored."""
    if settings.maps is None:
        yield None
        return
    with replacing(stem.with_suffix(".maps.npy")) as beside:
        shape = (count, 4, settings.size, settings.size)
        maps = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
        yield maps
        maps.flush()


def _planes(cutout: Cutout, settings: CacheSettings, path: Path) -> NDArray[np.float32]:
    """kappa, psi, alpha_x, alpha_y [4, S, S] of a framed cutout.

    Raises:
        ImageError: surface density, and no sigma_crit to divide it by.
    """
    planes = np.full((4, settings.size, settings.size), np.nan, dtype=np.float32)
    for name, where in (("kappa", 0), ("psi", 1), ("alpha", slice(2, 4))):
        if name in cutout.maps:
            planes[where] = cutout.maps[name]
    if settings.maps == "physical" and "kappa" in cutout.maps:
        if "sigma_crit" not in cutout.meta:
            problem = "KAPPA is said to be surface density, and there is no sigma_crit"
            raise ImageError(path, problem, "Add the column sigma_crit [Msun/pc^2], or SIGMA_CRIT to the header.")
        planes[0] /= cutout.meta["sigma_crit"]
    planes[:, cutout.mask] = np.nan  # beyond the border among them, where framing has put zeros
    return planes


def require_writable(folder: Path) -> None:
    """Make a folder for caches.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot write the image cache here ({error.strerror})"
        raise ConfigError(
            folder, problem, "Prepare into a folder that can be written (mlensing prepare --output_dir)."
        ) from error
