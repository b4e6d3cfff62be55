"""Fields of galaxy clusters: large images, in tiles, with where on the sky each pixel lies.

``sky`` holds the offsets of each pixel to the east and to the north of the cluster's centre [arcsec], in the tangent
plane, from the whole linear part of the WCS: unequal, turned and mirrored pixels come out right. Without a WCS they are
along the image's own axes. The centre is where the index says the brightest galaxy is (``ra``, ``dec`` [deg]), else the
middle of the image. Vectors of maps (alpha) stay along the image's axes, as ``dx`` and ``dy`` are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.wcs import WCS
from torch import Tensor
from torch.utils.data import Dataset

from mlensing.data.dataset import LensFITSDataset, Sample, scales_of
from mlensing.data.fits import opened
from mlensing.data.header import tangent_plane
from mlensing.errors import ConfigError, ImageError

NUMBERS = ("field", "row", "column")


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles that cover an axis; the last one is flush with the border.

    Raises:
        ConfigError: a tile that is longer than the axis, or an overlap that leaves no step.

    Example:
        >>> tile_starts(100, 40, 10)
        [0, 30, 60]
        >>> tile_starts(90, 40, 10)
        [0, 30, 50]
    """
    if not 0 <= overlap < tile:
        raise ConfigError("overlap", f"expected 0 to {tile - 1}, got {overlap}", "Take a tenth of the tile.")
    if tile > length:
        raise ConfigError("tile", f"{tile} pixels do not fit an image of {length}", "Make the tile smaller.")
    return sorted({*range(0, length - tile, tile - overlap), length - tile})


class ClusterLensingDataset(Dataset[Sample]):
    """Tiles of the fields of an index CSV, as dicts that default collation batches.

    A sample holds what one of ``LensFITSDataset`` does (``image`` [band, y, x], ``label``, ``dx``, ``dy``,
    ``sigma_crit``, maps), and ``mask`` [y, x] (True: no usable pixel), ``sky`` [2, y, x] (east, north [arcsec]),
    ``field`` (its row of the index), ``row`` and ``column`` (of the tile's first pixel). ``psi`` is float64 where the
    file holds it so: its Laplacian needs the digits. A tile has the label of its field.

    Arguments:
        csv_path, band_hdus, require_sigma_crit, survey: as for ``LensFITSDataset``.
        maps: any of kappa, psi, alpha, variance.
        tile: pixels a side; None takes each field whole.
        overlap: pixels that neighbours share.

    Raises:
        ConfigError: a tile that does not fit a field, or an unknown map.
        CatalogError, ImageError: as ``LensFITSDataset``.

    Example:
        >>> import tempfile
        >>> from astropy.io import fits
        >>> folder = Path(tempfile.mkdtemp())
        >>> fits.writeto(folder / "a.fits", np.ones((60, 90), np.float32), fits.Header({"PIXSCALE": 0.2}))
        >>> _ = (folder / "index.csv").write_text("filepath,label\\na.fits,1\\n")
        >>> tiles = ClusterLensingDataset(folder / "index.csv", tile=40, overlap=10)
        >>> len(tiles), tiles[5]["image"].shape, tiles[5]["column"].item()
        (6, torch.Size([1, 40, 40]), 50)
    """

    def __init__(
        self,
        csv_path: str | Path,
        band_hdus: Mapping[str, int | str] | None = None,
        require_sigma_crit: bool = False,
        maps: Sequence[str] = (),
        *,
        tile: int | None = 256,
        overlap: int = 32,
        survey: str | None = None,
    ) -> None:
        stored = tuple(name for name in maps if name not in ("mask", "psi", "psf"))
        self.fields = LensFITSDataset(csv_path, band_hdus, require_sigma_crit, maps=stored, survey=survey)
        if "psf" in maps:
            raise ConfigError("maps", "a PSF is no map of the field", "Read it with LensFITSDataset.")
        self.psi, self.tile, self.band_hdus = "psi" in maps, tile, band_hdus
        self.shapes = [self._shape(path) for path in self.fields.catalog.paths]
        self.places = [
            (number, row, column)
            for number, (height, width) in enumerate(self.shapes)
            for row in ([0] if tile is None else tile_starts(height, tile, overlap))
            for column in ([0] if tile is None else tile_starts(width, tile, overlap))
        ]
        self._held: tuple[int, Sample] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        number, row, column = self.places[index]
        whole = self.field(number)
        sample = dict(whole) if self.tile is None else dict(_cut(whole, row, column, self.tile))
        place = torch.tensor(self.places[index])
        return sample | dict(zip(NUMBERS, place, strict=True))

    def field(self, number: int) -> Sample:
        """A whole field, without ``row`` and ``column``; the last one asked for is kept."""
        if self._held is None or self._held[0] != number:
            self._held = number, self._read(number)
        return self._held[1]

    def _read(self, number: int) -> Sample:
        catalog = self.fields.catalog
        path, cutout = catalog.paths[number], self.fields.cutout(number)
        if cutout.image.shape[1:] != self.shapes[number]:
            problem = f"its header promised {self.shapes[number]} pixels, it holds {cutout.image.shape[1:]}"
            raise ImageError(path, problem, "Write the cube with the field BANDS.")
        dx, dy = scales_of(cutout, path)
        sigma = cutout.meta.get("sigma_crit", float("nan"))
        numbers = {"label": catalog.labels[number], "dx": dx, "dy": dy, "sigma_crit": sigma}
        sample = {name: torch.tensor(float(value)) for name, value in numbers.items()}
        sample |= {"image": torch.from_numpy(cutout.image), "mask": torch.from_numpy(cutout.mask)}
        sample |= {name: torch.from_numpy(plane) for name, plane in cutout.maps.items()}
        if self.psi:
            sample["psi"] = self._potential(path, cutout.image.shape[1:])
        plane = tangent_plane(_header(path, self.band_hdus))
        where = [float(catalog.column(name)[number]) for name in ("ra", "dec")]
        return sample | {"sky": sky_offsets(plane, where, self.shapes[number], dx=dx, dy=dy)}

    def _shape(self, path: Path) -> tuple[int, int]:
        """Rows and columns of a field, from its header alone."""
        header = _header(path, self.band_hdus)
        axes = [int(header[f"NAXIS{i}"]) for i in range(int(header["NAXIS"]), 0, -1)]
        if len(axes) == 3:
            axes = axes[:2] if axes[2] == len(self.fields.bands) else axes[1:]
        return axes[0], axes[1]

    def _potential(self, path: Path, shape: tuple[int, ...]) -> Tensor:
        with opened(path) as hdus:
            if "PSI" not in hdus:
                raise ImageError(path, "no map PSI", "Add an HDU with EXTNAME PSI.")
            psi = np.asarray(hdus["PSI"].data)
        if psi.shape != shape:
            raise ImageError(path, f"PSI has shape {psi.shape}, expected {shape} as the image", "Write it on its grid.")
        wide = np.float64 if psi.dtype.itemsize > 4 else np.float32
        return torch.from_numpy(np.ascontiguousarray(psi, dtype=wide))


def _header(path: Path, band_hdus: Mapping[str, int | str] | None) -> dict[str, Any]:
    """Header of the HDU that holds the pixels, or those of the first band."""
    with opened(path) as hdus:
        if band_hdus is not None:
            return dict(hdus[next(iter(band_hdus.values()))].header)
        for hdu in hdus:
            if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2:
                return dict(hdu.header)
    raise ImageError(path, "no HDU holds an image", "Write the pixels to the primary or an image HDU.")


def sky_offsets(plane: WCS | None, centre: Sequence[float], shape: tuple[int, int], *, dx: float, dy: float) -> Tensor:
    """Offsets of pixel centres to the east and the north of a point, in the tangent plane.

    Arguments:
        plane: the WCS; None takes the image's axes.
        centre: right ascension and declination [deg]; NaN takes the middle of the image.
        shape: rows and columns.
        dx, dy: size of a pixel [arcsec], where there is no WCS.

    Returns:
        [2, y, x] float32 [arcsec].

    Example:
        >>> sky_offsets(None, (np.nan, np.nan), (1, 3), dx=0.2, dy=0.2)[0].tolist()
        [[-0.20000000298023224, 0.0, 0.20000000298023224]]
    """
    matrix, middle = np.diag([dx, dy]), np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    if plane is not None:
        swap = plane.wcs.lng == 1  # declination comes first
        matrix = plane.pixel_scale_matrix[::-1] * 3600.0 if swap else plane.pixel_scale_matrix * 3600.0
        if np.isfinite(centre).all():
            middle = plane.wcs_world2pix([list(centre)[:: -1 if swap else 1]], 0)[0]
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    from_middle = np.stack([columns - middle[0], rows - middle[1]])
    return torch.from_numpy(np.einsum("ij,jyx->iyx", matrix, from_middle).astype(np.float32))


def _cut(whole: Sample, row: int, column: int, tile: int) -> Iterator[tuple[str, Tensor]]:
    """The tile of everything that has pixels."""
    for name, value in whole.items():
        yield name, value[..., row : row + tile, column : column + tile].clone() if value.dim() >= 2 else value
