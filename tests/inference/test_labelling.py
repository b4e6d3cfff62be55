"""The choice of what to label next, from tables: what is left out is counted, and a result is the next call's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlensing.cli import main
from mlensing.data.gather import Item
from mlensing.errors import CatalogError, ConfigError
from mlensing.inference.embeddings import Embeddings, Seen
from mlensing.inference.labelling import next_labels


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Forty images, four of which have no score."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"file": [f"images/{i}.fits" for i in range(40)], "logit": rng.normal(-3, 2, 40)})
    for name in ("uncertainty", "disagreement", "unlike"):
        table[name] = rng.exponential(size=40)
    table.insert(1, "probability", 1 / (1 + np.exp(-table["logit"])))
    table["status"] = "ok"
    table.loc[::10, ["logit", "probability", "uncertainty"]] = np.nan
    table.loc[::10, "status"] = "damaged"
    table.to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path / "scores.csv"


def test_what_has_no_score_is_counted_and_never_chosen(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "next.csv"
    assert main(["next", "--scores", str(scores), "--budget", "50", "--output", str(output)]) == 0
    said, table = capsys.readouterr().out, pd.read_csv(output)
    assert "left out 4 without a score" in said and "36 images to label, 14 fewer than asked" in said
    assert len(table) == 36 and (table["status"] == "ok").all()
    assert list(table["order"]) == list(range(1, 37)) and table["label"].isna().all()


def test_expected_is_the_order_of_the_scores(scores: Path) -> None:
    table = pd.read_csv(scores).dropna(subset="logit").sort_values("logit", ascending=False)
    assert list(next_labels([scores], 7, strategy="expected").table["filepath"]) == list(table["file"][:7])


def test_a_filled_in_result_is_left_out_of_the_next(scores: Path, tmp_path: Path) -> None:
    first = next_labels([scores], 6).table
    first["label"] = [1, 0, 0, None, 0.5, -1]
    first.to_csv(tmp_path / "done.csv", index=False)
    again = next_labels([scores], 40, labelled=[tmp_path / "done.csv"])
    assert again.left_out["labelled already"] == 4
    assert set(first["filepath"]) & set(again.table["filepath"]) == set(first["filepath"][[3, 5]])


def test_an_index_elsewhere_names_the_same_images(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/index.csv").write_text("filepath,label\n1.fits,1\n2.fits,0\n3.fits,\n")
    found = next_labels([scores], 40, labelled=[Path("images/index.csv")])
    assert found.left_out["labelled already"] == 2
    assert not {"images/1.fits", "images/2.fits"} & set(found.table["filepath"]) and "images/3.fits" in set(
        found.table["filepath"]
    )


def test_the_same_image_twice_is_chosen_once(scores: Path) -> None:
    found = next_labels([scores, scores], 80)
    assert len(found.table) == 36 == found.table["filepath"].nunique()
    assert found.left_out == {"named twice": 36, "without a score (see status)": 8}


def test_diversity_is_that_of_embeddings_if_there_are_any(scores: Path, tmp_path: Path) -> None:
    """Images of four kinds: each is chosen once before any is chosen twice."""
    kinds = np.eye(4, dtype=np.float32)[np.arange(40) % 4] + np.random.default_rng(0).normal(0, 0.01, (40, 4))
    items = [Item(f"images/{i}.fits", Path(f"images/{i}.fits")) for i in range(39)]
    seen = Seen(kinds[:39].astype(np.float32), (4,), ["ok"] * 39)
    Embeddings.of(seen, items, made={}).write(tmp_path / "kept.safetensors")
    found = next_labels([scores], 4, embeddings=tmp_path / "kept.safetensors", strategy="diverse")
    assert {int(Path(file).stem) % 4 for file in found.table["filepath"]} == {0, 1, 2, 3}
    assert found.left_out["not among the embeddings"] == 1


def test_equal_calls_give_equal_choices(scores: Path) -> None:
    for strategy in ("mixed", "diverse", "random"):
        one, two = (next_labels([scores], 9, strategy=strategy, seed=3).table for _ in range(2))  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(one, two)


def test_scores_alone_need_no_more_than_a_logit(tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text("file,logit\na,1\nb,-2\nc,0\n")
    assert sorted(next_labels([tmp_path / "bare.csv"], 3).table["filepath"]) == ["a", "b", "c"]


def test_scores_may_be_parquet(scores: Path, tmp_path: Path) -> None:
    pd.read_csv(scores).to_parquet(tmp_path / "scores.parquet")
    chosen = [next_labels([path], 5).table["filepath"].tolist() for path in (scores, tmp_path / "scores.parquet")]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 5


def test_mistakes_are_named(scores: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("name,value\na,1\n")
    (tmp_path / "failed.csv").write_text("file,logit,status\na,,damaged\n")
    with pytest.raises(CatalogError, match="file and logit, got name, value"):
        next_labels([tmp_path / "other.csv"], 5)
    with pytest.raises(CatalogError, match="filepath and label"):
        next_labels([scores], 5, labelled=[tmp_path / "other.csv"])
    with pytest.raises(CatalogError, match="cannot be read"):
        next_labels([tmp_path / "absent.csv"], 5)
    with pytest.raises(ConfigError, match="nothing left"):
        next_labels([tmp_path / "failed.csv"], 5)
    with pytest.raises(ConfigError, match="budget"):
        next_labels([scores], 0)
    with pytest.raises(ConfigError, match="no embeddings"):
        next_labels([scores], 5, embeddings=tmp_path / "absent")
    assert main(["next", "--scores", str(scores), "--budget", "5", "--strategy", "best"]) == 2
