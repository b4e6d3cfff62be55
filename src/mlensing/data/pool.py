"""Whatever images there are, of which no label is asked: folders and indices as one index of those that can be used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from rich.console import Console

from mlensing.catalog import Catalog
from mlensing.data.dataset import read_row
from mlensing.data.gather import Item, gather
from mlensing.data.prepare import checked, write_rejected
from mlensing.errors import CatalogError, ImageError
from mlensing.provenance import fingerprint

LOOKED_AT = 32
"""Images whose size is looked at."""
Rejected = list[tuple[str, str]]


def pooled(
    data: Sequence[str | Path],
    folder: Path,
    *,
    bands: Sequence[str],
    survey: str | None = None,
    pixel_scale: float | None = None,
) -> Path:
    """The images of folders and indices as one index; those that cannot be used are told, counted and left out.

    Every image is opened once; the same images and settings find the index written before. Two names of one file
    count once. Labels and splits of an index play no part.

    Arguments:
        data: folders (searched in depth) and index CSVs; a folder with one FITS cube a band is left out.
        folder: where to keep it: ``KEY/index.csv``, and ``rejected.csv`` with the reasons beside it.
        bands: that every image must have.
        survey: preset for files that name none; brings a pixel scale.
        pixel_scale: for files that state none [arcsec/px].

    Returns:
        path of the index.

    Raises:
        CatalogError: nothing of that name, not one image can be used, or an index that cannot be read.
        ImageError: a folder without images.
        SurveyError, ConfigError: an unknown survey, an impossible pixel scale.
    """
    for entry in data:
        if not Path(entry).exists():
            raise CatalogError(entry, "there is no such index or folder", "Correct the path.")
    catalog, rejected = _listed(gather(data, survey=survey, pixel_scale=pixel_scale))
    table = catalog.table.to_csv(index=False).encode()
    settings = repr((tuple(bands), survey, pixel_scale)).encode()
    index = folder / fingerprint(table, _state(catalog.paths), settings) / "index.csv"
    index.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(index.with_name(".lock")):  # one process looks at the images, the others of a training wait
        if not index.is_file():
            found = checked(catalog, survey=survey, pixel_scale=pixel_scale, bands=bands)
            rejected += found.rejected
            write_rejected(index.with_name("rejected.csv"), rejected)
            if found.good.empty:
                first = rejected[0][1].rstrip(".")
                problem = f"not one of {len(rejected)} images can be used; the first: {first}"
                raise CatalogError(", ".join(map(str, data)), problem, "See the reason; name --survey or --bands.")
            Catalog(found.good, index.parent, index).write(index)
    return index


def tell_rejected(index: Path) -> None:
    """Say on standard error how many images ``pooled`` left out, and where the reasons are."""
    reasons = index.with_name("rejected.csv")
    if reasons.is_file():
        count = len(pd.read_csv(reasons))
        told = f"left out {count} images that cannot be used; the reasons are in {reasons}"
        Console(stderr=True, soft_wrap=True).print(told, highlight=False)


def margin_within(index: Path, size: int, *, most: int) -> int:
    """Pixels that the images have to spare on each side of ``size``, at most ``most``: the median of some of them."""
    catalog = Catalog.read(index)
    rows = np.unique(np.linspace(0, len(catalog) - 1, LOOKED_AT).astype(int))
    spare = [(min(read_row(catalog, int(row)).image.shape[1:]) - size) // 2 for row in rows]
    return int(np.clip(np.median(spare), 0, most))


def _listed(items: Sequence[Item]) -> tuple[Catalog, Rejected]:
    """Each file once, as an unchecked catalog without labels, and what no catalog can name."""
    files = {os.path.realpath(item.path): item for item in items if item.plane is None}
    reason = "a plane of a cube; write it as a file of its own"
    rejected = [(item.file, reason) for item in items if item.plane is not None]
    if not files:
        problem = "no images but planes of cubes" if items else "no images in it"
        raise ImageError(items[0].path if items else "data", problem, "Give FITS, PNG, JPEG or .npy files.")
    rows = [
        {
            "filepath": path,
            "label": np.nan,
            "pixel_scale_arcsec": item.pixel_scale if item.from_index else np.nan,
            "pixel_scale_y_arcsec": item.pixel_scale_y,
            "survey": item.survey,
            "group": item.group,
        }
        for path, item in files.items()
    ]
    table = pd.DataFrame(rows).astype({"pixel_scale_y_arcsec": "float64"}).dropna(axis=1, how="all")
    return Catalog.of(table.assign(label=np.nan), Path(), check_files=False), rejected


def _state(paths: Sequence[Path]) -> bytes:
    """Size and time of every file; -1 where there is none."""
    found = []
    for path in paths:
        known = path.stat() if path.is_file() else None
        found.append((known.st_size, known.st_mtime_ns) if known else (-1, -1))
    return np.array(found, dtype=np.int64).tobytes()
