from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from PIL import Image

from mlensing.catalog import Catalog
from mlensing.data.prepare import divide, prepare
from mlensing.data.split import assign_splits
from mlensing.errors import CatalogError, ConfigError

SHARES = np.array([0.8, 0.1, 0.1])


def write(path: Path, **header: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
    for key, value in {"BANDS": "gri", "PIXSCALE": 0.2, **header}.items():
        hdu.header[key] = value
    hdu.writeto(path)


def read(folder: Path) -> pd.DataFrame:
    tables = []
    for split in ("train", "val", "test"):
        table = pd.read_csv(folder / split / "index.csv")
        names = [(folder / split / p).resolve().name for p in table["filepath"]]
        tables.append(table.assign(split=split, name=names))
    return pd.concat(tables, ignore_index=True)


def test_stratified_and_complete(tmp_path: Path) -> None:
    for i in range(40):
        write(tmp_path / "in" / f"{i:02d}.fits", LABEL=int(i % 4 == 0))
    summary = prepare(str(tmp_path / "in"), str(tmp_path / "out"), train_split=0.8)
    table = read(tmp_path / "out")
    assert sorted(table["name"]) == [f"{i:02d}.fits" for i in range(40)]
    counts = table.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        (s, label): n for s, a, b in (("train", 24, 8), ("val", 3, 1), ("test", 3, 1)) for label, n in ((0, a), (1, b))
    }
    assert summary["train"] == {"lens": 8, "non-lens": 24} and summary["rejected"] == 0
    assert (tmp_path / "out" / "provenance.json").is_file() and not (tmp_path / "out" / "rejected.csv").exists()
    assert not any(Path(p).is_absolute() for p in table["filepath"])
    assert len(Catalog.read(tmp_path / "out" / "train" / "index.csv")) == 32


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / "in" / f"{i}.fits", LABEL=i % 2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare(str(tmp_path / "in"), str(tmp_path / name), seed=seed)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 4
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert (tmp_path / "a/train/index.csv").read_bytes() != (tmp_path / "c/train/index.csv").read_bytes()


def test_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    group = pd.Series([f"g{k}" for k in rng.integers(0, 150, 600)]).where(rng.random(600) < 0.8)
    table = pd.DataFrame({"label": (rng.random(600) < 0.3).astype(float), "group": group})
    split = assign_splits(table, SHARES, seed=3)
    assert pd.Series(split).groupby(group).nunique().max() == 1
    assert np.abs(np.bincount(split) / 600 - SHARES).max() < 0.02
    shares = [table["label"][split == k].mean() for k in range(3)]
    assert max(shares) - min(shares) < 0.12


def test_mixed_kinds_labels_of_folders_and_rejects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    for i in range(5):
        write(source / "lenses" / f"{i}.fits")
        (source / "nonlenses").mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (9, 8, 7)).save(source / "nonlenses" / f"{i}.png")
    np.save(source / "other.npy", np.ones((3, 40, 40), np.float32))
    write(source / "known.fits", LABEL=0.5)
    (source / "lenses" / "bad.fits").write_bytes((source / "known.fits").read_bytes()[:5000])
    (source / "lenses" / "empty.png").write_bytes(b"")
    (source / ".mlensing_cache").mkdir()
    np.save(source / ".mlensing_cache" / "x.npy", np.ones((3, 40, 40)))
    summary = prepare(str(source), str(source / "out"), pixel_scale=0.3)
    table = read(source / "out").set_index("name")
    assert len(table) == 12 and summary["rejected"] == 2
    assert table.loc["3.fits", "label"] == 1 and table.loc["3.png", "label"] == 0
    assert np.isnan(table.loc["other.npy", "label"]) and table.loc["known.fits", "label"] == 0.5
    assert table.loc["3.png", "pixel_scale_arcsec"] == 0.3
    rejected = pd.read_csv(source / "out" / "rejected.csv").set_index("filepath")
    reasons = {Path(name).name: row.reason for name, row in rejected.iterrows()}
    assert "truncated" in reasons["bad.fits"] and "empty" in reasons["empty.png"]
    told = capsys.readouterr().err
    assert "2 files left out" in told and "1 images have no label" in told
    again = prepare(str(source), str(source / "out"), pixel_scale=0.3)
    assert again == summary  # its own output is no input


def test_an_index_in_the_folder_rules(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.fits")
    write(tmp_path / "unlisted.fits")
    rows = [f"{i}.fits,{i % 2},0.2,g{i // 2},kept{i}" for i in range(10)]
    (tmp_path / "index.csv").write_text("filepath,label,pixel_scale_arcsec,group,note\n" + "\n".join(rows) + "\n")
    prepare(str(tmp_path), str(tmp_path / "out"), train_split=0.6, val_split=0.2)
    table = read(tmp_path / "out")
    assert sorted(table["note"]) == [f"kept{i}" for i in range(10)]
    assert table.groupby("group")["split"].nunique().max() == 1
    assert "not listed in index.csv" in (tmp_path / "out" / "rejected.csv").read_text()


def test_divide_opens_no_image(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.fits").write_text("not an image")
    rows = [f"{i}.fits,{i % 2},0.2" for i in range(20)]
    (tmp_path / "index.csv").write_text("filepath,label,pixel_scale_arcsec\n" + "\n".join(rows) + "\n")
    divide(tmp_path / "index.csv", seed=1)
    table = read(tmp_path)
    assert len(set(table["name"])) == 20 and table.groupby("split")["label"].mean().eq(0.5).all()


def test_labels_of_a_csv(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / "in" / f"{i}.fits")
    rows = [f"{i}.fits,{i % 2}" for i in range(10)]
    (tmp_path / "labels.csv").write_text("filepath,label\n" + "\n".join(rows) + "\n")
    prepare(str(tmp_path / "in"), str(tmp_path / "out"), labels=str(tmp_path / "labels.csv"))
    assert read(tmp_path / "out")["label"].sum() == 5


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        prepare(str(tmp_path / "none"), str(tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"train_split 1\.2"):
        prepare(str(tmp_path), str(tmp_path / "out"), train_split=1.2)
    with pytest.raises(CatalogError, match="no images in it"):
        prepare(str(tmp_path), str(tmp_path / "out"))
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(CatalogError, match=r"none of 1 images can be used.*no pixel scale.*--pixel_scale"):
        prepare(str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(CatalogError, match="no such file of labels"):
        prepare(str(tmp_path), str(tmp_path / "out"), labels=str(tmp_path / "none.csv"))
    assert not (tmp_path / "out").exists()
