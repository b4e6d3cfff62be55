"""Folders of images as hosts and as lists: one cube a band, what is left out and why, names and groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from mlensing.data.alike import read_hosts
from mlensing.data.gather import gather, read_item
from mlensing.errors import ConfigError, ImageError

CUBES = {band: np.random.default_rng(i).normal(size=(4, 40, 42)).astype(np.float32) for i, band in enumerate("Ygri")}


@pytest.fixture
def cubes(tmp_path: Path) -> Path:
    folder = tmp_path / "sky"
    folder.mkdir()
    for band, cube in CUBES.items():
        fits.writeto(folder / f"{band}.fits", cube)
    return folder


def picture(seed: int, size: int = 40) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)


def test_a_cube_a_band_is_as_many_images_as_planes(cubes: Path) -> None:
    items = gather([cubes], survey="des")
    assert [item.file for item in items] == [f"{cubes}[{k}]" for k in range(4)]
    cutout = read_item(items[2])
    assert cutout.bands == ("g", "r", "i", "Y") and cutout.pixel_scale == 0.263
    assert np.array_equal(cutout.image, np.stack([CUBES[band][2] for band in cutout.bands]))


def test_cubes_of_unlike_shape_are_refused(cubes: Path) -> None:
    fits.writeto(cubes / "z.fits", np.zeros((3, 40, 42), np.float32))
    with pytest.raises(ImageError, match=r"differ in shape.*z \(3, 40, 42\)"):
        gather([cubes])


@pytest.mark.parametrize("name", ["galaxy.fits", "deeper/g.fits"])
def test_other_folders_are_no_cubes(cubes: Path, name: str) -> None:
    """A name that is no band, or files in several folders: each file is an image, as ever."""
    (cubes / name).parent.mkdir(exist_ok=True)
    fits.writeto(cubes / name, CUBES["g"])
    assert len(gather([cubes])) == 5


def test_colour_cubes_named_by_their_header_are_no_cubes_of_a_band(tmp_path: Path) -> None:
    for band in "gr":
        fits.writeto(tmp_path / f"{band}.fits", np.ones((3, 40, 40), np.float32), fits.Header({"BANDS": "g,r,i"}))
    assert len(gather([tmp_path])) == 2


def test_a_damaged_cube_is_told_for_each_image(cubes: Path) -> None:
    whole = (cubes / "r.fits").read_bytes()
    (cubes / "r.fits").write_bytes(whole[:9000])
    with pytest.raises(ConfigError, match="not one image can be used"):
        read_hosts(str(cubes), size=32, survey="des")


def test_hosts_are_the_centre_of_each_image_as_it_is(cubes: Path) -> None:
    hosts = read_hosts(str(cubes), size=32, survey="des")
    assert hosts.bands == ("g", "r", "i") and hosts.survey == "des" and hosts.files[3] == "sky[3]"
    for k, image in enumerate(hosts.image):
        assert np.array_equal(image, np.stack([CUBES[band][k, 4:36, 5:37] for band in "gri"]))


def test_bands_and_scale_of_a_survey_that_nobody_preset(cubes: Path) -> None:
    hosts = read_hosts(str(cubes), size=32, bands=("r", "Y"), pixel_scale=0.4)
    assert hosts.bands == ("r", "Y") and hosts.survey == "" and set(hosts.pixel_scale) == {0.4}
    assert read_hosts(str(cubes), size=32, pixel_scale=0.4).bands == ("g", "r", "i", "Y")
    with pytest.raises(ConfigError, match="--pixel_scale"):
        read_hosts(str(cubes), size=32)


def test_what_cannot_be_a_host_is_left_out_with_the_reason(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "good.png")
    Image.fromarray(picture(2)).save(tmp_path / "good.jpg")
    Image.fromarray(picture(3, 20)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:300])
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "flat.png")
    hosts = read_hosts(str(tmp_path), size=32, survey="legacy")
    assert len(hosts) == 2 and hosts.representation == "composite"
    reasons = {Path(name).name: reason for name, reason in hosts.skipped.items()}
    assert set(reasons) == {"small.png", "broken.png", "flat.png"}
    assert (
        "20 x 20" in reasons["small.png"]
        and "truncated" in reasons["broken.png"]
        and "one value" in reasons["flat.png"]
    )


def test_arrays_take_the_names_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(1).normal(size=(3, 40, 40)).astype(np.float32))
    assert read_hosts(str(tmp_path), size=32, survey="legacy").bands == ("g", "r", "z")
    assert read_hosts(str(tmp_path), size=32, bands=("r", "i", "z"), pixel_scale=0.2).bands == ("r", "i", "z")


def test_an_index_gives_groups_and_its_lenses_are_left_out(tmp_path: Path) -> None:
    for k in range(3):
        Image.fromarray(picture(k)).save(tmp_path / f"{k}.png")
    rows = ["filepath,label,pixel_scale_arcsec,group", "0.png,0,0.3,one", "1.png,1,0.3,two", "2.png,,0.4,one"]
    (tmp_path / "index.csv").write_text("\n".join(rows))
    hosts = read_hosts(str(tmp_path / "index.csv"), size=32, survey="des")
    assert hosts.files == ("0.png", "2.png") and hosts.group == ("one", "one")
    assert hosts.pixel_scale.tolist() == [0.3, 0.4] and "labelled a lens" in hosts.skipped["1.png"]


def test_two_kinds_are_an_error(tmp_path: Path, cubes: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", CUBES["g"][:3])
    with pytest.raises(ConfigError, match="not both"):
        read_hosts(str(tmp_path), size=32, survey="des")
