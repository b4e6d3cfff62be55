"""A folder with one FITS cube a band (``g.fits``, ``r.fits``, ...): plane k of all of them is cutout k."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyWarning

from mlensing.data.cutout import FITS_ENDINGS, Cutout, Image, fill_bad_pixels
from mlensing.data.fits import opened
from mlensing.data.header import Known, read_header
from mlensing.errors import ImageError

CUBE_BANDS = ("u", "g", "r", "i", "VIS", "F814W", "z", "y", "Y", "J", "H")
"""Names, before the ending, of the files that hold a band each; blue to red."""


def cube_count(paths: Sequence[Path]) -> int | None:
    """How many cutouts these files hold as cubes of one band each; None if they are something else.

    Raises:
        ImageError: cubes of different shapes.
    """
    names = [path.name.split(".")[0] for path in paths]
    one_folder = len({path.parent for path in paths}) == 1
    if not one_folder or not set(names) <= set(CUBE_BANDS) or not _all_fits(paths):
        return None
    shapes = [_shape(path) for path in paths]
    if any(len(shape) != 3 for shape in shapes):
        return None
    if len(set(shapes)) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        raise ImageError(paths[0].parent, f"cubes of one band each differ in shape: {told}", "Write them alike.")
    return shapes[0][0]


def read_plane(folder: Path, number: int) -> Cutout:
    """Cutout ``number``, from 0, of a folder of cubes; bands blue to red.

    Raises:
        ImageError: a damaged cube, or a plane without usable pixels.
    """
    bands, cubes, known = _cubes(folder)
    image, filled = fill_bad_pixels(np.stack([cube[number] for cube in cubes]), where=f"{folder}[{number}]")
    meta = {**known.meta, "bad_pixels": int(filled.sum())}
    return Cutout(image, bands, "linear", filled, known.pixel_scale, known.pixel_scale_y, known.survey, meta)


def _all_fits(paths: Sequence[Path]) -> bool:
    return all(path.name.lower().endswith(FITS_ENDINGS) for path in paths)


def _shape(path: Path) -> tuple[int, ...]:
    """Shape of the first HDU; empty where its header names bands, or where it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # a damaged file is told when it is read
            with opened(path) as hdus:
                header = hdus[0].header
                return () if "BANDS" in header else tuple(header[f"NAXIS{k}"] for k in range(header["NAXIS"], 0, -1))
    except ImageError:  # whoever reads it will say so
        return ()


@lru_cache(maxsize=1)
def _cubes(folder: Path) -> tuple[tuple[str, ...], list[Image], Known]:
    """Bands, their cubes [cutout, y, x], and what the first header says."""
    files = {path.name.split(".")[0]: path for path in sorted(folder.iterdir()) if _all_fits([path])}
    bands = tuple(band for band in CUBE_BANDS if band in files)
    cubes, headers = [], []
    for band in bands:
        with opened(files[band]) as hdus, np.errstate(over="ignore", invalid="ignore"):
            cubes.append(np.ascontiguousarray(hdus[0].data, dtype=np.float32))
            headers.append(read_header(hdus[0].header, files[band]))
    return bands, cubes, headers[0]
