"""Images without labels, from wherever they are: a folder, or an index whose labels do not matter.

They are checked once. What can be used, and what cannot with the reason, is written below ``.mlensing_cache/`` beside
them, and read again for as long as no file changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from mlensing.catalog import Catalog
from mlensing.data.cache import FOLDER, data_fingerprint, require_writable
from mlensing.data.prepare import checked, listed, write_rejected
from mlensing.errors import CatalogError, ConfigError
from mlensing.provenance import write_json

Rejected = list[tuple[str, str]]


def read_pool(source: str | Path, *, survey: str | None = None) -> Catalog:
    """The usable images of a folder or an index; one that cannot be read is told of, and left out.

    Arguments:
        source: an index CSV (the column label may be missing), a folder with an ``index.csv``, or any folder of FITS,
            PNG, JPEG or .npy files, searched in depth.
        survey: preset of files whose header and row name none; brings a pixel scale.

    Raises:
        ConfigError: nothing there.
        CatalogError: an index that cannot be used, or not one usable image.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32))
        >>> len(read_pool(folder, survey="lsst"))
        1
    """
    given, unlisted = _given(Path(source))
    here = np.array([path.is_file() for path in given.paths])
    missing = [(given.paths[i].as_posix(), "there is no such file") for i in np.flatnonzero(~here)]
    catalog, home = given.select(here), given.folder / FOLDER
    usable = home / f"{given.source.stem}-pool.csv"
    rejects = usable.with_suffix(".rejected.csv")
    made_from = {"data": data_fingerprint(catalog), "survey": survey, "missing": len(missing)}
    require_writable(home)
    with FileLock(usable.with_suffix(".lock")):  # one process checks, the others of a training wait
        if not _same(usable.with_suffix(".json"), made_from):
            _check(catalog, survey, [*unlisted, *missing], usable, rejects)
            write_json(usable.with_suffix(".json"), made_from)
    _tell(rejects)
    return Catalog.read(usable)


def _given(source: Path) -> tuple[Catalog, Rejected]:
    """The images before anything is opened, and files of the folder that its index does not list."""
    if source.suffix.lower() == ".csv":
        return Catalog.read(source, to_score=True), []
    if not source.is_dir():
        raise ConfigError(source, "there is no such folder or index", "Give a folder of images, or an index CSV.")
    return listed(source, source / FOLDER, None)


def _check(catalog: Catalog, survey: str | None, rejected: Rejected, usable: Path, rejects: Path) -> None:
    found = checked(catalog, survey, None)
    write_rejected(rejects, [*rejected, *found.rejected])
    if found.good.empty:
        first = f"; the first: {found.rejected[0][1].rstrip('.')}" if found.rejected else ""
        raise CatalogError(catalog.source, f"not one image can be used{first}", f"The reasons are in {rejects}.")
    Catalog(found.good, catalog.folder, catalog.source).write(usable)


def _same(note: Path, made_from: Mapping[str, object]) -> bool:
    try:
        return bool(json.loads(note.read_text()) == made_from)
    except (OSError, ValueError):  # none yet, or cut short: check
        return False


@rank_zero_only
def _tell(rejects: Path) -> None:
    if rejects.is_file():
        count = len(rejects.read_text().splitlines()) - 1
        Console(stderr=True, soft_wrap=True).print(f"{count} files left out; the reasons are in {rejects}")
