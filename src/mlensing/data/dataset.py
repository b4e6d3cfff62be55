"""The images of an index, one by one, with everything that is known of them.

What the index says wins over the file's header; where both speak, they must agree within 1 %.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mlensing.catalog import Catalog
from mlensing.data.cutout import Cutout, read_cutout, select_bands, with_survey
from mlensing.data.framing import frame
from mlensing.errors import CatalogError, ConfigError, ImageError
from mlensing.physics.cosmology import sigma_crit as critical_density

AGREEMENT = 0.01
"""Largest relative difference between index and header."""

COSMOLOGIES = 0.1
"""Cosmologies in use put sigma_crit within a few percent: a larger difference is a mistake of units."""

Sample = dict[str, Tensor]


class LensFITSDataset(Dataset[Sample]):
    """Images, labels and maps of an index CSV, as dicts that default collation batches.

    A sample holds ``image`` [band, y, x] float32, ``label`` (NaN if unknown), ``dx``, ``dy`` [arcsec/px],
    ``sigma_crit`` [Msun/pc^2] (NaN if unknown), and the maps asked for.

    Arguments:
        csv_path: the index; see ``mlensing.catalog``.
        band_hdus: the HDU of each band, in the order wanted, for files with one image an HDU.
        require_sigma_crit: refuse images without ``sigma_crit`` in index or header.
        maps: any of kappa, psi, alpha, mask, psf, variance.
        size: cut or pad to so many pixels a side; None leaves images as they are.
        survey: preset for files whose header and row name none.

    Raises:
        CatalogError: an index that cannot be used, or that contradicts a header.
        ImageError: a file that cannot be read, or lacks what was asked for.
        ContractError: an image without the bands of the first one.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "a.npy", np.ones((32, 32), np.float32))
        >>> _ = (folder / "index.csv").write_text("filepath,label,pixel_scale_arcsec\\na.npy,1,0.2\\n")
        >>> sample = LensFITSDataset(folder / "index.csv")[0]
        >>> sample["image"].shape, sample["label"], sample["dx"]
        (torch.Size([1, 32, 32]), tensor(1.), tensor(0.2000))
    """

    def __init__(
        self,
        csv_path: str | Path,
        band_hdus: Mapping[str, int | str] | None = None,
        require_sigma_crit: bool = False,
        maps: Sequence[str] = (),
        *,
        size: int | None = None,
        survey: str | None = None,
    ) -> None:
        self.catalog = Catalog.read(csv_path)
        self.band_hdus, self.require_sigma_crit = band_hdus, require_sigma_crit
        self.maps, self.size, self.survey = tuple(maps), size, survey
        unknown = sorted(set(self.maps) - {"mask", *MAP_NAMES})
        if unknown:
            known = ", ".join(("mask", *MAP_NAMES))
            raise ConfigError("maps", f"unknown map {unknown[0]!r}", f"Known: {known}.")
        self._warned = False
        self._bands: tuple[str, ...] | None = tuple(band_hdus) if band_hdus else None
        self._check_first()

    def __len__(self) -> int:
        return len(self.catalog)

    def __getitem__(self, index: int) -> Sample:
        cutout = self.cutout(index)
        x, y = scales_of(cutout, self.catalog.paths[index])
        sigma = cutout.meta.get("sigma_crit", float("nan"))
        numbers = {"label": self.catalog.labels[index], "dx": x, "dy": y, "sigma_crit": sigma}
        sample = {name: torch.tensor(float(value)) for name, value in numbers.items()}
        sample["image"] = torch.from_numpy(cutout.image)
        for name in self.maps:
            sample[name] = torch.from_numpy(cutout.mask if name == "mask" else cutout.maps[name])
        return sample

    def cutout(self, index: int) -> Cutout:
        """The image of a row, with its maps, its metadata settled between index and header."""
        wanted = tuple(name for name in self.maps if name != "mask")
        cutout = read_row(self.catalog, index, band_hdus=self.band_hdus, survey=self.survey, maps=wanted)
        path = self.catalog.paths[index]
        missing = [name for name in wanted if name not in cutout.maps]
        if missing:
            problem = f"no map {missing[0].upper()}"
            raise ImageError(path, problem, f"Add an HDU with EXTNAME {missing[0].upper()}.")
        self._check_sigma_crit(cutout, path)
        cutout = select_bands(cutout, self.bands, self.survey, where=path)
        return cutout if self.size is None else frame(cutout, self.size)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in order: of ``band_hdus``, else of the first image."""
        if self._bands is None:
            self._bands = read_row(self.catalog, 0).bands
        return self._bands

    def _check_first(self) -> None:
        """Look into the first file that the index leaves questions about, so that mistakes show at once."""
        needed = ["pixel_scale_arcsec", *(["sigma_crit"] if self.require_sigma_crit else [])]
        unknown = np.any([np.isnan(self.catalog.column(name)) for name in needed], axis=0)
        index = int(np.argmax(unknown))
        cutout = read_row(self.catalog, index, band_hdus=self.band_hdus, survey=self.survey)
        scales_of(cutout, self.catalog.paths[index])
        self._check_sigma_crit(cutout, self.catalog.paths[index])

    def _check_sigma_crit(self, cutout: Cutout, path: Path) -> None:
        sigma = cutout.meta.get("sigma_crit")
        if sigma is None and self.require_sigma_crit:
            problem = "no sigma_crit in the index or the header, and it is required"
            raise ImageError(path, problem, "Add the column sigma_crit [Msun/pc^2], or SIGMA_CRIT to the header.")
        lens, source = cutout.meta.get("z_lens"), cutout.meta.get("z_source")
        if self._warned or sigma is None or lens is None or source is None or not 0 < lens < source:
            return
        expected = float(critical_density(lens, source))
        if abs(sigma / expected - 1.0) > COSMOLOGIES:
            self._warned = True
            warnings.warn(
                f"{path}: sigma_crit {sigma:g} disagrees with the redshifts {lens:g} and {source:g}, which give "
                f"{expected:.0f} Msun/pc^2; it is used as it is (said once).",
                stacklevel=3,
            )


MAP_NAMES = ("kappa", "psi", "alpha", "psf", "variance")


def read_row(
    catalog: Catalog,
    index: int,
    *,
    band_hdus: Mapping[str, int | str] | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
    maps: Sequence[str] = (),
) -> Cutout:
    """The image of one row of an index, its metadata settled.

    Arguments:
        catalog, index: which row.
        band_hdus, maps: as ``read_cutout``.
        survey: preset for an image whose row and header name none.
        pixel_scale: for an image whose row and header state none [arcsec/px].

    Raises:
        CatalogError: row and header contradict each other.
        ImageError: an unreadable file.
    """
    path = catalog.paths[index]
    cutout = read_cutout(path, band_hdus=band_hdus, maps=maps)
    row = catalog.table.iloc[index]
    scale = _settled("pixel_scale_arcsec", row.get("pixel_scale_arcsec"), cutout.pixel_scale, path)
    scale_y = _settled("pixel_scale_y_arcsec", row.get("pixel_scale_y_arcsec"), cutout.pixel_scale_y, path)
    meta = dict(cutout.meta)
    for name in ("sigma_crit", "z_lens", "z_source"):
        value = _settled(name, row.get(name), meta.get(name), path)
        if value is not None:
            meta[name] = value
    named = None if pd.isna(row.get("survey")) else str(row["survey"]) or None
    settled = replace(
        cutout,
        pixel_scale=pixel_scale if scale is None else scale,
        pixel_scale_y=scale_y,
        meta=meta,
        survey=named or cutout.survey,
    )
    return with_survey(settled, named or survey)


def _settled(name: str, index: float | None, header: float | None, path: Path) -> float | None:
    """The index's value, else the header's."""
    if index is None or np.isnan(index):
        return header
    if header is not None and abs(index - header) > AGREEMENT * max(abs(index), abs(header)):
        problem = f"{name} is {index:g} in the index and {header:g} in the header"
        raise CatalogError(path, problem, "Correct one of them, or leave the index's empty.")
    return float(index)


def scales_of(cutout: Cutout, path: Path) -> tuple[float, float]:
    """Pixel scale along x and y [arcsec/px].

    Raises:
        ImageError: it is not known.
    """
    if cutout.scales is None:
        problem = "no pixel scale (pixel_scale_arcsec) in the index, nor PIXSCALE or a WCS in the header"
        raise ImageError(path, problem, "Fill pixel_scale_arcsec, add PIXSCALE [arcsec/px], or name the survey.")
    return cutout.scales
