"""A field: bands of one patch of sky on one grid, too large to hold, read from FITS a few rows at a time.

One file with all bands (the layouts of ``data.fits``), or a file a band. Pixels without data are NaN, inf, or zero in
all bands at once. Pixel positions count from 0, at the centre of the first pixel, as arrays do (FITS counts from 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from mlensing.data.cutout import Cutout, Image, require_file, with_survey
from mlensing.data.fits import told_damage
from mlensing.data.header import read_header
from mlensing.data.layout import Layout, find_layout, merged_header
from mlensing.data.sky_frame import celestial_wcs, wcs_cards
from mlensing.errors import ConfigError, ImageError
from mlensing.survey import survey_names

APART = 0.1
"""Bands whose corners lie further apart than this [px] are not on one grid."""


@dataclass(frozen=True)
class Field:
    """An open field.

    Attributes:
        where: its first file.
        shape: rows and columns.
        cards: of the WCS, for maps on the same pixels.
        wcs: pixels to sky, None where the header does not say.
        empty: the field as a cutout of no rows: bands, scales, survey.
    """

    where: Path
    shape: tuple[int, int]
    cards: Mapping[str, str | int | float]
    wcs: WCS | None
    empty: Cutout
    layouts: tuple[tuple[Path, Layout], ...]

    def rows(self, start: int, stop: int) -> Cutout:
        """Some whole rows; pixels without data are masked, and hold the median of their band there.

        Raises:
            ImageError: a file that is damaged.
        """
        image = np.concatenate([_read(path, layout, start, stop) for path, layout in self.layouts])
        bad = ~np.isfinite(image).all(0) | (image == 0).all(0)
        for band in image if bad.any() else ():
            band[bad] = np.median(band[~bad]) if not bad.all() else 0.0
        return replace(self.empty, image=image, mask=bad)

    def sky(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right ascension and declination [deg] of pixel positions, NaN where the header does not say."""
        if self.wcs is None or not len(x):
            return np.full(len(x), np.nan), np.full(len(y), np.nan)
        ra, dec = self.wcs.pixel_to_world_values(x, y)
        return np.asarray(ra, float), np.asarray(dec, float)


@contextmanager
def open_field(
    paths: Sequence[str | Path],
    *,
    bands: Sequence[str] | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
) -> Iterator[Field]:
    """Open a field for as long as the block lasts.

    Arguments:
        paths: one FITS file with all bands, or one a band.
        bands: names of the bands, in the order of the files, where their headers do not say; None reads BANDS,
            EXTNAME and FILTER.
        survey: preset it belongs to, if the header names none; its pixel scale serves a file that states none.
        pixel_scale: of files that state none [arcsec/px].

    Raises:
        ImageError: a file that is missing or damaged, or bands that are not on one grid.
        ConfigError: bands that are not named, or named twice.
        SurveyError: an unknown survey.
    """
    files = [Path(path) for path in paths]
    with ExitStack() as stack:
        layouts, headers = [], []
        for path in files:
            layout, header = _opened(path, stack)
            layouts.append((path, layout))
            headers.append(header)
        names = tuple(bands or [name for _, layout in layouts for name in layout.bands])
        _check_names(names, sum(len(layout.bands) for _, layout in layouts), files[0])
        with told_damage(files[0]):  # a card that cannot be parsed shows when it is asked for
            shape = _one_grid(layouts, headers)
            cards, wcs = wcs_cards(headers[0]), celestial_wcs(headers[0])
            empty = with_survey(_empty(names, shape[1], headers[0], files[0], pixel_scale), survey)
        yield Field(files[0], shape, cards, wcs, empty, tuple(layouts))


def _opened(path: Path, stack: ExitStack) -> tuple[Layout, Mapping[str, Any]]:
    """Where the bands of a file are, and its header; it is closed with the stack."""
    require_file(path)
    with told_damage(path):
        hdus = stack.enter_context(fits.open(path, memmap=False, lazy_load_hdus=True))
        layout = find_layout(hdus, path)
        return layout, merged_header(hdus, layout.hdus[0])


def _empty(
    names: tuple[str, ...], width: int, header: Mapping[str, Any], path: Path, pixel_scale: float | None
) -> Cutout:
    """The field as a cutout of no rows."""
    known = read_header(header, path)
    survey = (known.survey or "").lower()
    return Cutout(
        np.empty((len(names), 0, width), np.float32),
        names,
        "linear",
        np.empty((0, width), bool),
        known.pixel_scale or pixel_scale,
        known.pixel_scale_y,
        survey if survey in survey_names() else None,
    )


def _one_grid(layouts: Sequence[tuple[Path, Layout]], headers: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Rows and columns that all bands share."""
    path, first = layouts[0]
    shape, wcs = first.shapes[0], celestial_wcs(headers[0])
    for (other, layout), header in zip(layouts, headers, strict=True):
        unequal = next((found for found in layout.shapes if found != shape), None)
        if unequal is not None or len(shape) != 2:
            problem = f"its shape is {unequal or shape}, but the first band of {path} has {shape}"
            raise ImageError(other, problem, "Bring the bands to one grid.")
        if wcs is not None and (own := celestial_wcs(header)) is not None:
            corners = np.array([[0.0, 0.0], [shape[1] - 1.0, shape[0] - 1.0]])
            moved = np.abs(wcs.wcs_world2pix(own.wcs_pix2world(corners, 0), 0) - corners).max()
            if not moved < APART:
                problem = f"its WCS lies {moved:.1f} pixels off that of {path}"
                raise ImageError(other, problem, "Bring the bands to one grid.")
    return shape[0], shape[1]


def _check_names(names: Sequence[str], count: int, where: Path) -> None:
    if len(names) != count:
        raise ConfigError(
            "bands", f"{len(names)} names for {count} bands", "Name each band, in the order of the files."
        )
    if len(set(names)) < count:
        problem = f"the headers name the {count} bands {', '.join(names)}, not one name each"
        raise ConfigError(where, problem, "Name them with --bands, in the order of the files.")


def _read(path: Path, layout: Layout, start: int, stop: int) -> Image:
    """Rows [band, y, x] as float32: a contiguous read a plane."""
    with told_damage(path), np.errstate(over="ignore", invalid="ignore"):
        if layout.axis == 2:
            return np.moveaxis(np.array(layout.hdus[0].section[start:stop], np.float32), 2, 0).copy()
        planes = (
            [layout.hdus[0].section[k, start:stop] for k in range(len(layout.bands))]
            if layout.axis == 0
            else [hdu.section[start:stop] for hdu in layout.hdus]
        )
        return np.stack([np.array(plane, np.float32) for plane in planes])
