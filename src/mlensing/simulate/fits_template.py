"""Simulated samples as FITS files, twenty times faster than building each header anew.

astropy makes the header bytes once; for every file only the cards that differ are rewritten in place. The result is
what astropy would have written, and a test has astropy verify it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.errors import ConfigError
from mlensing.simulate.camera.instrument import ZERO_POINT

Array = NDArray[np.float32]
Card = str | int | float
MAPS = ("KAPPA", "PSI", "ALPHA")
_CARD, _BLOCK = 80, 2880


class FitsTemplate:
    """Bytes of a FITS file: HDU 0 a cube [y, x, band], then KAPPA, PSI [y, x] and ALPHA [2, y, x].

    Arguments:
        size: pixels a side.
        bands: number of bands.
        cards: header keys of HDU 0 that differ between files, with a value of the right type.
        maps: whether the map HDUs are there.
        zero_point: whether flux is at AB zero point 30, which the header then says.

    Example:
        >>> template = FitsTemplate(size=32, bands=3, cards={"PIXSCALE": 0.2}, maps=False)
        >>> content = template.fill(np.zeros((3, 32, 32), np.float32), {}, {"PIXSCALE": 0.262})
        >>> fits.open(io.BytesIO(content))[0].header["PIXSCALE"]
        0.262
    """

    def __init__(
        self, *, size: int, bands: int, cards: Mapping[str, Card], maps: bool, zero_point: bool = True
    ) -> None:
        self.maps = MAPS if maps else ()
        for key, value in cards.items():
            _card(key, value)  # astropy would continue a long one on a second card
        hdus = _hdus(size, bands, cards, self.maps)
        if not zero_point:
            del hdus[0].header["ZEROPNT"]
        buffer = io.BytesIO()
        hdus.writeto(buffer)
        content = buffer.getvalue()
        self._data = [hdu.fileinfo()["datLoc"] for hdu in fits.open(io.BytesIO(content))]
        self._content = bytearray(content)
        self._place = {key: _find(content, key) for key in cards}

    def fill(self, image: Array, maps: Mapping[str, Array], cards: Mapping[str, Card]) -> bytes:
        """The file of one sample.

        Arguments:
            image: [band, y, x].
            maps: arrays named as ``MAPS``, when the template has them.
            cards: a value for each variable key.
        """
        content = self._content
        for key, value in cards.items():
            place = self._place[key]
            content[place : place + _CARD] = _card(key, value)
        arrays = [np.moveaxis(image, 0, -1), *(maps[name] for name in self.maps)]
        for place, array in zip(self._data, arrays, strict=True):
            data = array.astype(">f4").tobytes()
            content[place : place + len(data)] = data
        return bytes(content)


def _hdus(size: int, bands: int, cards: Mapping[str, Card], maps: Sequence[str]) -> fits.HDUList:
    primary = fits.PrimaryHDU(np.zeros((size, size, bands), ">f4"))
    primary.header["ZEROPNT"] = (ZERO_POINT, "AB magnitude of a unit of flux")
    for key, value in cards.items():
        primary.header[f"HIERARCH {key}" if len(key) > 8 else key] = value
    shapes = {"KAPPA": (size, size), "PSI": (size, size), "ALPHA": (2, size, size)}
    units = {"KAPPA": "", "PSI": "arcsec2", "ALPHA": "arcsec"}
    extra = [fits.ImageHDU(np.zeros(shapes[name], ">f4"), name=name) for name in maps]
    for hdu in extra:
        hdu.header["BUNIT"] = units[hdu.name]
    return fits.HDUList([primary, *extra])


def _find(content: bytes, key: str) -> int:
    """Offset of a key's card in the first header."""
    start = f"HIERARCH {key} =" if len(key) > 8 else f"{key:<8}="
    for place in range(0, len(content), _CARD):
        if content[place : place + len(start)] == start.encode():
            return place
    raise KeyError(key)


def _card(key: str, value: Card) -> bytes:
    """One header card of 80 bytes (FITS standard 4.0, section 4.2; HIERARCH for names over eight letters).

    Raises:
        ConfigError: a value that no card holds: not finite, not ASCII, or too long.
    """
    if isinstance(value, str):
        text = "'{:<8}'".format(value.replace("'", "''"))
    elif isinstance(value, int):
        text = f"{value:>20}"
    else:
        text = f"{value:>20.7E}" if value and not 1e-4 <= abs(value) < 1e7 else f"{float(f'{value:.7g}'):>20}"
    card = f"HIERARCH {key} = {text.strip()}" if len(key) > 8 else f"{key:<8}= {text}"
    if len(card) > _CARD or not card.isascii() or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(
            key, f"{value!r} does not fit a FITS header card", "Give a finite number or a short ASCII word."
        )
    return card.ljust(_CARD).encode("ascii")
