"""PSF images from FITS files: cubes, one image per HDU, or a folder of them, with their scale and band."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from mlensing.errors import ConfigError

SMALLEST = 5  # pixels a side

Image = NDArray[np.float64]


class PsfImage(NamedTuple):
    """One PSF as its file has it.

    Attributes:
        pixels: [y, x].
        scale: arcsec/px.
        names: words of its header and of its file's name, in capitals, one of which may be that of a band.
    """

    pixels: Image
    scale: float
    names: frozenset[str]


def read_psfs(path: str | Path, scale: float | None = None) -> tuple[list[PsfImage], int]:
    """Every image of a FITS file, or of those in a folder.

    Arguments:
        scale: of files that state none [arcsec/px].

    Returns:
        the PSFs, and how many images are no PSF: not two-dimensional, tiny, with pixels that are not numbers, or dark.

    Raises:
        ConfigError: no such file, one that is damaged or states no pixel scale, or no PSF in any.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.name.endswith((".fits", ".fits.gz")))
    if not files:
        problem = "no FITS file in it" if path.is_dir() else "no such file or folder"
        raise ConfigError(path, problem, "Give a FITS cube of PSFs, a file with one an HDU, or a folder of such.")
    found = [psf for file in files for psf in _file(file, scale)]
    good = [psf for psf in found if psf is not None]
    if not good:
        remedy = f"Give images of {SMALLEST} pixels a side or more, with the star's peak inside."
        raise ConfigError(path, "no PSF in it", remedy)
    return good, len(found) - len(good)


def _file(file: Path, scale: float | None) -> list[PsfImage | None]:
    """The images of a file; None for what cannot be a PSF.

    Raises:
        ConfigError: a damaged file, or one without a pixel scale.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(file, memmap=False) as hdus:
                planes = [(hdu.header, np.asarray(hdu.data, np.float64)) for hdu in hdus if _is_image(hdu)]
    except (OSError, TypeError, ValueError, KeyError) as error:
        detail = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(file, f"cannot be read ({detail})", "Copy it again, or leave it out.") from error
    found: list[PsfImage | None] = []
    for header, data in planes:
        step, names = _scale(header, file, scale), _names(header, file)
        cube = data if data.ndim == 3 else data[None]
        found += [PsfImage(image, step, names) if _is_psf(image) else None for image in cube]
    return found


def _is_image(hdu: Any) -> bool:
    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return isinstance(hdu, kinds) and int(np.ndim(hdu.data)) in (2, 3)


def _is_psf(image: Image) -> bool:
    """Large enough, all numbers, and brightest away from its border."""
    if min(image.shape) < SMALLEST or not np.isfinite(image).all() or image.max() <= 0:
        return False
    row, column = np.unravel_index(int(image.argmax()), image.shape)
    return bool(0 < row < image.shape[0] - 1 and 0 < column < image.shape[1] - 1)


def _scale(header: Any, file: Path, scale: float | None) -> float:
    """Of ``PIXSCALE``, else the WCS, else as given [arcsec/px].

    Raises:
        ConfigError: none of these, one that is no scale, or pixels that are not square.
    """
    steps: list[Any] = [header["PIXSCALE"]] if "PIXSCALE" in header else _wcs_scales(header) or [scale]
    if steps[0] is None:
        raise ConfigError(file, "no pixel scale in its header", "Add PIXSCALE [arcsec/px], or give --psf_scale.")
    try:
        low, high = min(map(float, steps)), max(map(float, steps))
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 < low <= high < 1.01 * low:
        problem = f"its pixel scale is {', '.join(map(str, steps))}, expected one positive number of arcsec/px"
        raise ConfigError(file, problem, "Correct PIXSCALE, or --psf_scale.")
    return low


def _wcs_scales(header: Any) -> list[float]:
    """Along both axes [arcsec/px]; none without celestial coordinates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(header)
    return [3600 * float(step) for step in proj_plane_pixel_scales(wcs.celestial)] if wcs.has_celestial else []


def _names(header: Any, file: Path) -> frozenset[str]:
    words = [str(header[key]) for key in ("BAND", "FILTER", "EXTNAME") if key in header]
    words += re.split(r"[_\-.\s]+", file.name.split(".fits")[0])
    return frozenset(word.strip().upper() for word in words)
