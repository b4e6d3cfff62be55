"""Score tables: every format gives back what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from mlensing.errors import ConfigError
from mlensing.inference.scores import WRITERS, with_p_values, write_scores


def make_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": ["a.fits", "ünï/b, c.png"],
            "probability": [0.25, np.nan],
            "logit": [-1.1, np.nan],
            "uncertainty": [0.5, np.nan],
            "status": ["ok", "b, c.png: the file is empty. Fetch it again."],
        }
    )


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    table = Table.read(path, format="fits" if path.suffix == ".fits" else "votable")
    return table.filled(np.nan).to_pandas() if table.masked else table.to_pandas()


@pytest.mark.parametrize("ending", [*WRITERS, ".CSV"])
def test_written_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores{ending}"
    write_scores(make_table(), path)
    back, table = read(path.rename(path.with_suffix(ending.lower()))), make_table()
    assert list(back.columns) == list(table.columns)
    text = [[str(v.decode() if isinstance(v, bytes) else v) for v in back[c]] for c in ("file", "status")]
    escaped = [name.encode("ascii", "backslashreplace").decode() for name in table["file"]]
    assert text[0] == (escaped if ending == ".fits" else list(table["file"]))
    assert text[1] == list(table["status"])
    for column in ("probability", "logit", "uncertainty"):
        np.testing.assert_allclose(np.asarray(back[column], float), table[column], rtol=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == [f"scores{ending.lower()}"]  # nothing left beside


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    for ending in WRITERS:
        write_scores(make_table().iloc[:0], tmp_path / f"s{ending}")


def test_unknown_endings_name_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv, \.parquet, \.vot, \.xml, \.fits"):
        write_scores(make_table(), tmp_path / "scores.xlsx")
    assert not list(tmp_path.iterdir())


def test_few_known_nonlenses_are_said_to_be_too_few(capsys: pytest.CaptureFixture[str]) -> None:
    table, known = make_table(), [-2.0] * 98
    assert with_p_values(table, known, 0.01)["p_value"][0] == pytest.approx(1 / 99)
    assert (
        "98 known non-lenses are too few for a share of 0.01, which takes 99: no image passes"
        in capsys.readouterr().out
    )
    found = with_p_values(table, [*known, -2.0, np.nan], 0.01)
    assert list(found.columns)[-2:] == ["p_value", "status"] and np.isnan(found["p_value"][1])
    assert "1 of 2 images lie above a logit of -2.00" in capsys.readouterr().out


@pytest.mark.parametrize(("known", "share", "words"), [([0.0], 1.0, "share"), ([np.nan], 0.1, "nonlenses")])
def test_p_values_of_nothing_are_refused(known: list[float], share: float, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        with_p_values(make_table(), known, share)
