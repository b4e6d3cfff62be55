"""Where on the sky the pixels of a field lie: the WCS of a header, read with suspicion, and its cards passed on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from astropy.wcs import WCS

from mlensing.data.header import ANGLES, linear_part

PROJECTIONS = ("TAN", "SIN", "ARC", "STG", "ZEA")
"""Zenithal projections, which need no more than a reference point and a linear part."""
CARDS = re.compile(
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d{1,2}|[AB]P?_(ORDER|\d_\d)"
    r"|WCSAXES|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|PIXSCAL[EY]"
)
LARGEST = {"CRPIX1": 1e7, "CRPIX2": 1e7, "CRVAL1": 720.0, "CRVAL2": 90.0}


def wcs_cards(header: Mapping[str, Any]) -> dict[str, str | int | float]:
    """The cards of the celestial WCS and pixel scale, for a map on the same pixels; nothing is interpreted.

    Example:
        >>> wcs_cards({"CTYPE1": "RA---TAN", "CRPIX1": 5.0, "OBJECT": "W3", "CRVAL1": math.nan})
        {'CTYPE1': 'RA---TAN', 'CRPIX1': 5.0}
    """
    found = {str(key): header[key] for key in header if CARDS.fullmatch(str(key))}
    return {key: value for key, value in found.items() if _writable(value)}


def _writable(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isprintable() and len(value) < 60
    return isinstance(value, int | float) and math.isfinite(value)


def celestial_wcs(header: Mapping[str, Any]) -> WCS | None:
    """Pixels to right ascension and declination [deg]; None where the header does not say it soundly.

    Only numbers that were looked at are handed to wcslib, one by one: it has crashed on headers (astropy issue
    20349). Distortions (SIP, PV) are not read, and a header that has some gives None rather than a wrong position.

    Example:
        >>> sky = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 10.0}
        >>> wcs = celestial_wcs({**sky, "CRVAL2": 0.0, "CDELT1": -5e-5, "CDELT2": 5e-5})
        >>> [round(float(value), 6) for value in wcs.pixel_to_world_values(0, 100)]
        [10.0, 0.005]
        >>> celestial_wcs({**sky, "CRVAL2": math.inf, "CDELT1": -5e-5, "CDELT2": 5e-5}) is None
        True
    """
    kinds = [str(header.get(key, "")).strip() for key in ("CTYPE1", "CTYPE2")]
    units = [ANGLES.get(str(header.get(key, "")).strip().lower()) for key in ("CUNIT1", "CUNIT2")]
    matrix = linear_part(header)
    reference: dict[str, Any] = {key: header.get(key) for key in LARGEST}
    sound = all(_within(value, LARGEST[key]) for key, value in reference.items())
    named = any(kinds == [f"RA---{name}", f"DEC--{name}"] for name in PROJECTIONS)
    if matrix is None or None in units or not named or not sound or _bent(header):
        return None
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = kinds
    wcs.wcs.crpix = [float(reference[key]) for key in ("CRPIX1", "CRPIX2")]
    wcs.wcs.crval = [float(reference[key]) for key in ("CRVAL1", "CRVAL2")]
    to_degree = [unit.to("deg") for unit in units if unit is not None]
    wcs.wcs.cd = [[value * factor for value in row] for row, factor in zip(matrix, to_degree, strict=True)]
    return wcs


def _within(value: Any, largest: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= largest


def _bent(header: Mapping[str, Any]) -> bool:
    """Whether it turns or distorts the sky by more than the linear part, or is of another equinox."""
    turned = any(header.get(key) not in (None, 0, 0.0) for key in ("CROTA1", "CROTA2"))
    pole, equinox = header.get("LONPOLE", 180.0), header.get("EQUINOX", 2000.0)
    distorted = any(re.fullmatch(r"PV[12]_\d+|[AB]_ORDER", str(key)) for key in header)
    return turned or distorted or pole != 180.0 or equinox != 2000.0
