"""Images by likeness: neighbours are scikit-learn's, nothing vanishes, what is kept is only used as it was made."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import NearestNeighbors

from mlensing.cli import main
from mlensing.contract import ModelContract
from mlensing.data.gather import Item
from mlensing.errors import ConfigError, ContractError, ImageError
from mlensing.inference import Predictor
from mlensing.inference.embeddings import FEWEST, Embeddings, Seen, embed, made_with
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.member import Member
from mlensing.inference.nearest import Index
from mlensing.inference.similar import COLUMNS, only_member, search, similar
from mlensing.models import build


def library_of(count: int, width: int = 16, seed: int = 0) -> tuple[Embeddings, np.ndarray]:
    """Random features in a library, and three more as queries."""
    raw = np.random.default_rng(seed).normal(2, [1.0, 9.0] * (width // 2), (count + 3, width)).astype(np.float32)
    items = [Item(f"{i}.png", Path(f"{i}.png")) for i in range(count)]
    library = Embeddings.of(Seen(raw[:count], (width,), ["ok"] * count), items, made={"network": "x"})
    return library, library.standardised(raw[count:])


def test_exact_neighbours_are_scikit_learns() -> None:
    library, queries = library_of(10_000)
    stored = library.features.astype(float)
    reference = NearestNeighbors(n_neighbors=20, metric="cosine").fit(stored)
    for query in queries[:, None]:
        distance, rows = reference.kneighbors(query.astype(float))
        found = search(library, query, ["q"], most=20)
        np.testing.assert_array_equal(found.index, rows[0])
        np.testing.assert_allclose(found["distance"], distance[0], atol=1e-6)


@pytest.mark.parametrize("combine", ["least", "mean"])
def test_several_queries_and_which_is_nearest(combine: str) -> None:
    library, queries = library_of(300)
    every = cosine_distances(library.features.astype(float), queries.astype(float))
    found = search(library, queries, ["a", "b", "c"], combine=combine)  # type: ignore[arg-type]
    expected = every.min(1) if combine == "least" else every.mean(1)
    np.testing.assert_allclose(found["distance"], np.sort(expected), atol=1e-6)
    assert list(found["nearest"]) == [("a", "b", "c")[k] for k in every.argmin(1)[found.index]]
    assert list(found["rank"]) == list(range(1, 301))


def test_every_feature_and_every_member_has_the_same_say() -> None:
    raw = np.random.default_rng(0).normal([5, 0, 0, 9], [1, 20, 3, 0], (500, 4)).astype(np.float32)
    items = [Item(str(i), Path(str(i))) for i in range(500)]
    stored = Embeddings.of(Seen(raw, (1, 3), ["ok"] * 500), items, made={}).features.astype(float)
    np.testing.assert_allclose(stored.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(stored.std(0), [1, 3**-0.5, 3**-0.5, 0], rtol=1e-3)  # what never changes says nothing


def test_a_few_images_are_not_centred() -> None:
    """The mean of two would make them opposites, whatever they show."""
    library, _ = library_of(FEWEST - 1)
    assert (library.mean == 0).all()
    assert (library_of(FEWEST)[0].mean != 0).all()


@pytest.fixture(scope="module")
def folder(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images that can be read and two that cannot."""
    folder = tmp_path_factory.mktemp("folder")
    for path in (data_dir / "test").glob("*.fits"):
        shutil.copy(path, folder / path.name)
    (folder / "broken.fits").write_bytes((folder / "0.fits").read_bytes()[:3000])
    (folder / "a_text.png").write_text("no picture")
    return folder


def test_a_query_in_the_folder_ranks_first_and_bad_files_last(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    query = shutil.copy(folder / "3.fits", tmp_path / "query.fits")
    found = similar([query, tmp_path / "absent.fits"], [folder], checkpoint=checkpoint, batch_size=5)
    table = found.table
    assert tuple(table.columns) == COLUMNS and len(table) == 18
    assert table["file"][0] == str(folder / "3.fits") and table["distance"][0] == pytest.approx(0, abs=1e-5)
    assert table["distance"][1] > 1e-3 and set(table["nearest"][:16]) == {str(query)}
    bad = table[16:]
    assert {Path(file).name for file in bad["file"]} == {"broken.fits", "a_text.png"}
    assert bad["distance"].isna().all() and (bad["rank"] == 0).all() and (bad["status"] != "ok").all()
    assert list(found.skipped) == [str(tmp_path / "absent.fits")]


def test_features_are_those_that_the_head_takes(checkpoint: Path, folder: Path) -> None:
    ensemble = Ensemble.load(checkpoint, "cpu")
    seen = embed(ensemble, [Item("3.fits", folder / "3.fits")], views=8)
    with torch.no_grad():
        raw = float(ensemble.members[0].net.head(torch.from_numpy(seen.features)))
    calibrated = (raw - ensemble.contract.logit_shift) / ensemble.contract.calibration.parameters[0]
    assert Predictor(ensemble).predict([folder / "3.fits"], views=8)["logit"][0] == pytest.approx(calibrated, rel=1e-4)


def test_lenses_of_an_index_are_queries_and_others_are_not(checkpoint: Path, data_dir: Path) -> None:
    found = similar([data_dir / "test/index.csv"], [data_dir / "test"], checkpoint=checkpoint)
    assert [item.file for item in found.queries] == [f"{i}.fits" for i in range(1, 16, 2)]


def test_what_was_seen_is_kept_and_used_again(
    checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, query = str(tmp_path / "kept.safetensors"), str(folder / "5.fits")
    shared = ["--checkpoint", str(checkpoint), "--embeddings", kept]
    first, again, without = (str(tmp_path / f"{name}.csv") for name in ("first", "again", "without"))
    assert main(["similar", query, "--in", str(folder), *shared, "--output", first, "--most", "5"]) == 0
    assert "18 rows, 2 unreadable" in capsys.readouterr().out
    written = Path(kept).read_bytes()
    assert main(["similar", query, "--in", str(folder), *shared, "--output", again]) == 0
    assert main(["similar", query, *shared, "--output", without]) == 0
    assert Path(kept).read_bytes() == written
    tables = [pd.read_csv(path) for path in (first, again, without)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.width == 12 * (128 + 2)  # tiles of 32 pixels, four times as large
        assert picture.height == 2 * (128 + 14 + 2) + 4
        assert np.asarray(picture)[:128, :128].std() > 10  # the query


def test_equal_embeddings_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        library_of(20)[0].write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = Embeddings.read(tmp_path / "a")
    np.testing.assert_array_equal(found.features, library_of(20)[0].features)
    assert found.files[7] == "7.png" and found.made == {"network": "x"}


def test_embeddings_of_something_else_are_refused(
    checkpoint: Path, contract: ModelContract, folder: Path, tmp_path: Path
) -> None:
    kept, query = tmp_path / "kept.safetensors", [folder / "5.fits"]
    similar(query, [folder], checkpoint=checkpoint, embeddings=kept)
    with pytest.raises(ContractError, match="views 1, this search has 8"):
        similar(query, checkpoint=checkpoint, embeddings=kept, views=8)
    with pytest.raises(ConfigError, match="18 images that are not the 1"):
        similar(query, query, checkpoint=checkpoint, embeddings=kept)
    torch.manual_seed(1)
    other = Ensemble([Member("other", contract, build(contract.name, contract, **contract.options), "cpu")])
    with pytest.raises(ContractError, match="made with network"):
        Embeddings.read(kept).require_made(made_with(other, 1), where=kept)


def test_what_is_no_file_of_embeddings_is_refused(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no embeddings"):
        Embeddings.read(tmp_path / "absent")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ContractError, match="not a readable safetensors"):
        Embeddings.read(tmp_path / "junk")
    library, _ = library_of(20)
    library.write(tmp_path / "short")
    (tmp_path / "short").write_bytes((tmp_path / "short").read_bytes()[:-9])
    with pytest.raises(ContractError):
        Embeddings.read(tmp_path / "short")
    library.files.pop()
    library.write(tmp_path / "odd")
    with pytest.raises(ContractError, match="as many names"):
        Embeddings.read(tmp_path / "odd")


def test_searches_that_make_no_sense(checkpoint: Path, folder: Path) -> None:
    query = [folder / "5.fits"]
    with pytest.raises(ConfigError, match="nothing to search"):
        similar(query, checkpoint=checkpoint)
    for wrong in ({"batch_size": 0}, {"most": -1}):
        with pytest.raises(ConfigError, match="batch_size above 0"):
            similar(query, [folder], checkpoint=checkpoint, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="not one can be read"):
        similar([folder / "broken.fits"], [folder], checkpoint=checkpoint)
    with pytest.raises(ConfigError, match="resnet18"):
        only_member(Ensemble.load(checkpoint, "cpu"), "best")
    assert main(["similar", str(query[0]), "--in", str(folder), "--output", "x.txt"]) == 2


def test_the_index_finds_what_exact_search_finds() -> None:
    pytest.importorskip("faiss", reason="needs the extra search")
    library, queries = library_of(5000)
    library.features[[3, 4000]] = np.nan
    index = Index(library)
    exact, found = (search(library, queries, list("abc"), most=50, index=i) for i in (None, index))
    assert len(np.intersect1d(exact.index, found.index)) >= 48
    same = found.loc[np.intersect1d(exact.index, found.index)]
    pd.testing.assert_series_equal(same["distance"], exact.loc[same.index]["distance"], rtol=1e-5)
    assert np.isfinite(found["distance"]).all() and found["distance"].is_monotonic_increasing
    with pytest.raises(ConfigError, match="most"):
        search(library, queries, list("abc"), index=index)


def test_an_index_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match="mlensing\\[search\\]"):
        Index(library_of(20)[0])
