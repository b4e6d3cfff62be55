"""The seed's promise: FITS files with their metadata become samples, or an error that says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from src.datasets.lens_fits_dataset import LensFITSDataset
from torch.utils.data import DataLoader

from mlensing.errors import CatalogError, ImageError, MLensingError

RNG = np.random.default_rng(0)
BANDS = RNG.normal(size=(3, 32, 32)).astype(np.float32)


def write(path: Path, *hdus: Any, **header: Any) -> None:
    primary = hdus[0] if hdus and isinstance(hdus[0], fits.PrimaryHDU) else fits.PrimaryHDU()
    for key, value in header.items():
        primary.header[f"HIERARCH {key}" if len(key) > 8 else key] = value
    rest = [hdu for hdu in hdus if hdu is not primary]
    fits.HDUList([primary, *rest]).writeto(path)


def index(folder: Path, *rows: str, header: str = "filepath,label,pixel_scale_arcsec") -> Path:
    path = folder / "index.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def cube(path: Path, array: np.ndarray | None = None, **header: Any) -> None:
    data = BANDS.transpose(1, 2, 0) if array is None else array
    write(path, fits.PrimaryHDU(np.ascontiguousarray(data)), **header)


@pytest.mark.parametrize("names", ["g,r,i", "gri", "g r i"])
@pytest.mark.parametrize("axes", [(1, 2, 0), (0, 1, 2)])
def test_cube_of_either_order(tmp_path: Path, names: str, axes: tuple[int, int, int]) -> None:
    cube(tmp_path / "a.fits", BANDS.transpose(axes), BANDS=names)
    dataset = LensFITSDataset(csv_path=index(tmp_path, "a.fits,1,0.2"))
    assert dataset.bands == ("g", "r", "i")
    assert np.array_equal(dataset[0]["image"].numpy(), BANDS)


def test_one_image_an_hdu_by_number_and_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", *[fits.ImageHDU(BANDS[k], name=n) for k, n in enumerate("gri")])
    csv = index(tmp_path, "a.fits,1,0.2")
    assert np.array_equal(LensFITSDataset(csv, {"g": 1, "r": 2, "i": 3})[0]["image"].numpy(), BANDS)
    assert np.array_equal(LensFITSDataset(csv, {"i": "I", "g": 1})[0]["image"].numpy(), BANDS[[2, 0]])
    unnamed = LensFITSDataset(csv)
    assert unnamed.bands == ("g", "r", "i") and np.array_equal(unnamed[0]["image"].numpy(), BANDS)


def test_the_seed_example_warns_once_of_its_sigma_crit(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", *[fits.ImageHDU(b) for b in BANDS])
    write(tmp_path / "b.fits", *[fits.ImageHDU(b) for b in BANDS])
    header = "filepath,label,pixel_scale_arcsec,sigma_crit,z_lens,z_source"
    rows = [f"{name}.fits,1,0.187,1.5e8,0.5,2.0" for name in "ab"]
    with pytest.warns(UserWarning, match=r"disagrees with the redshifts.*2079") as caught:
        dataset = LensFITSDataset(
            csv_path=index(tmp_path, *rows, header=header),
            band_hdus={"g": 1, "r": 2, "i": 3},
            require_sigma_crit=True,
        )
        samples = [dataset[0], dataset[1]]
    assert len(caught) == 1
    assert samples[0]["sigma_crit"].item() == 1.5e8
    assert samples[0]["dx"].item() == samples[0]["dy"].item() == pytest.approx(0.187)


def test_samples_batch_with_maps_and_mask(tmp_path: Path) -> None:
    image = BANDS[0].copy()
    image[3, 4] = np.nan
    planes = {"KAPPA": BANDS[1], "PSI": BANDS[2], "MASK": (BANDS[1] > 2).astype(np.uint8), "PSF": np.ones((9, 9), "f4")}
    hdus = [fits.ImageHDU(value, name=name) for name, value in planes.items()]
    alpha = [fits.ImageHDU(BANDS[k], name=name) for k, name in enumerate(("ALPHA_X", "ALPHA_Y"))]
    for name in "ab":
        write(tmp_path / f"{name}.fits", fits.PrimaryHDU(image), *hdus, *alpha, PIXSCALE=0.2, PIXSCALY=0.3, FILTER="r")
    dataset = LensFITSDataset(index(tmp_path, "a.fits,0,", "b.fits,,"), maps=("kappa", "psi", "alpha", "mask", "psf"))
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert dataset.bands == ("r",)
    assert batch["image"].shape == (2, 1, 32, 32) and batch["image"].isfinite().all()
    assert batch["alpha"].shape == (2, 2, 32, 32) and batch["psf"].shape == (2, 9, 9)
    assert bool(batch["mask"][0, 3, 4]) and batch["mask"][0].sum() == 1 + (BANDS[1] > 2).sum()
    assert batch["dy"].tolist() == pytest.approx([0.3, 0.3])
    assert batch["label"][0] == 0 and batch["label"][1].isnan() and batch["sigma_crit"].isnan().all()
    assert dataset.cutout(0).meta["bad_pixels"] == 1


def test_labels_soft_and_missing(tmp_path: Path) -> None:
    for name in "abcd":
        cube(tmp_path / f"{name}.fits", BANDS=("gri"))
    rows = ["a.fits,0.25,0.2", "b.fits,-1,0.2", "c.fits,NaN,0.2", "d.fits,1,0.2"]
    labels = [s["label"].item() for s in map(LensFITSDataset(index(tmp_path, *rows)).__getitem__, range(4))]
    assert labels[0] == 0.25 and np.isnan(labels[1:3]).all() and labels[3] == 1


def test_metadata_of_the_header_and_the_index(tmp_path: Path) -> None:
    cube(tmp_path / "a.fits", BANDS="gri", PIXSCALE=0.2, Z_LENS=0.5, Z_SOURCE=2.0, SIGMA_CRIT=2079.0)
    cutout = LensFITSDataset(index(tmp_path, "a.fits,1,0.2005"), require_sigma_crit=True).cutout(0)
    assert cutout.pixel_scale == 0.2005  # the index wins
    assert cutout.meta["sigma_crit"] == 2079.0 and cutout.meta["z_lens"] == 0.5


@pytest.mark.parametrize(
    ("column", "value", "header"),
    [("pixel_scale_arcsec", 0.21, "PIXSCALE"), ("sigma_crit", 2500, "SIGMA_CRIT"), ("z_l", 0.4, "Z_LENS")],
)
def test_index_and_header_must_agree(tmp_path: Path, column: str, value: float, header: str) -> None:
    known = {"PIXSCALE": 0.2, "SIGMA_CRIT": 2079.0, "Z_LENS": 0.5}
    cube(tmp_path / "a.fits", BANDS="gri", **known)
    csv = index(tmp_path, f"a.fits,1,{value}", header=f"filepath,label,{column}")
    with pytest.raises(CatalogError, match=r"a\.fits.* in the index and .* in the header.*Correct"):
        LensFITSDataset(csv)[0]


def test_pixel_scale_of_a_wcs(tmp_path: Path) -> None:
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -0.2 / 3600, "CD2_2": 0.25 / 3600}
    cube(tmp_path / "a.fits", BANDS="gri", CD1_2=0.0, CD2_1=0.0, **wcs)
    sample = LensFITSDataset(index(tmp_path, "a.fits,1,"))[0]
    assert [sample["dx"].item(), sample["dy"].item()] == pytest.approx([0.2, 0.25])


NAN = np.full((32, 32, 3), np.nan, np.float32)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"BANDS": "gri"}, r"no pixel scale.*Fill pixel_scale_arcsec"),
    ({"BANDS": "gri", "PIXSCALE": "wide"}, r"PIXSCALE is 'wide', not a number.*Correct PIXSCALE"),
    ({"BANDS": "gri", "PIXSCALE": -0.2}, r"PIXSCALE is -0.2, not positive"),
    ({"PIXSCALE": 0.2}, r"without the field BANDS.*Add BANDS"),
    ({"BANDS": "ugriz", "PIXSCALE": 0.2}, r"BANDS 'ugriz' does not fit"),
    ({"BANDS": "g,g,i", "PIXSCALE": 0.2}, r"names a band twice"),
    ({"BANDS": "gri", "PIXSCALE": 0.2, "array": NAN}, r"band 0 holds no finite pixel"),
    ({"BANDS": "gri", "PIXSCALE": 0.2, "array": np.ones((3, 32, 3), "f4")}, r"both as \[y, x, band\] and"),
    ({"BANDS": "gri", "PIXSCALE": 0.2, "array": np.ones((2, 3, 32, 32), "f4")}, r"4 axes"),
]


@pytest.mark.parametrize(("file", "message"), BAD)
def test_bad_files_are_named_with_field_and_remedy(tmp_path: Path, file: dict[str, Any], message: str) -> None:
    cube(tmp_path / "a.fits", **file)
    with pytest.raises(ImageError, match=rf"a\.fits: .*{message}"):
        LensFITSDataset(index(tmp_path, "a.fits,1,"))[0]


def test_sigma_crit_required_and_absent(tmp_path: Path) -> None:
    cube(tmp_path / "a.fits", BANDS="gri")
    with pytest.raises(ImageError, match=r"a\.fits: no sigma_crit.*Add the column sigma_crit"):
        LensFITSDataset(index(tmp_path, "a.fits,1,0.2"), require_sigma_crit=True)


def test_bands_and_maps_of_other_shapes(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", fits.ImageHDU(BANDS[0], name="g"), fits.ImageHDU(BANDS[1, :16], name="r"))
    with pytest.raises(ImageError, match=r"bands differ in shape: g \(32, 32\), r \(16, 32\)"):
        LensFITSDataset(index(tmp_path, "a.fits,1,0.2"))[0]
    write(tmp_path / "b.fits", fits.PrimaryHDU(BANDS[0]), fits.ImageHDU(BANDS[1, :16], name="KAPPA"))
    with pytest.raises(ImageError, match=r"KAPPA has shape \(16, 32\)"):
        LensFITSDataset(index(tmp_path, "b.fits,1,0.2"), maps=("kappa",))[0]
    with pytest.raises(ImageError, match=r"no map PSI.*EXTNAME PSI"):
        LensFITSDataset(index(tmp_path, "b.fits,1,0.2"), maps=("psi",))[0]


def test_band_hdus_that_are_not_there(tmp_path: Path) -> None:
    cube(tmp_path / "a.fits", BANDS="gri")
    with pytest.raises(ImageError, match=r"no HDU 5 for band g.*0 PRIMARY"):
        LensFITSDataset(index(tmp_path, "a.fits,1,0.2"), {"g": 5})


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("keep", [0, 100, 2880, 2900, 9000])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    cube(tmp_path / "whole.fits", BANDS="gri")
    (tmp_path / "a.fits").write_bytes((tmp_path / "whole.fits").read_bytes()[:keep])
    with pytest.raises(ImageError, match=r"a\.fits: .*(empty|damaged or truncated)"):
        LensFITSDataset(index(tmp_path, "a.fits,1,0.2"))[0]


def test_not_fits_at_all_and_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_text("hello, this is a letter" * 200)
    write(tmp_path / "b.fits", fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])]))
    for name, message in (("a", "damaged"), ("b", "no HDU holds an image")):
        with pytest.raises(MLensingError, match=rf"{name}\.fits: .*{message}"):
            LensFITSDataset(index(tmp_path, f"{name}.fits,1,0.2"))[0]
