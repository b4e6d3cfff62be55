"""FITS bytes patched in place: what astropy would have written, and what our reader reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from mlensing.data.cutout import read_cutout
from mlensing.errors import ConfigError
from mlensing.simulate.fits_template import MAPS, Array, FitsTemplate

FLOATS = (0.0, 1.0, -1.0, 0.2, 0.262, -3.25, 1e-4, 9.99e-5, 1.5e-7, -2.5e-30, 1e6, 9999999.0, 12345678.0, -3e7)
FLOATS += (6.02e23, 1e300, 1e-300, 2079.123, float(np.float32(0.1)), 123456.789)
CARDS = {"PIXSCALE": 0.2, "BANDS": "g,r,i", "SURVEY": "lsst", "LABEL": 1}
CARDS |= {"Z_LENS": 0.5, "Z_SOURCE": 2.0, "SIGMA_CRIT": 2079.0}


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def template() -> FitsTemplate:
    return FitsTemplate(size=32, bands=3, cards=CARDS, maps=True)


@pytest.fixture(scope="module")
def maps() -> dict[str, Array]:
    return dict(zip(MAPS, (noise(32, 32), noise(32, 32) + 1, noise(2, 32, 32)), strict=True))


def opened(content: bytes) -> fits.HDUList:
    """As astropy reads it, having found nothing to complain about."""
    hdus = fits.open(io.BytesIO(content), checksum=True)
    hdus.verify("exception")
    return hdus


def one_card(value: str | int | float, key: str = "VALUE") -> object:
    template = FitsTemplate(size=32, bands=1, cards={key: value}, maps=False)
    return opened(template.fill(noise(1, 32, 32), {}, {key: value}))[0].header[key]


@pytest.mark.parametrize("key", ["VALUE", "SIGMA_CRIT"])
@pytest.mark.parametrize("value", FLOATS)
def test_floats_keep_seven_digits(key: str, value: float) -> None:
    read = one_card(value, key)
    assert isinstance(read, float)
    assert read == pytest.approx(value, rel=1e-6, abs=0)


@pytest.mark.parametrize("value", [0, 1, -1, 42, -(2**31), 2**62])
@pytest.mark.parametrize("key", ["VALUE", "A_LONG_NAME"])
def test_integers_are_exact(key: str, value: int) -> None:
    read = one_card(value, key)
    assert type(read) is int and read == value


@pytest.mark.parametrize("value", ["g,r,i", "", "a", "exactly8", "longer than eight", "O'Neill's sky", "x" * 60])
@pytest.mark.parametrize("key", ["VALUE", "A_LONG_NAME"])
def test_words_come_back(key: str, value: str) -> None:
    if key == "A_LONG_NAME":
        value = value[:50]
    assert one_card(value, key) == value


@pytest.mark.parametrize("value", ["x" * 75, "naïve", float("nan"), float("inf")])
def test_what_fits_cannot_hold_is_refused_by_name(value: str | float) -> None:
    template = FitsTemplate(size=32, bands=1, cards={"SURVEY": "lsst"}, maps=False)
    with pytest.raises(ConfigError, match="SURVEY"):
        template.fill(noise(1, 32, 32), {}, {"SURVEY": value})
    with pytest.raises(ConfigError, match="SURVEY"):
        FitsTemplate(size=32, bands=1, cards={"SURVEY": value}, maps=False)


def test_data_and_maps_come_back(template: FitsTemplate, maps: dict[str, Array]) -> None:
    image = noise(3, 32, 32)
    hdus = opened(template.fill(image, maps, CARDS))
    np.testing.assert_array_equal(np.moveaxis(hdus[0].data, -1, 0), image)
    assert [hdu.name for hdu in hdus[1:]] == list(MAPS)
    for name in MAPS:
        np.testing.assert_array_equal(hdus[name].data, maps[name])
    assert hdus["PSI"].header["BUNIT"] == "arcsec2" and hdus["ALPHA"].header["BUNIT"] == "arcsec"
    assert hdus[0].header["ZEROPNT"] == 30.0


def test_no_file_shows_the_one_before_it(template: FitsTemplate, maps: dict[str, Array]) -> None:
    first = template.fill(noise(3, 32, 32), maps, CARDS)
    template.fill(
        -noise(3, 32, 32), {k: 2 * v for k, v in maps.items()}, CARDS | {"SURVEY": "a longer name", "LABEL": 0}
    )
    assert template.fill(noise(3, 32, 32), maps, CARDS) == first


def test_it_is_what_astropy_would_have_written(template: FitsTemplate, maps: dict[str, Array]) -> None:
    cards = CARDS | {"PIXSCALE": 0.187, "SURVEY": "cfhtls", "LABEL": 0, "SIGMA_CRIT": 2468.5, "Z_LENS": 0.25}
    made = template.fill(noise(3, 32, 32), maps, cards)
    hdus = fits.open(io.BytesIO(template.fill(noise(3, 32, 32), maps, CARDS)))
    for key, value in cards.items():
        hdus[0].header[key] = value
    theirs = io.BytesIO()
    hdus.writeto(theirs)
    assert fits.FITSDiff(opened(made), fits.open(io.BytesIO(theirs.getvalue()))).identical
    assert len(made) == len(theirs.getvalue())


def test_our_reader_reads_it(template: FitsTemplate, maps: dict[str, Array], tmp_path: Path) -> None:
    image = noise(3, 32, 32)
    path = tmp_path / "sim.fits"
    path.write_bytes(template.fill(image, maps, CARDS))
    cutout = read_cutout(path)
    np.testing.assert_array_equal(cutout.image, image)
    assert cutout.bands == ("g", "r", "i") and cutout.representation == "linear"
    assert cutout.pixel_scale == 0.2 and cutout.survey == "lsst" and not cutout.mask.any()
    assert cutout.meta["z_lens"] == 0.5 and cutout.meta["z_source"] == 2.0
    assert cutout.meta["sigma_crit"] == 2079.0 and cutout.meta["label"] == 1
    for name in MAPS:
        np.testing.assert_array_equal(cutout.maps[name.lower()], maps[name])


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_any_number_of_bands(bands: int) -> None:
    template = FitsTemplate(size=48, bands=bands, cards={"BANDS": "ugriz"[:bands]}, maps=False)
    image = noise(bands, 48, 48)
    data = opened(template.fill(image, {}, {"BANDS": "ugriz"[:bands]}))[0].data
    np.testing.assert_array_equal(data.reshape(48, 48, bands), np.moveaxis(image, 0, -1))
