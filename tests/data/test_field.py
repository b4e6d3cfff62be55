"""Fields: every layout gives the same rows, positions are those of astropy's own WCS, and bad headers are told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mlensing.data.field import open_field
from mlensing.data.sky_frame import celestial_wcs
from mlensing.errors import ConfigError, ImageError

SKY: dict[str, Any] = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": -120.5, "CRPIX2": 40.0, "CRVAL1": 215.97, "CRVAL2": 52.64,
    "CD1_1": -5.1e-5, "CD1_2": 2e-6, "CD2_1": 1e-6, "CD2_2": 5.2e-5, "EQUINOX": 2000.0,
}  # fmt: skip
BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    image = np.random.default_rng(0).normal(size=(3, 50, 70)).astype(np.float32)
    image[1, 20, 30] = np.nan
    image[:, 45:, :10] = 0.0
    return image


def write(folder: Path, layout: str, pixels: np.ndarray) -> list[Path]:
    """The same field in one of its layouts."""
    header = fits.Header(SKY)
    one = folder / "field.fits"
    if layout == "files":
        paths = [folder / f"{band}.fits" for band in BANDS]
        for path, band, plane in zip(paths, BANDS, pixels, strict=True):
            fits.PrimaryHDU(plane, fits.Header({**SKY, "FILTER": f"{band}.MP9401"})).writeto(path)
        return paths
    if layout == "hdus":
        hdus = [fits.ImageHDU(plane, header, name=band) for band, plane in zip(BANDS, pixels, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(one)
    else:
        header["BANDS"] = "g,r,i"
        fits.PrimaryHDU(np.moveaxis(pixels, 0, 2) if layout == "last" else pixels, header).writeto(one)
    return [one]


@pytest.mark.parametrize("layout", ["files", "hdus", "first", "last"])
def test_every_layout_gives_the_same_rows(layout: str, pixels: np.ndarray, tmp_path: Path) -> None:
    with open_field(write(tmp_path, layout, pixels)) as field:
        assert field.shape == (50, 70) and field.empty.bands == BANDS
        strip = field.rows(15, 48)
        bad = np.zeros((33, 70), bool)
        bad[20 - 15, 30] = bad[45 - 15 :, :10] = True
        np.testing.assert_array_equal(strip.mask, bad)
        np.testing.assert_array_equal(strip.image[:, ~bad], pixels[:, 15:48][:, ~bad])
        assert np.isfinite(strip.image).all()
        assert strip.pixel_scale == pytest.approx(3600 * math.hypot(5.1e-5, 1e-6), rel=1e-6)


def test_positions_are_those_of_wcslib(pixels: np.ndarray, tmp_path: Path) -> None:
    x, y = np.array([0.0, 69.0, 12.5]), np.array([0.0, 3.0, 49.0])
    with open_field(write(tmp_path, "hdus", pixels)) as field:
        found = field.sky(x, y)
        np.testing.assert_allclose(found, WCS(fits.Header(SKY)).all_pix2world(x, y, 0), atol=1e-10)
        assert {key: field.cards[key] for key in SKY} == SKY


@pytest.mark.parametrize(
    "change",
    [
        {"CRVAL1": math.inf}, {"CRPIX2": "here"}, {"CTYPE1": "RA---TAN-SIP"}, {"PV1_1": 1.0}, {"CROTA2": 30.0},
        {"LONPOLE": 90.0}, {"CD1_1": 0.0, "CD1_2": 0.0}, {"EQUINOX": 1950.0}, {"CTYPE2": "DEC--TPV"},
    ],
)  # fmt: skip
def test_a_wcs_that_is_not_sound_gives_no_position(change: dict[str, Any]) -> None:
    assert celestial_wcs(SKY) is not None
    assert celestial_wcs({**SKY, **change}) is None


def test_bands_must_share_a_grid_and_have_names(pixels: np.ndarray, tmp_path: Path) -> None:
    paths = write(tmp_path, "files", pixels)
    fits.setval(paths[2], "CRPIX1", value=SKY["CRPIX1"] + 1)
    with pytest.raises(ImageError, match="pixels off that of"), open_field(paths):
        pass
    with pytest.raises(ImageError, match="Bring the bands to one grid"):
        fits.PrimaryHDU(pixels[0, 1:]).writeto(tmp_path / "short.fits")
        with open_field([paths[0], tmp_path / "short.fits"]):
            pass
    for path in paths[:2]:
        fits.delval(path, "FILTER")
    with pytest.raises(ConfigError, match="Name them with --bands"), open_field(paths[:2]):
        pass
    with open_field(paths[:2], bands=["g", "r"]) as field:
        assert field.empty.bands == ("g", "r")
    with pytest.raises(ConfigError, match="3 names for 2 bands"), open_field(paths[:2], bands=BANDS):
        pass


def test_damage_is_told(pixels: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path, "first", pixels)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="damaged or truncated"), open_field([path]) as field:
        field.rows(0, 50)
    with pytest.raises(ImageError, match="no such file"), open_field([tmp_path / "none.fits"]):
        pass
