"""A set of cluster fields on disk: whole, resumable, byte for byte the same, and as readers of FITS expect it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mlensing.catalog import Catalog
from mlensing.cli import main
from mlensing.data.cutout import read_cutout
from mlensing.errors import ConfigError
from mlensing.simulate.clusters import ClusterField, ClusterSimulator, simulate_clusters

OPTIONS = {"num_fields": 3, "survey": "sdss", "size": 96, "seed": 4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clusters")
    assert simulate_clusters(**OPTIONS, output_dir=str(folder), num_workers=1) == folder / "index.csv"
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_agree_with_index_and_simulator(finished: Path) -> None:
    catalog = Catalog.read(finished / "index.csv", require_sigma_crit=True)
    simulator = ClusterSimulator("sdss", size=96, seed=4)
    for number, path in enumerate(catalog.paths):
        field, row, cutout = simulator.field(number), catalog.table.iloc[number], read_cutout(path)
        with fits.open(path) as hdus:
            hdus.verify("exception")
            assert np.array_equal(hdus["PSI"].data, field.maps["psi"].numpy())
            assert hdus["PSI"].data.dtype.itemsize == 8
            assert np.array_equal(
                np.column_stack([hdus["IMAGES"].data[n] for n in hdus["IMAGES"].columns.names]), field.images
            )
        assert np.array_equal(cutout.image, field.image.numpy()) and cutout.bands == simulator.bands
        assert np.array_equal(cutout.maps["alpha"], field.maps["alpha"].numpy().astype(np.float32))
        assert cutout.scales == pytest.approx((row.pixel_scale_arcsec,) * 2) and cutout.survey == "sdss"
        assert row.label == field.truth["label"] and row.theta_E == pytest.approx(field.truth["theta_E"], rel=1e-6)


def test_the_sky_position_of_the_bcg_is_where_it_shines(finished: Path) -> None:
    catalog = Catalog.read(finished / "index.csv")
    for number, path in enumerate(catalog.paths):
        header = fits.getheader(path)
        column, row = WCS(header).celestial.wcs_world2pix([catalog.table.loc[number, ["ra", "dec"]].tolist()], 0)[0]
        x, y = ClusterSimulator("sdss", size=96, seed=4).field(number, maps=False).centre
        scale = header["PIXSCALE"]
        assert ((column - 47.5) * scale, (row - 47.5) * scale) == pytest.approx((x, y), abs=1e-4)


def test_interrupted_and_started_again_the_bytes_are_the_same(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ClusterSimulator.field

    def until_the_last(self: ClusterSimulator, number: int, **options: bool) -> ClusterField:
        if number == 2:
            raise KeyboardInterrupt
        return made(self, number, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ClusterSimulator, "field", until_the_last)
        simulate_clusters(**OPTIONS, output_dir=str(tmp_path), num_workers=1)
    assert not (tmp_path / "index.csv").exists()
    simulate_clusters(**OPTIONS, output_dir=str(tmp_path), num_workers=1)
    assert content(tmp_path) == content(finished)


def test_another_set_is_not_overwritten(finished: Path) -> None:
    with pytest.raises(ConfigError, match="it holds a set of other settings"):
        simulate_clusters(**(OPTIONS | {"seed": 5}), output_dir=str(finished), num_workers=1)


def test_mistakes_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, told in (
        ("--size 20", "no Einstein radius"),
        ("--survey moon", "no such survey"),
        ("--lens_share 2", "0 to 1"),
    ):
        assert (
            main(["simulate_clusters", "--num_fields", "1", "--output_dir", str(tmp_path / "x"), *options.split()]) == 2
        )
        said = capsys.readouterr().err
        assert told in said and len(said.splitlines()) == 1
