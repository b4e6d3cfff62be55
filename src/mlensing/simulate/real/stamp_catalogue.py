"""Catalogues of galaxy stamps as GalSim keeps them: a table of galaxies, and FITS files of one image per HDU.

The full COSMOS catalogue holds 56,000 stamps in 56 files (Mandelbaum et al. 2012, MNRAS 420, 1518): the table is read
at once, a stamp when it is asked for, and of each file only where its HDUs begin.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint

COLUMNS = ("GAL_FILENAME", "GAL_HDU", "PIXEL_SCALE", "MAG", "NOISE_VARIANCE")
"""Columns by which a catalogue is known."""

LARGEST = 2048  # pixels a side; more is no stamp
FORMATS = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

Image = NDArray[np.float64]


class _Plane(NamedTuple):
    """Where the pixels of an HDU are, and what they mean."""

    offset: int
    shape: tuple[int, ...]
    format: str
    scale: float
    zero: float


@dataclass
class StampCatalogue:
    """Galaxies and where their stamps are.

    Attributes:
        files: image files that there are.
        file, hdu: [N] the stamp of each galaxy.
        missing: galaxies of the table whose image file is not there.
        digest: hash of the tables and of the sizes of the image files.

    Example:
        >>> StampCatalogue(files=[], file=np.zeros(0, int), hdu=np.zeros(0, int), missing=2, digest="").missing
        2
    """

    files: list[Path]
    file: NDArray[np.int64]
    hdu: NDArray[np.int64]
    missing: int
    digest: str
    _planes: dict[int, list[_Plane]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.hdu)

    @classmethod
    def load(cls, path: str | Path) -> StampCatalogue:
        """All catalogues of a folder, or that of one file.

        Raises:
            ConfigError: no folder, no catalogue in it, columns that lack, or no image file that a catalogue names.
        """
        tables = _tables(Path(path))
        names = [str(name).strip() for table in tables.values() for name in table["GAL_FILENAME"]]
        folders = [source.parent for source, table in tables.items() for _ in range(len(table))]
        paths = [folder / name for folder, name in zip(folders, names, strict=True)]
        hdu = np.concatenate([np.asarray(table["GAL_HDU"], np.int64) for table in tables.values()])
        files = [file for file in sorted(set(paths)) if file.is_file()]
        place = {file: number for number, file in enumerate(files)}
        file = np.array([place.get(path, -1) for path in paths], np.int64)
        there = (file >= 0) & (hdu >= 0)
        if not there.any():
            problem = (
                f"none of the image files that its catalogue names is there (such as {names[0] if names else '-'})"
            )
            raise ConfigError(path, problem, "Put the image files beside the catalogue.")
        parts = [source.read_bytes() for source in tables]
        digest = fingerprint(*parts, *(f"{f.name} {f.stat().st_size}".encode() for f in files))
        return cls(files, file[there], hdu[there], int((~there).sum()), digest)

    def stamp(self, number: int) -> Image | None:
        """Pixels [y, x] of galaxy ``number``; None where its HDU is missing, cut short or no image."""
        file, hdu = int(self.file[number]), int(self.hdu[number])
        if file not in self._planes:
            self._planes[file] = _planes(self.files[file])
        planes = self._planes[file]
        if hdu >= len(planes) or len(planes[hdu].shape) != 2 or max(planes[hdu].shape) > LARGEST:
            return None
        plane = planes[hdu]
        count = plane.shape[0] * plane.shape[1]
        pixels = np.fromfile(self.files[file], plane.format, count=count, offset=plane.offset)
        if len(pixels) < count:
            return None
        return pixels.reshape(plane.shape).astype(np.float64) * plane.scale + plane.zero


def _tables(path: Path) -> dict[Path, Any]:
    """File -> table of every catalogue of a folder.

    Raises:
        ConfigError: as ``StampCatalogue.load``.
    """
    if not path.exists():
        remedy = "Give a folder with a GalSim RealGalaxyCatalog, such as COSMOS_23.5_training_sample."
        raise ConfigError(path, "no such folder", remedy)
    found: dict[Path, Any] = {}
    for file in [path] if path.is_file() else sorted(path.glob("*.fits")):
        table = _table(file)
        if table is not None:
            found[file] = table
    if not found:
        remedy = f"Give a folder whose catalogue is a FITS table with the columns {', '.join(COLUMNS)}."
        raise ConfigError(path, "no catalogue of galaxy stamps in it", remedy)
    return found


def _table(file: Path) -> Any:
    """The first table of a file if it is a catalogue; None if it is something else.

    Raises:
        ConfigError: it names image files but lacks other columns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(file, memmap=False) as hdus:
                table = hdus[1].data if isinstance(hdus[1], fits.BinTableHDU) else None
                names = {name.upper() for name in table.names} if table is not None else set()
    except (OSError, IndexError, TypeError, ValueError):
        return None
    if "GAL_FILENAME" not in names:
        return None
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        problem = f"it names galaxy images but has no column {', '.join(lacking)}"
        raise ConfigError(file, problem, "Give a catalogue of GalSim's RealGalaxyCatalog form.")
    return table


def _planes(file: Path) -> list[_Plane]:
    """What each HDU of a file holds, up to the first whose header cannot be read."""
    planes: list[_Plane] = []
    with file.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            try:
                header = fits.Header.fromfile(stream)
                plane = _plane(header, stream.tell())
            except (EOFError, OSError, KeyError, ValueError):
                return planes
            planes.append(plane)
            size = int(np.prod(plane.shape)) * np.dtype(plane.format).itemsize if plane.shape else 0
            size = (size + int(header.get("PCOUNT", 0))) * int(header.get("GCOUNT", 1))
            stream.seek(-(-size // 2880) * 2880, 1)


def _plane(header: Any, offset: int) -> _Plane:
    shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    return _Plane(offset, shape, FORMATS[int(header["BITPIX"])], scale, zero)
