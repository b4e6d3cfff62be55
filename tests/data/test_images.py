from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlensing.contract import CHANNELS
from mlensing.data.cutout import read_cutout
from mlensing.errors import ImageError, SurveyError

RGB = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def test_png_channels_become_blue_green_red(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    cutout = read_cutout(tmp_path / "a.png")
    assert cutout.representation == "composite" and cutout.bands == CHANNELS
    assert np.array_equal(cutout.image, RGB[..., ::-1].transpose(2, 0, 1).astype(np.float32))
    assert cutout.pixel_scale is None and not cutout.mask.any()


def test_grey_is_repeated_and_alpha_dropped(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([RGB, np.full((40, 40), 7, np.uint8)])).save(tmp_path / "alpha.png")
    assert np.array_equal(read_cutout(tmp_path / "grey.png").image, np.stack([RGB[..., 0]] * 3))
    assert np.array_equal(read_cutout(tmp_path / "alpha.png").image, RGB[..., ::-1].transpose(2, 0, 1))


def test_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "a.JPG", "jpeg", quality=95)
    image = read_cutout(tmp_path / "a.JPG").image
    assert image.shape == (3, 30, 40) and np.abs(image[:, 0, 0] - [50, 100, 200]).max() < 5


@pytest.mark.parametrize(
    ("shape", "bands"),
    [
        ((40, 40), ("image",)),
        ((3, 40, 40), CHANNELS),
        ((40, 40, 3), CHANNELS),
        ((5, 40, 40), ("band1", "band2", "band3", "band4", "band5")),
        ((40, 40, 1), ("image",)),
    ],
)
def test_float_arrays_are_linear(tmp_path: Path, shape: tuple[int, ...], bands: tuple[str, ...]) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape, np.float64))
    cutout = read_cutout(tmp_path / "a.npy")
    assert cutout.representation == "linear" and cutout.bands == bands
    assert cutout.image.shape == (len(bands), 40, 40) and cutout.image.dtype == np.float32


def test_uint8_array_is_a_composite(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RGB)
    cutout = read_cutout(tmp_path / "a.npy")
    assert cutout.representation == "composite"
    assert np.array_equal(cutout.image, RGB[..., ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 40, 3)), r"shape \(3, 40, 3\) is not"),
        (np.ones((40, 40, 40)), "not .*clearly"),
        (np.ones(40), r"shape \(40,\)"),
        (np.ones((40, 40), complex), "dtype complex128.*float32"),
        (np.full((40, 40), "x"), "dtype <U1"),
        (np.full((40, 40), None), "not a plain array"),
        (np.full((40, 40), np.nan), "no finite pixel"),
        (np.ones((0, 40)), "no pixels"),
    ],
)
def test_unusable_arrays(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageError, match=rf"a\.npy: .*{message}"):
        read_cutout(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.npy"])
@pytest.mark.parametrize("keep", [0, 20, 200])
def test_truncated(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    np.save(path, RGB) if name.endswith("npy") else Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageError, match=r"a\..*: .*(damaged|empty)"):
        read_cutout(path)


def test_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ImageError, match=r"unknown kind of file '\.txt'.*Known endings"):
        read_cutout(tmp_path / "a.txt")
    with pytest.raises(ImageError, match="no such file"):
        read_cutout(tmp_path / "none.fits")
    Image.fromarray(np.ones((8, 8), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match=r"mode I.*expected 8 bits"):
        read_cutout(tmp_path / "deep.png")


def test_a_named_survey_brings_its_pixel_scale(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert read_cutout(tmp_path / "a.png", survey="des").pixel_scale == 0.263
    with pytest.raises(SurveyError, match="no such survey"):
        read_cutout(tmp_path / "a.png", survey="dess")
