from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlensing.catalog import Catalog
from mlensing.errors import CatalogError


def index(folder: Path, text: str, *files: str) -> Path:
    for name in files:
        (folder / name).write_bytes(b"x")
    path = folder / "index.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_columns_aliases_and_labels(tmp_path: Path) -> None:
    text = "filepath,label,z_l,z_s,note\na,1,0.5,2.0,Ünïcode\nb,-1,,,\nc,0.3,,,\nd,,0,1,\n"
    catalog = Catalog.read(index(tmp_path, text, *"abcd"))
    assert catalog.labels.dtype == np.float32
    np.testing.assert_array_equal(catalog.labels, np.float32([1, np.nan, 0.3, np.nan]))
    assert catalog.column("z_lens")[0] == 0.5 and catalog.column("z_source")[3] == 1.0
    assert catalog.text("note")[:2] == ["Ünïcode", None]
    assert np.isnan(catalog.column("sigma_crit")).all() and catalog.paths[0] == tmp_path / "a"


def test_write_is_read_back_from_another_folder(tmp_path: Path) -> None:
    catalog = Catalog.read(index(tmp_path, "filepath,label,extra\na,1,x\nb,0.5,y\nc,,z\n", *"abc"))
    catalog.write(tmp_path / "deep" / "train" / "index.csv")
    again = Catalog.read(tmp_path / "deep" / "train" / "index.csv")
    assert [p.resolve() for p in again.paths] == [p.resolve() for p in catalog.paths]
    np.testing.assert_array_equal(again.labels, catalog.labels)
    assert (tmp_path / "deep/train/index.csv").read_text().splitlines()[1] == "../../a,1,x"


def test_an_index_behind_a_link_finds_its_images(tmp_path: Path) -> None:
    catalog = Catalog.read(index(tmp_path, "filepath,label\na,1\nb,0\n", *"ab"))
    (tmp_path / "disk/one/deep").mkdir(parents=True)
    link(tmp_path / "here", tmp_path / "disk/one/deep")
    catalog.write(tmp_path / "here/index.csv")
    assert all(path.is_file() for path in Catalog.read(tmp_path / "here/index.csv").paths)


def link(where: Path, to: Path) -> None:
    try:
        where.symlink_to(to, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"no links here: {error}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV"),
        ("filepath,label\n", "no rows"),
        ("file,label\na,1\n", "no column filepath; it has file, label"),
        ("filepath\na\n", "no column label"),
        ("filepath,label\na,lens\n", r"label of a is 'lens'.*0, 1 or between"),
        ("filepath,label\na,2\n", "label of a is '2'"),
        ("filepath,label\na,1\n./a,0\n", "listed more than once"),
        ("filepath,label\na,1\nx,0\ny,0\n", "2 of 3 files are missing, first .*x, .*y"),
        ("filepath,label,pixel_scale_arcsec\na,1,wide\n", "pixel_scale_arcsec of a is 'wide'"),
        ("filepath,label,pixel_scale_arcsec\na,1,0\n", "not a positive number"),
        ("filepath,label,sigma_crit\na,1,inf\n", "sigma_crit of a is 'inf'"),
        ("filepath,label,z_l,z_lens\na,1,0.5,0.5\n", "mean the same"),
        ("filepath,label\n,1\n", "filepath is empty on line 2"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=rf"index\.csv: .*{message}"):
        Catalog.read(index(tmp_path, text, "a"))


def test_missing_file_and_other_encoding(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such index"):
        Catalog.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("filepath,label\nä,1\n".encode("latin-1"))
    with pytest.raises(CatalogError, match="UTF-8"):
        Catalog.read(tmp_path / "latin.csv")


def test_require_sigma_crit(tmp_path: Path) -> None:
    path = index(tmp_path, "filepath,label,sigma_crit\na,1,2079\nb,1,\n", *"ab")
    with pytest.raises(CatalogError, match="sigma_crit is missing in 1 of 2 rows, first b"):
        Catalog.read(path, require_sigma_crit=True)


def test_select_keeps_the_folder(tmp_path: Path) -> None:
    table = pd.DataFrame({"filepath": ["a", "b", "c"], "label": [0, 1, 0]})
    chosen = Catalog.of(table, tmp_path, check_files=False).select(np.array([False, True, True]))
    assert chosen.paths == [tmp_path / "b", tmp_path / "c"] and chosen.labels.tolist() == [1, 0]
