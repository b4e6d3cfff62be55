"""Maps on the pixels of a field, written to FITS a few rows at a time: one image an HDU, each with the field's WCS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.provenance import replacing

Rows = Callable[[int, int], NDArray[np.float32]]
"""Rows ``start`` to ``stop`` of a map, [rows, x]."""
STRIP = 256
"""Rows written at once."""


def write_planes(
    path: str | Path, shape: tuple[int, int], planes: Mapping[str, Rows], cards: Mapping[str, str | int | float]
) -> None:
    """Write maps, whole or not at all.

    Arguments:
        path: the file.
        shape: rows and columns.
        planes: how to make the rows of each map, by EXTNAME; the first is the primary HDU.
        cards: header cards of every HDU.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "maps.fits"
        >>> write_planes(path, (3, 2), {"KAPPA": lambda a, b: np.ones((b - a, 2), np.float32)}, {"CRVAL1": 10.0})
        >>> fits.getval(path, "CRVAL1"), fits.getdata(path).sum()
        (10.0, np.float32(6.0))
    """
    with replacing(path) as beside:
        for name, rows in planes.items():
            header = fits.PrimaryHDU().header
            header["BITPIX"], header["NAXIS"] = -32, 2
            header.insert("NAXIS", ("NAXIS1", shape[1]), after=True)
            header.insert("NAXIS1", ("NAXIS2", shape[0]), after=True)
            header["EXTNAME"] = name
            header.update(cards)
            with fits.StreamingHDU(str(beside), header) as stream:
                for start in range(0, shape[0], STRIP):
                    stream.write(np.ascontiguousarray(rows(start, min(start + STRIP, shape[0])), np.float32))
