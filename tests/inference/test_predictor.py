"""Scores for files: every input gets its row, whatever state it is in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from PIL import Image

from mlensing.contract import Calibration, ModelContract
from mlensing.errors import CatalogError, ConfigError, ContractError, ImageError, SurveyError
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.member import Member
from mlensing.inference.predictor import COLUMNS, Predictor


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor.load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def mixed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FITS, PNG, JPEG and .npy, good and bad, in a tree."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "deep").mkdir()
    generator = np.random.default_rng(0)
    for name in ("b.fits", "a.fits", "deep/c.fits"):
        shutil.copy(data_dir / "test" / "0.fits", folder / name)
    colour = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(colour).save(folder / "picture.png")
    Image.fromarray(colour).save(folder / "picture.jpg")
    np.save(folder / "array.npy", generator.normal(size=(3, 32, 32)).astype(np.float32))
    (folder / "empty.fits").write_bytes(b"")
    (folder / "cut.fits").write_bytes((folder / "a.fits").read_bytes()[:3000])
    (folder / "text.png").write_text("not a picture")
    fits.PrimaryHDU(np.full((3, 32, 32), np.nan, np.float32)).writeto(folder / "nan.fits")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".cache").mkdir()
    np.save(folder / ".cache/pixels.npy", np.zeros((9, 3, 32, 32), np.float32))
    (folder / "deep/._c.fits").write_text("what a system left")
    return folder


def test_every_file_gets_a_row_in_order(predictor: Predictor, mixed: Path) -> None:
    table = predictor.predict([mixed], survey="cfhtls", batch_size=4)
    assert tuple(table.columns) == COLUMNS
    names = [str(Path(file).relative_to(mixed)) for file in table["file"]]
    bad = ["cut.fits", "empty.fits", "nan.fits", "text.png"]
    good = ["a.fits", "array.npy", "b.fits", "deep/c.fits", "picture.jpg", "picture.png"]
    assert names == sorted(good + bad)
    ok = table["status"] == "ok"
    assert sorted(np.array(names)[ok]) == good
    assert table.loc[ok, ["probability", "logit", "uncertainty"]].notna().all(axis=None)
    assert table.loc[~ok, ["probability", "logit", "uncertainty"]].isna().all(axis=None)
    assert all(name in status for name, status in zip(table["file"][~ok], table["status"][~ok], strict=True))


def test_order_and_duplicates_are_the_callers(predictor: Predictor, mixed: Path) -> None:
    given = [mixed / "b.fits", mixed / "missing.fits", mixed / "deep", mixed / "b.fits", mixed / "notes.txt"]
    table = predictor.predict(given, batch_size=2)
    files = [given[0], given[1], mixed / "deep" / "c.fits", given[3], given[4]]
    assert list(table["file"]) == [str(path) for path in files]
    assert table["logit"][0] == pytest.approx(table["logit"][3], rel=1e-5)
    assert "no such file" in table["status"][1] and "unknown kind" in table["status"][4]


def test_an_index_gives_names_scales_and_surveys(predictor: Predictor, data_dir: Path) -> None:
    table = predictor.predict([data_dir / "test" / "index.csv"])
    assert list(table["file"]) == [f"{i}.fits" for i in range(16)] and (table["status"] == "ok").all()
    direct = predictor.predict([data_dir / "test" / "3.fits"])
    assert direct["logit"][0] == pytest.approx(table["logit"][3], rel=1e-4)


def test_batch_size_changes_nothing(predictor: Predictor, data_dir: Path) -> None:
    tables = [predictor.predict([data_dir / "test"], batch_size=n) for n in (1, 5, 64)]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other, rtol=1e-4)


def changed(predictor: Predictor, contract: ModelContract, **fields: Any) -> Predictor:
    """The same network under another contract."""
    other = contract.model_copy(update=fields)
    return Predictor(Ensemble([Member("other", other, predictor.ensemble.members[0].net, "cpu")]))


def test_probability_is_the_calibrated_logits_sigmoid(
    predictor: Predictor, data_dir: Path, contract: ModelContract
) -> None:
    table = predictor.predict([data_dir / "test"])
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-table["logit"])), rtol=1e-9)
    bare = changed(predictor, contract, class_weight_ratio=1.0, calibration=Calibration())
    raw = bare.predict([data_dir / "test"])
    np.testing.assert_allclose(table["logit"], (raw["logit"] - 1.0) / 2.0, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table["uncertainty"], raw["uncertainty"] / 2.0, rtol=1e-4)
    rare = predictor.predict([data_dir / "test"], prevalence=0.001)
    np.testing.assert_allclose(rare["logit"], table["logit"] + np.log(0.001 / 0.999), rtol=1e-5)


def write_fits(path: Path, **header: object) -> Path:
    cube = np.random.default_rng(1).normal(size=(48, 48, 3)).astype(np.float32)
    fits.PrimaryHDU(cube, fits.Header({"BANDS": "g,r,i", **header})).writeto(path)
    return path


def test_other_scales_are_resampled_or_named(predictor: Predictor, tmp_path: Path) -> None:
    path = write_fits(tmp_path / "fine.fits", PIXSCALE=0.05)
    assert predictor.predict([path])["status"][0] == "ok"
    with pytest.raises(ContractError, match=r"0\.050"):
        predictor.predict([path], resample=False)


def test_where_the_pixel_scale_comes_from(predictor: Predictor, tmp_path: Path) -> None:
    """The header first, then what the caller says, then the survey; else the pixels are taken as they are."""
    bare, scaled = write_fits(tmp_path / "bare.fits"), write_fits(tmp_path / "scaled.fits", PIXSCALE=0.2)
    as_it_is = predictor.predict([bare])["logit"][0]
    assert predictor.predict([bare], pixel_scale=0.4)["logit"][0] != pytest.approx(as_it_is, rel=1e-3)
    assert predictor.predict([bare], survey="sdss")["logit"][0] != pytest.approx(as_it_is, rel=1e-3)
    said = predictor.predict([scaled], pixel_scale=0.4)["logit"][0]
    assert said == pytest.approx(as_it_is, rel=1e-5)


def test_a_representation_it_never_saw_is_named(predictor: Predictor, contract: ModelContract, mixed: Path) -> None:
    linear = changed(predictor, contract, statistics={"linear": contract.statistics["linear"]})
    table = linear.predict([mixed / "picture.png", mixed / "a.fits"])
    assert "trained on linear" in table["status"][0] and table["status"][1] == "ok"


def test_bands_it_cannot_find_are_named(predictor: Predictor, contract: ModelContract, mixed: Path) -> None:
    other = changed(predictor, contract, bands=("u", "g", "r"))
    with pytest.raises(ContractError, match="expected bands u,g,r, got g,r,i"):
        other.predict([mixed / "a.fits"])


def test_lenses_of_an_index_are_no_known_nonlenses(predictor: Predictor, data_dir: Path) -> None:
    table = predictor.predict([data_dir / "test/index.csv"], prevalence=0.01)
    found = predictor.nonlens_logits([data_dir / "test/index.csv"], prevalence=0.01)
    np.testing.assert_allclose(found, table["logit"][::2], rtol=1e-5)  # every second row is a lens
    assert len(predictor.nonlens_logits([data_dir / "test"])) == 16  # a folder says nothing of what it holds
    assert np.isnan(predictor.nonlens_logits([data_dir / "absent.fits"])).all()


def test_nothing_given_is_an_empty_table(predictor: Predictor) -> None:
    table = predictor.predict([])
    assert tuple(table.columns) == COLUMNS and table.empty


def test_mistakes_of_the_whole_call_are_errors(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image"):
        predictor.predict([tmp_path])
    with pytest.raises(SurveyError, match="dse"):
        predictor.predict([], survey="dse")
    with pytest.raises(CatalogError):
        predictor.predict([tmp_path / "index.csv"])
    with pytest.raises(ConfigError, match="prevalence"):
        predictor.predict([], prevalence=1.0)
    with pytest.raises(ConfigError, match="pixel_scale"):
        predictor.predict([], pixel_scale=-1.0)
    with pytest.raises(ConfigError, match="batch_size"):
        predictor.predict([], batch_size=0)
    with pytest.raises(ConfigError, match="views"):
        predictor.predict([], views=2)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"x\.ckpt"):
        Predictor.load(tmp_path / "x.ckpt")


def test_an_absent_device_is_named(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="abacus"):
        Predictor.load(checkpoint, device="abacus")


def test_an_index_to_score_needs_no_labels_and_a_missing_image_keeps_its_row(mixed: Path, predictor: Predictor) -> None:
    index = mixed / "list.csv"
    index.write_text("filepath\na.fits\nabsent.fits\n")
    table = predictor.predict([index])
    assert table["file"].tolist() == ["a.fits", "absent.fits"]
    assert table["status"][0] == "ok" and "absent.fits" in table["status"][1]
    assert np.isnan(table["logit"][1])
