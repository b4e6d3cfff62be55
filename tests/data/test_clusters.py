"""Cluster fields in tiles: they cover, they agree with the whole, and their coordinates are those of astropy's WCS."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from torch.utils.data import DataLoader

from mlensing.data.clusters import ClusterLensingDataset, tile_starts
from mlensing.errors import ConfigError, ImageError
from mlensing.physics import interior_mask, laplacian
from mlensing.simulate.clusters import simulate_clusters

SHAPE = (70, 110)


def turned_wcs(*, dx: float, dy: float, angle: float) -> WCS:
    """Pixels of dx by dy arcsec, east left, turned by an angle [deg]."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.1, 42.2], [31.0, 22.5]
    wcs.wcs.cd = np.array([[-dx * cos, dy * sin], [dx * sin, dy * cos]]) / 3600.0
    return wcs


def write_field(folder: Path, header: fits.Header, columns: str = "", values: str = "") -> Path:
    generator = np.random.default_rng(3)
    image = generator.normal(size=(2, *SHAPE)).astype(np.float32)
    image[0, 5, 7] = np.nan
    header = header.copy()
    header["BANDS"] = "g,r"
    psi, kappa = generator.normal(size=SHAPE), generator.normal(size=SHAPE).astype(np.float32)
    maps = [fits.ImageHDU(psi, name="PSI"), fits.ImageHDU(kappa, name="KAPPA")]
    fits.HDUList([fits.PrimaryHDU(image, header), *maps]).writeto(folder / "a.fits")
    (folder / "index.csv").write_text(f"filepath,label{columns}\na.fits,1{values}\n")
    return folder / "index.csv"


@pytest.mark.parametrize(("length", "tile", "overlap"), [(100, 40, 10), (97, 40, 0), (40, 40, 8), (201, 33, 32)])
def test_tiles_cover_an_axis_and_end_with_it(length: int, tile: int, overlap: int) -> None:
    starts = tile_starts(length, tile, overlap)
    covered = {pixel for start in starts for pixel in range(start, start + tile)}
    assert covered == set(range(length))
    assert all(later - earlier <= tile - overlap for earlier, later in itertools.pairwise(starts))


def test_tiles_are_pieces_of_the_field(tmp_path: Path) -> None:
    index = write_field(tmp_path, turned_wcs(dx=0.2, dy=0.2, angle=0).to_header())
    tiles = ClusterLensingDataset(index, maps=("psi", "kappa"), tile=32, overlap=6)
    whole = ClusterLensingDataset(index, maps=("psi", "kappa"), tile=None)[0]
    assert whole["image"].shape == (2, *SHAPE) and whole["psi"].dtype == torch.float64
    seen = torch.zeros(SHAPE, dtype=torch.int64)
    for sample in tiles:
        rows, columns = (slice(int(sample[k]), int(sample[k]) + 32) for k in ("row", "column"))
        seen[rows, columns] += 1
        for name in ("image", "psi", "kappa", "mask", "sky"):
            assert torch.equal(sample[name], whole[name][..., rows, columns])
    assert (seen > 0).all() and whole["mask"].sum() == 1 and whole["mask"][5, 7]
    batch = next(iter(DataLoader(tiles, batch_size=4)))
    assert batch["image"].shape == (4, 2, 32, 32) and batch["field"].tolist() == [0] * 4


@pytest.mark.parametrize(("dx", "dy", "angle"), [(0.2, 0.2, 0.0), (0.3, 0.2, 0.0), (0.3, 0.2, 35.0), (0.2, 0.2, 200.0)])
def test_coordinates_are_those_of_the_sky(tmp_path: Path, dx: float, dy: float, angle: float) -> None:
    wcs = turned_wcs(dx=dx, dy=dy, angle=angle)
    centre = SkyCoord(150.1 * u.deg, 42.2 * u.deg)
    index = write_field(tmp_path, wcs.to_header(), ",ra,dec", f",{centre.ra.deg},{centre.dec.deg}")
    sample = ClusterLensingDataset(index, tile=None)[0]
    assert sample["dx"].item() == pytest.approx(dx) and sample["dy"].item() == pytest.approx(dy)
    row, column = np.mgrid[: SHAPE[0] : 9, : SHAPE[1] : 9]
    east, north = centre.spherical_offsets_to(wcs.pixel_to_world(column, row))
    for ours, theirs in zip(sample["sky"].numpy(), (east, north), strict=True):
        np.testing.assert_allclose(ours[::9, ::9], theirs.to_value(u.arcsec), rtol=0, atol=2e-4)


def test_declination_first_is_understood(tmp_path: Path) -> None:
    usual, other = turned_wcs(dx=0.3, dy=0.2, angle=35.0), turned_wcs(dx=0.3, dy=0.2, angle=35.0)
    other.wcs.ctype, other.wcs.crval = ["DEC--TAN", "RA---TAN"], [42.2, 150.1]
    other.wcs.cd = usual.wcs.cd[::-1]
    found = []
    for name, wcs in (("a", usual), ("b", other)):
        (tmp_path / name).mkdir()
        index = write_field(tmp_path / name, wcs.to_header(), ",ra,dec", ",150.102,42.201")
        found.append(ClusterLensingDataset(index, tile=None)[0]["sky"])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)


def test_without_a_wcs_the_axes_of_the_image_serve(tmp_path: Path) -> None:
    index = write_field(tmp_path, fits.Header({"PIXSCALE": 0.25, "PIXSCALY": 0.5}))
    east, north = ClusterLensingDataset(index, tile=None)[0]["sky"]
    assert east[0, 1] - east[0, 0] == 0.25 and north[1, 0] - north[0, 0] == 0.5
    assert abs(east.mean()) < 1e-5 and abs(north.mean()) < 1e-5


def test_a_simulated_field_comes_back_whole(tmp_path: Path) -> None:
    options = {"num_fields": 1, "survey": "sdss", "size": 96, "seed": 1, "lens_share": 1.0}
    index = simulate_clusters(**options, output_dir=str(tmp_path), num_workers=1)
    data = ClusterLensingDataset(index, require_sigma_crit=True, maps=("kappa", "psi", "alpha"), tile=None)
    sample, scale = data[0], data[0]["dx"].item()
    bcg = torch.hypot(*sample["sky"]).flatten().argmin().item()
    row, column = divmod(bcg, 96)
    use = interior_mask(96, 96, dx=scale, dy=scale, x0=(column - 47.5) * scale, y0=(row - 47.5) * scale, core=6.0)
    residual = laplacian(sample["psi"], dx=scale, dy=scale) - 2 * sample["kappa"]
    assert residual[use].abs().median() < 1e-2  # 0.4 arcsec/px: O(h^2)
    kappa = sample["kappa"].double()
    theta_E = data.fields.catalog.column("theta_E")[0]
    assert kappa[torch.hypot(*sample["sky"]) < theta_E].mean().item() == pytest.approx(1.0, abs=0.03)


def test_mistakes_are_told(tmp_path: Path) -> None:
    index = write_field(tmp_path, fits.Header({"PIXSCALE": 0.25}))
    with pytest.raises(ConfigError, match="128 pixels do not fit an image of 70"):
        ClusterLensingDataset(index, tile=128)
    with pytest.raises(ConfigError, match="overlap"):
        ClusterLensingDataset(index, tile=32, overlap=32)
    with pytest.raises(ImageError, match="no map ALPHA"):
        ClusterLensingDataset(index, tile=32, overlap=8, maps=("alpha",))[0]
