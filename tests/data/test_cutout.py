import numpy as np
import pytest

from mlensing.contract import CHANNELS
from mlensing.data.cutout import Cutout, fill_bad_pixels, select_bands
from mlensing.data.framing import frame
from mlensing.data.header import wcs_scales
from mlensing.errors import ContractError, ImageError

RNG = np.random.default_rng(2)


def cutout(bands: tuple[str, ...], size: int = 8, **more: object) -> Cutout:
    image = np.stack([np.full((size, size), k, np.float32) for k in range(len(bands))])
    return Cutout(image, bands, more.pop("representation", "linear"), np.zeros((size, size), bool), **more)  # type: ignore[arg-type]


def chosen(given: Cutout, bands: tuple[str, ...] = CHANNELS, survey: str | None = None) -> list[str]:
    return [given.bands[int(k)] for k in select_bands(given, bands, survey).image[:, 0, 0]]


def test_channels_by_name_survey_and_custom() -> None:
    assert chosen(cutout(("i", "g", "r")), ("g", "r", "i")) == ["g", "r", "i"]
    assert chosen(cutout(("g", "r", "i", "z")), survey="legacy") == ["g", "r", "z"]
    assert chosen(cutout(("g", "r", "i", "z"), survey="LEGACY")) == ["g", "r", "z"]
    assert chosen(cutout(("g", "r", "i", "z"), survey="some other sky")) == ["g", "r", "i"]
    assert chosen(cutout(("z", "r", "g"))) == ["g", "r", "z"]
    assert chosen(cutout(("VIS",))) == ["VIS"] * 3
    assert chosen(cutout(CHANNELS, representation="composite"), ("g", "r", "i")) == list(CHANNELS)


def test_bands_that_cannot_be_had() -> None:
    with pytest.raises(ContractError, match=r"expected bands blue,green,red, got g,r.*--survey"):
        select_bands(cutout(("g", "r")), CHANNELS)
    with pytest.raises(ContractError, match="expected bands g,r,i, got VIS"):
        select_bands(cutout(("VIS",)), ("g", "r", "i"))


def test_bad_pixels_take_the_sky_level() -> None:
    image = RNG.normal(50, 2, (2, 64, 64)).astype(np.float32)
    image[0, 1, 2], image[1, 5, 5] = np.nan, np.inf
    filled, mask = fill_bad_pixels(image.copy(), where="a")
    assert mask.sum() == 2 and mask[1, 2] and mask[5, 5]
    assert abs(filled[0, 1, 2] - 50) < 0.5 and abs(filled[1, 5, 5] - 50) < 0.5
    assert np.array_equal(filled[:, ~mask], image[:, ~mask])
    with pytest.raises(ImageError, match="band 1 holds no finite pixel"):
        fill_bad_pixels(np.stack([np.ones((4, 4)), np.full((4, 4), np.nan)]).astype(np.float32), where="a")


def test_frame_cuts_at_the_centre_and_pads_with_sky() -> None:
    image = RNG.normal(10, 0.1, (1, 100, 101)).astype(np.float32)
    whole = Cutout(
        image, ("r",), "linear", np.zeros((100, 101), bool), 0.2, maps={"alpha": np.ones((2, 100, 101), "f4")}
    )
    framed = frame(whole, 64)
    assert np.array_equal(framed.image, image[:, 18:82, 18:82]) and framed.maps["alpha"].shape == (2, 64, 64)
    small = frame(framed, 80)
    assert np.array_equal(small.image[:, 8:72, 8:72], framed.image)
    assert small.mask.sum() == 80**2 - 64**2 and abs(small.image[0, 0, 0] - 10) < 0.05


@pytest.mark.parametrize(("scale", "end"), [(0.05, 0.1), (0.8, 0.4), (0.101, 0.101), (0.405, 0.405)])
def test_frame_resamples_to_the_nearest_end_and_keeps_flux(scale: float, end: float) -> None:
    y, x = np.mgrid[:96, :96] - 47.5
    image = np.exp(-(x**2 + y**2) / (2 * 8.0**2))[None].astype(np.float32)
    given = Cutout(image, ("r",), "linear", np.zeros((96, 96), bool), scale)
    framed = frame(given, round(96 * scale / end), (0.1, 0.4))
    assert framed.pixel_scale == pytest.approx(end, rel=0.02)
    assert framed.image.sum() == pytest.approx(image.sum(), rel=1e-3)
    centre = framed.image[0].sum(0) @ np.arange(framed.image.shape[2]) / framed.image.sum()
    assert centre == pytest.approx((framed.image.shape[2] - 1) / 2, abs=0.02)


def test_frame_of_a_composite_keeps_brightness_and_of_unknown_scale_pixels() -> None:
    given = Cutout(np.full((3, 64, 64), 90, np.float32), CHANNELS, "composite", np.zeros((64, 64), bool), 0.05)
    assert frame(given, 32, (0.1, 0.4)).image == pytest.approx(90)
    given.pixel_scale = None
    assert frame(given, 64, (0.1, 0.4)).image.shape == (3, 64, 64)


SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({**SKY, "CD1_1": -5e-5, "CD1_2": 0, "CD2_1": 0, "CD2_2": 1e-4}, (0.18, 0.36)),
        ({**SKY, "CDELT1": 0.2, "CDELT2": 0.2, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}, (0.2, 0.2)),
        (
            {**SKY, "CDELT1": 1e-4, "CDELT2": 1e-4, "PC1_1": 0.6, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.6},
            (0.36, 0.36),
        ),
        ({"CDELT1": 1e-4, "CDELT2": 1e-4}, None),
        ({"CTYPE1": "WAVE", "CTYPE2": "DEC--TAN", "CDELT1": 1e-4, "CDELT2": 1e-4}, None),
        ({**SKY, "CDELT1": 1e-4}, None),
        ({**SKY, "CDELT1": float("nan"), "CDELT2": 1e-4}, None),
        ({**SKY, "CD1_1": 0.0, "CD2_2": 0.0}, None),
        ({**SKY, "CD1_1": "x", "CD2_2": 1e-4}, None),
        ({**SKY, "CDELT1": 1e-4, "CDELT2": 1e-4, "CUNIT1": "furlong"}, None),
        (SKY, None),
    ],
)
def test_wcs_scale_of_sound_headers_only(header: dict[str, object], expected: tuple[float, float] | None) -> None:
    assert wcs_scales(header) == (expected and pytest.approx(expected))
