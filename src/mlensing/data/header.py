"""What a FITS header says of its image, read with suspicion: headers come from strangers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import astropy.units as u
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from mlensing.errors import ImageError

NUMBERS = {"Z_LENS": "z_lens", "Z_SOURCE": "z_source", "SIGMA_CRIT": "sigma_crit", "LABEL": "label"}
ANGLES = {"": u.deg, "deg": u.deg, "degree": u.deg, "degrees": u.deg, "arcsec": u.arcsec, "arcmin": u.arcmin}


@dataclass(frozen=True)
class Known:
    """What a header says.

    Attributes:
        pixel_scale, pixel_scale_y: [arcsec/px], None if it says nothing.
        survey: word of SURVEY.
        meta: z_lens, z_source, sigma_crit [Msun/pc^2], label, as far as there.
    """

    pixel_scale: float | None
    pixel_scale_y: float | None
    survey: str | None
    meta: dict[str, Any] = field(default_factory=dict)


def read_header(header: Mapping[str, Any], path: Path) -> Known:
    """Read PIXSCALE (PIXSCALY), or the WCS without it, SURVEY, Z_LENS, Z_SOURCE, SIGMA_CRIT, LABEL.

    Raises:
        ImageError: a value that is not a number, or a pixel scale that is not positive.

    Example:
        >>> read_header({"PIXSCALE": 0.2, "Z_LENS": 0.5}, Path("a.fits")).meta
        {'z_lens': 0.5}
    """
    scale = _number(header, "PIXSCALE", path)
    scale_y = _number(header, "PIXSCALY", path)
    for name, value in (("PIXSCALE", scale), ("PIXSCALY", scale_y)):
        if value is not None and not value > 0:
            raise ImageError(path, f"{name} is {value}, not positive", f"Correct {name} [arcsec/px].")
    if scale is None:
        scale, scale_y = wcs_scales(header) or (None, None)
    meta = {name: _number(header, key, path) for key, name in NUMBERS.items()}
    survey = str(header.get("SURVEY", "") or "").strip() or None
    return Known(scale, scale_y, survey, {name: value for name, value in meta.items() if value is not None})


def _number(header: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = header.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ImageError(path, f"{key} is {value!r}, not a number", f"Correct {key} in the header, or remove it.")
    return number


def wcs_scales(header: Mapping[str, Any]) -> tuple[float, float] | None:
    """Pixel scale along x and y [arcsec/px] of a celestial WCS; None where there is no sound one.

    Example:
        >>> sky = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
        >>> wcs_scales({**sky, "CDELT1": -5e-5, "CDELT2": 5e-5})
        (0.18, 0.18)
    """
    wcs = tangent_plane(header)
    if wcs is None:
        return None
    x, y = (round(float(scale) * 3600.0, 9) for scale in proj_plane_pixel_scales(wcs))
    return (x, y) if x > 0 and y > 0 else None


def tangent_plane(header: Mapping[str, Any]) -> WCS | None:
    """The celestial WCS of a header as a tangent plane without distortion; None where there is no sound one.

    Only plain numbers are handed to wcslib, one by one: it has crashed on headers (astropy issue 20349). A reference
    point that is missing, or that cannot be, is (0, 0).

    Example:
        >>> sky = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-4, "CDELT2": 1e-4}
        >>> tangent_plane({**sky, "CRPIX1": 8.0, "CRPIX2": 8.0}).wcs.crpix.tolist()
        [8.0, 8.0]
    """
    kinds = [str(header.get(key, "")).strip() for key in ("CTYPE1", "CTYPE2")]
    units = [ANGLES.get(str(header.get(key, "")).strip().lower()) for key in ("CUNIT1", "CUNIT2")]
    matrix = linear_part(header)
    if None in units or matrix is None or {kind[:2] for kind in kinds} not in ({"RA", "DE"}, {"GL"}):
        return None
    to_degree = [unit.to(u.deg) for unit in units if unit is not None]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"] if kinds[0][:2] != "DE" else ["DEC--TAN", "RA---TAN"]
    wcs.wcs.cd = [[value * factor for value in row] for row, factor in zip(matrix, to_degree, strict=True)]
    pixel, value = ([header.get(f"{key}{i}", 0.0) for i in (1, 2)] for key in ("CRPIX", "CRVAL"))
    if _finite([*pixel, *value]):
        degrees = [number * factor for number, factor in zip(value, to_degree, strict=True)]
        latitude = degrees[kinds[0][:2] != "DE"]
        if max(map(abs, pixel)) < 1e7 and max(map(abs, degrees)) <= 720 and abs(latitude) <= 90:
            wcs.wcs.crpix, wcs.wcs.crval = pixel, degrees
    wcs.wcs.set()
    return wcs


def linear_part(header: Mapping[str, Any]) -> list[list[float]] | None:
    """The matrix from pixels to sky, of CD or of CDELT and PC; None unless whole, finite and invertible."""
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        matrix = [[header.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)]
    elif "CDELT1" in header and "CDELT2" in header:
        steps = [header["CDELT1"], header["CDELT2"]]
        turns = [[header.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
        if not _finite([*steps, *turns[0], *turns[1]]):
            return None
        matrix = [[step * value for value in row] for step, row in zip(steps, turns, strict=True)]
    else:
        return None
    if not _finite([*matrix[0], *matrix[1]]):
        return None
    determinant = matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0]
    return matrix if determinant != 0 else None


def _finite(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
