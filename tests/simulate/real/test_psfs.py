"""Measured PSFs: against the profile that they were made of, on grids finer and coarser than their own."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from numpy.typing import NDArray
from torch import Tensor

from mlensing.cli import main
from mlensing.errors import ConfigError
from mlensing.simulate import Mixture, Simulator, simulate
from mlensing.simulate.camera.instrument import Instrument, Observation, draw_observation
from mlensing.simulate.draws import Draws
from mlensing.simulate.real.psfs import PsfChoice, RealObservation, RealPsfs
from mlensing.survey import Survey

DEVELOPMENT = Path(__file__).parents[3].parent / "shared/data/psfs"
CPU = torch.device("cpu")


def moffat(size: int, scale: float, *, fwhm: float = 0.7, x: float = 0.0, y: float = 0.0) -> NDArray[np.float64]:
    """Moffat profile of exponent 3.5, its centre x, y pixels from the middle."""
    row, column = np.mgrid[:size, :size] - (size - 1) / 2.0
    square = ((column - x) ** 2 + (row - y) ** 2) * scale**2
    core = fwhm**2 / (4 * (2 ** (1 / 3.5) - 1))
    return (1 + square / core) ** -3.5


def write(path: Path, *images: NDArray[np.float64], names: tuple[str, ...] = (), **header: object) -> Path:
    """One image an HDU."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hdus = [fits.PrimaryHDU(images[0]), *map(fits.ImageHDU, images[1:])]
    for hdu in hdus:
        hdu.header.update(header)
    for hdu, name in zip(hdus, names, strict=False):
        hdu.header["EXTNAME"] = name
    fits.HDUList(hdus).writeto(path)
    return path


def choice(stock: RealPsfs, survey: str = "lsst", bands: str = "gri") -> PsfChoice:
    return PsfChoice(stock, [list(bands)])


def kernels(stock: RealPsfs, count: int, *, size: int, spacing: float, bands: str = "gri") -> Tensor:
    """PSFs of the first ``count`` samples."""
    draws = Draws(1, torch.arange(count))
    table = Instrument.of([Survey.load("lsst")], [list(bands)], CPU)
    seen = draw_observation(draws, table[torch.zeros(count, dtype=torch.int64)])
    observed = choice(stock, bands=bands).observe(seen, draws, torch.zeros(count, dtype=torch.int64))
    return observed.psf(size=size, spacing=torch.full((count,), spacing))


def analytic(size: int, spacing: float) -> Tensor:
    """The Moffat profile as the simulator draws it."""
    table = Instrument.of([Survey.load("lsst")], [["g"]], CPU)
    table.fwhm = torch.tensor([[0.7]])
    zero = torch.zeros(1)
    pieces = {"background": zero[:, None], "slope": torch.zeros(1, 2), "resampling": zero}
    return Observation(table, torch.tensor([3.5]), zero, zero, **pieces).psf(size=size, spacing=torch.tensor([spacing]))


@pytest.mark.parametrize("scale", [0.05, 0.13, 0.2, 0.263], ids=["finer", "fine", "equal", "coarser"])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.4, -0.3)])
@pytest.mark.parametrize("spacing", [0.1, 0.2])
def test_a_profile_read_back_is_the_profile(
    scale: float, offset: tuple[float, float], spacing: float, tmp_path: Path
) -> None:
    image = moffat(2 * int(8.0 / scale) + 1, scale, x=offset[0], y=offset[1])
    stock = RealPsfs.load(write(tmp_path / "psf.fits", 1e4 * image + 50.0, PIXSCALE=scale))
    ours = kernels(stock, 1, size=64, spacing=spacing)[0, 0]
    expected = analytic(64, spacing)[0, 0]
    assert ours.sum().item() == pytest.approx(1.0, rel=1e-5)
    wing = expected > 1e-3 * expected.max()  # beyond, the file's background and extent decide
    tolerance = 0.01 if scale <= 0.2 else 0.02  # 2.7 pixels per FWHM do not hold all of a cusp
    assert (ours - expected)[wing].abs().max() < tolerance * expected.max()
    assert stock.fwhm.item() == pytest.approx(0.7, rel=0.03)


def test_a_psf_sharper_than_the_grid_keeps_its_flux_and_place(tmp_path: Path) -> None:
    stock = RealPsfs.load(write(tmp_path / "psf.fits", moffat(101, 0.0125, fwhm=0.1), PIXSCALE=0.0125))
    kernel = kernels(stock, 1, size=32, spacing=0.1)[0, 0]
    assert kernel.sum().item() == pytest.approx(1.0, rel=1e-5)
    assert kernel.argmax() == 0 and kernel.min() > -0.05 * kernel.max()
    torch.testing.assert_close(kernel[1, 0], kernel[-1, 0], atol=1e-3, rtol=0)


def test_orientation_is_kept(tmp_path: Path) -> None:
    image = moffat(81, 0.1)
    image[40, 46:52] += 0.2  # a spike towards +x
    kernel = kernels(RealPsfs.load(write(tmp_path / "psf.fits", image, PIXSCALE=0.1)), 4, size=64, spacing=0.1)
    assert (kernel[..., 0, 8] > 1.5 * kernel[..., 0, -8]).all() and (kernel[..., 0, 8] > 1.5 * kernel[..., 8, 0]).all()


def test_every_exposure_draws_its_own(tmp_path: Path) -> None:
    images = [moffat(61, 0.1, fwhm=width) for width in (0.4, 0.6, 0.8, 1.0)]
    stock = RealPsfs.load(write(tmp_path / "psfs.fits", *images, PIXSCALE=0.1))
    peak = kernels(stock, 60, size=64, spacing=0.1)[..., 0, 0]
    assert len(peak.flatten().round(decimals=5).unique()) == 4
    assert (peak[:, 0] != peak[:, 1]).any()


def test_cubes_folders_and_scales(tmp_path: Path) -> None:
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0}
    wcs |= {"CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600}
    write(tmp_path / "set/cube.fits", np.stack([moffat(41, 0.2)] * 3), **wcs)
    write(tmp_path / "set/none.fits", moffat(31, 0.3), np.full((9, 9), np.nan), np.zeros((9, 9)))
    stock = RealPsfs.load(tmp_path / "set", 0.3)
    assert stock.scale.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.3])
    assert stock.dropped == 2 and stock.pixels.shape == (4, 41, 41)
    assert stock.record()["used"] == 4


def test_bands_are_served_by_their_own(tmp_path: Path) -> None:
    write(tmp_path / "psf_r.fits", moffat(41, 0.2), PIXSCALE=0.2)
    write(tmp_path / "more.fits", moffat(41, 0.2), moffat(41, 0.2), names=("", "i"), PIXSCALE=0.2)
    write(tmp_path / "roman_F106.fits", moffat(41, 0.2), FILTER="F106", PIXSCALE=0.2)
    stock = RealPsfs.load(tmp_path)
    named = [sorted(names) for names in stock.names]
    assert [len(stock.serving(band, "gri")) for band in "gri"] == [2, 1, 1], "what is named for r or i is not for g"
    assert named[stock.serving("r", "gri")[0]] == ["PSF", "R"]
    assert len(stock.serving("F106", ["F106"])) == 1 and len(stock.serving("VIS", ["VIS"])) == 4
    assert len(stock.serving("g", ["g", "R", "I", "PSF", "MORE", "F106"])) == 4, "none is left, so all serve"


def test_a_survey_takes_the_width_of_its_psfs(tmp_path: Path) -> None:
    write(tmp_path / "psf.fits", moffat(101, 0.02, fwhm=0.15), PIXSCALE=0.02)
    view = Instrument.of([Survey.load("lsst")], [["g", "r", "i"]], CPU)
    sharp = choice(RealPsfs.load(tmp_path / "psf.fits")).instrument(view, torch.zeros(1, dtype=torch.int64))
    assert sharp.fwhm.tolist()[0] == pytest.approx([0.15] * 3, rel=0.05)
    assert sharp.fine.item() == 4 and view.fine.item() == 1


def test_rows_of_an_observation(tmp_path: Path) -> None:
    images = [moffat(41, 0.2, fwhm=width) for width in (0.6, 0.9, 1.2)]
    stock = RealPsfs.load(write(tmp_path / "psfs.fits", *images, PIXSCALE=0.2))
    count = torch.zeros(8, dtype=torch.int64)
    table = Instrument.of([Survey.load("lsst")], [["g"]], CPU)
    draws = Draws(3, torch.arange(8))
    seen = choice(stock, bands="g").observe(draw_observation(draws, table[count]), draws, count)
    rows = torch.tensor([2, 5])
    assert isinstance(seen[rows], RealObservation)
    whole, part = (o.psf(size=32, spacing=torch.full((n,), 0.2)) for o, n in ((seen, 8), (seen[rows], 2)))
    torch.testing.assert_close(part, whole[rows])


def test_samples_with_real_psfs(tmp_path: Path) -> None:
    stock = RealPsfs.load(write(tmp_path / "psf.fits", moffat(41, 0.2), moffat(31, 0.2, fwhm=1.1), PIXSCALE=0.2))
    mixture = Mixture(surveys={"lsst": 1, "des": 1}, classes={"lens": 1, "spiral": 1}, size=32)
    block = Simulator(mixture, seed=1, psfs=stock).block(0)
    again = Simulator(mixture, seed=1, psfs=pickle.loads(pickle.dumps(stock))).block(0)
    assert torch.isfinite(block["image"]).all()
    torch.testing.assert_close(block["image"], again["image"], rtol=0, atol=0)
    other = Simulator(mixture, seed=1).block(0)
    assert (block["image"] != other["image"]).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("header", "image", "told"),
    [
        ({}, moffat(31, 0.2), "no pixel scale in its header. Add PIXSCALE .arcsec/px., or give --psf_scale"),
        ({"PIXSCALE": -0.2}, moffat(31, 0.2), "its pixel scale is -0.2, expected one positive number"),
        ({"PIXSCALE": "wide"}, moffat(31, 0.2), "its pixel scale is wide"),
        ({"PIXSCALE": 0.2}, np.zeros((31, 31)), "no PSF in it"),
        ({"PIXSCALE": 0.2}, moffat(31, 0.2, x=15.0), "no PSF in it"),
    ],
    ids=["no_scale", "negative", "words", "dark", "cut"],
)
def test_what_cannot_be_used_is_told(
    header: dict[str, object], image: NDArray[np.float64], told: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "psf.fits", image, **header)
    with pytest.raises(ConfigError, match=told):
        RealPsfs.load(path)


def test_damaged_and_missing_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "psf.fits", moffat(61, 0.2), PIXSCALE=0.2)
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ConfigError, match="cannot be read"):
        RealPsfs.load(path)
    (tmp_path / "sky.yaml").write_text("{surveys: {des: 1}, classes: {lens: 1}, size: 32}")
    words = ["simulate", "--config", str(tmp_path / "sky.yaml"), "--num_samples", "1"]
    words += ["--output_dir", str(tmp_path / "out")]
    assert main([*words, "--psfs", str(tmp_path / "nowhere.fits")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main([*words, "--psf_scale", "0.1"]) == 2
    assert "there are no PSFs for it" in capsys.readouterr().err


def test_simulate_records_its_psfs(tmp_path: Path) -> None:
    path = write(tmp_path / "psf.fits", moffat(41, 0.2))
    (tmp_path / "sky.yaml").write_text("{surveys: {des: 1}, classes: {lens: 1}, size: 32}")
    index = simulate(
        str(tmp_path / "sky.yaml"), num_samples=4, output_dir=str(tmp_path / "a"), maps=False, num_workers=1,
        psfs=str(path), psf_scale=0.2,
    )  # fmt: skip
    record = json.loads(index.with_name("provenance.json").read_text())["config"]["psfs"]
    assert record["path"] == str(path) and record["used"] == 1 and record["dropped"] == 0


@pytest.mark.skipif(not DEVELOPMENT.is_dir(), reason="the development data are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "scale", "count", "fwhm"),
    [("hst_acs_f814w_empirical_56.fits", 0.0125, 56, 0.095), ("cosmos_acs_psf_100.fits", 0.03, 100, 0.115)],
)
def test_psfs_of_hubble(name: str, scale: float, count: int, fwhm: float) -> None:
    stock = RealPsfs.load(DEVELOPMENT / name, scale)
    assert len(stock) == count and math.isclose(stock.fwhm.median().item(), fwhm, rel_tol=0.1)
    mixture = Mixture(surveys={"hst": 1}, classes={"lens": 1}, size=32)
    assert torch.isfinite(Simulator(mixture, seed=1, psfs=stock).block(0)["image"]).all()
