"""A simulated set on disk: whole, resumable, and byte for byte the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from mlensing.catalog import Catalog
from mlensing.data.cutout import read_cutout
from mlensing.errors import ConfigError
from mlensing.physics import sigma_crit
from mlensing.simulate import BLOCK, Mixture, Simulator, simulate
from mlensing.simulate.fits_template import FitsTemplate
from mlensing.simulate.mixture import KINDS

COUNT = BLOCK + 36  # the second block is cut short
SKY = "surveys: {des: 1, cfhtls: 1}\nclasses: {lens: 2, ring: 1, companions: 1, field: 1}\nsize: 32\n"


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "sky.yaml"
    path.write_text(SKY)
    return str(path)


@pytest.fixture(scope="module")
def finished(sky: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    simulate(sky, num_samples=COUNT, output_dir=str(folder), seed=9, num_workers=1)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def again(sky: str, folder: Path, *, num_workers: int = 1) -> Path:
    return simulate(sky, num_samples=COUNT, output_dir=str(folder), seed=9, num_workers=num_workers)


def test_what_is_written(finished: Path) -> None:
    names = set(content(finished))
    images = {name for name in names if name.startswith("images/")}
    assert len(images) == COUNT and names - images == {"index.csv", "provenance.json"}
    assert not (finished / ".unfinished").exists()
    record = json.loads((finished / "provenance.json").read_text())
    assert record["seed"] == 9 and record["config"]["num_samples"] == COUNT
    assert record["config"]["mixture"]["classes"]["lens"] == 2


def test_the_index_tells_the_truth(finished: Path, sky: str) -> None:
    table = pd.read_csv(finished / "index.csv")
    block = Simulator(Mixture.load(sky), seed=9).block(1)
    rows = table.iloc[BLOCK:]
    assert table.filepath.tolist() == [f"images/000/sim_{index:07d}.fits" for index in range(COUNT)]
    assert (rows.label.to_numpy() == block["label"][:36].numpy()).all()
    assert rows.kind.tolist() == [KINDS[kind] for kind in block["kind"][:36]]
    for name in ("theta_E", "z_lens", "z_source", "arc_signal", "magnification"):
        np.testing.assert_allclose(rows[name], block[name][:36].numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        table.sigma_crit, sigma_crit(table.z_lens.to_numpy(), table.z_source.to_numpy()), rtol=1e-4
    )
    assert set(table.survey) == {"des", "cfhtls"} and set(table.bands) == {"g,r,i"}


def test_files_agree_with_index_and_simulator(finished: Path, sky: str) -> None:
    catalog = Catalog.read(finished / "index.csv", require_sigma_crit=True)
    block = Simulator(Mixture.load(sky), seed=9).block(0, maps=True)
    for index in range(0, BLOCK, 9):
        path, row = catalog.paths[index], catalog.table.iloc[index]
        with fits.open(path) as hdus:
            hdus.verify("exception")
        cutout = read_cutout(path)
        assert np.array_equal(cutout.image, block["image"][index].numpy())
        for name in ("kappa", "psi", "alpha"):
            assert np.array_equal(cutout.maps[name], block[name][index].numpy())
        assert cutout.pixel_scale == row.pixel_scale_arcsec and cutout.survey == row.survey
        assert cutout.meta["label"] == catalog.labels[index]
        assert cutout.meta["sigma_crit"] == pytest.approx(row.sigma_crit, rel=1e-6)


def test_a_finished_set_is_left_alone(finished: Path, sky: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert again(sky, finished) == finished / "index.csv"
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_two_workers_write_the_same_bytes(finished: Path, sky: str, tmp_path: Path) -> None:
    again(sky, tmp_path / "set", num_workers=2)
    assert content(tmp_path / "set") == content(finished)


@pytest.mark.parametrize("files", [5, BLOCK + 7])
def test_interrupted_and_started_again(
    finished: Path, sky: str, tmp_path: Path, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, left = FitsTemplate.fill, iter(range(files))

    def interrupted(*args: object) -> bytes:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return fill(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FitsTemplate, "fill", interrupted)
        again(sky, tmp_path)
    assert not (tmp_path / "index.csv").exists(), "no index of half a set"
    again(sky, tmp_path)
    assert content(tmp_path) == content(finished)


def test_killed_in_the_middle_of_a_file(finished: Path, sky: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(finished, folder)
    (folder / "index.csv").unlink()
    (folder / "images/000/.sim_0000070.4242.part.fits").write_bytes(b"half a file")
    (folder / "images/000/sim_0000070.fits").unlink()
    (folder / "images/000/sim_0000071.fits").unlink()
    again(sky, folder)
    assert content(folder) == content(finished)


def test_killed_between_the_index_and_the_end(finished: Path, sky: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(finished, folder)
    (folder / ".unfinished").mkdir()
    (folder / ".unfinished/000001.csv").write_text("filepath\n")
    again(sky, folder)
    assert content(folder) == content(finished)
    assert not (folder / ".unfinished").exists()


@pytest.mark.parametrize("other", [{"num_samples": COUNT + 1}, {"seed": 10}, {"maps": False}, {"config": "new"}])
def test_other_settings_in_the_same_folder_change_nothing(
    finished: Path, sky: str, tmp_path: Path, other: dict[str, object]
) -> None:
    changed = tmp_path / "other.yaml"
    changed.write_text(SKY.replace("ring: 1", "ring: 2"))
    before = content(finished)
    settings = {"config": sky, "num_samples": COUNT, "seed": 9} | other
    settings["config"] = str(changed) if other == {"config": "new"} else sky
    with pytest.raises(ConfigError, match=r"another --output_dir"):
        simulate(**settings, output_dir=str(finished), num_workers=1)
    assert content(finished) == before


def test_an_index_of_another_origin_is_not_touched(sky: str, tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("filepath,label\n")
    with pytest.raises(ConfigError, match="simulate did not write"):
        again(sky, tmp_path)
    assert content(tmp_path) == {"index.csv": b"filepath,label\n"}


def test_nothing_is_written_for_a_bad_request(sky: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_samples"):
        simulate(sky, num_samples=0, output_dir=str(tmp_path / "set"))
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        simulate("nowhere.yaml", num_samples=1, output_dir=str(tmp_path / "set"))
    assert not (tmp_path / "set").exists()


def test_one_sample_without_maps(sky: str, tmp_path: Path) -> None:
    simulate(sky, num_samples=1, output_dir=str(tmp_path), maps=False)
    with fits.open(tmp_path / "images/000/sim_0000000.fits") as hdus:
        assert len(hdus) == 1


def test_colour_composites_of_a_set_are_pictures(tmp_path: Path) -> None:
    """The share that the mixture says, in the survey's stretch, and FITS with maps for all others."""
    config = tmp_path / "colour.yaml"
    config.write_text(
        "{surveys: {legacy: 1}, classes: {lens: 1}, size: 32, representations: {linear: 1, composite: 3}}"
    )
    index = simulate(str(config), num_samples=64, output_dir=str(tmp_path / "set"), seed=3, num_workers=0)
    files = pd.read_csv(index)["filepath"]
    pictures = files[files.str.endswith(".png")]
    assert 0.6 < len(pictures) / len(files) < 0.9
    shown = read_cutout(index.parent / pictures.iloc[0], maps=())
    assert shown.representation == "composite" and shown.image.shape == (3, 32, 32)
    assert read_cutout(index.parent / files[files.str.endswith(".fits")].iloc[0], maps=("kappa",)).maps["kappa"].any()
    again = simulate(str(config), num_samples=64, output_dir=str(tmp_path / "again"), seed=3, num_workers=2)
    for name in files:
        assert (index.parent / name).read_bytes() == (again.parent / name).read_bytes()


def test_a_survey_of_one_band_names_its_planes_by_channel(tmp_path: Path) -> None:
    config = tmp_path / "one.yaml"
    config.write_text("{surveys: {hst: 1}, classes: {lens: 1}, size: 32}")
    index = simulate(str(config), num_samples=2, output_dir=str(tmp_path / "set"), num_workers=0)
    first = read_cutout(index.parent / pd.read_csv(index)["filepath"].iloc[0], maps=())
    assert first.bands == ("blue", "green", "red")
