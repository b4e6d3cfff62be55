"""Images by their distance from known lenses, in what a network sees before its head.

Stein+2022 (arXiv:2110.00023) found 1,192 lens candidates so, in features learned without labels. The distance is that
of cosine, 1 - a b / (|a| |b|) in [0, 2], of standardised features (``inference.embeddings``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlensing.contract import ModelContract
from mlensing.data.gather import Item, gather
from mlensing.data.preview import captioned, write_stacked
from mlensing.errors import ConfigError
from mlensing.evaluation.curves import LENS
from mlensing.inference.embeddings import TASKS, Embeddings, embed, made_with, unit_length
from mlensing.inference.ensemble import RELEASED, Ensemble
from mlensing.inference.evaluate import pictures
from mlensing.inference.member import Views
from mlensing.inference.nearest import Index

COLUMNS = ("rank", "file", "distance", "nearest", "status")
Combine = Literal["least", "mean"]
BLOCK = 512
"""Images whose distances are found at once: so few that their features stay in the processor's cache (3 x faster)."""
COLUMNS_SHOWN, TILE = 12, 128
"""Pictures a row of the mosaic, and the least pixels of one a side."""


class Similar(NamedTuple):
    """What a search found: its table, why queries were left out, by file, and what its picture shows."""

    table: pd.DataFrame
    skipped: dict[str, str]
    queries: list[Item]
    nearest: list[Item]
    contract: ModelContract


def similar(
    queries: Sequence[str | Path],
    inputs: Sequence[str | Path] = (),
    *,
    checkpoint: str | Path | Sequence[str | Path] = RELEASED,
    member: str | None = None,
    embeddings: str | Path | None = None,
    combine: Combine = "least",
    survey: str | None = None,
    pixel_scale: float | None = None,
    views: Views = 1,
    batch_size: int = 64,
    most: int = 100,
    device: str = "auto",
) -> Similar:
    """Rank images by their distance from known lenses.

    Arguments:
        queries: the lenses: files, folders, index CSVs (of which what is labelled a non-lens is left out).
        inputs: images to rank, given likewise; may be left out where ``embeddings`` are there already.
        checkpoint: a network, several, or an ensemble's folder; the released ensemble if none is named.
        member: key of the only member of an ensemble to ask; all side by side if not given.
        embeddings: file that keeps what the network saw in ``inputs``; if there, it is used in place of looking again.
            Images are known by their names: remove the file when images have changed.
        combine: ``least`` ranks by the least distance from any query, ``mean`` by the mean over all of them.
        survey: preset of files whose header names none.
        pixel_scale: of files that state none [arcsec/px].
        views: 8 averages over flips and quarter turns, at eight times the cost.
        batch_size: images a step.
        most: nearest images that the picture shows; the table has all.
        device: ``auto`` takes a GPU when there is one.

    Returns:
        the table, with the columns ``COLUMNS``, nearest first; images that cannot be read last, with rank 0.

    Raises:
        ConfigError: nothing to search, a member that is not there, embeddings of other images, an impossible number.
        ContractError: embeddings of another checkpoint; a checkpoint that cannot be used, or not for these images.
        CatalogError, ImageError, SurveyError: an input that is wrong as a whole, not one readable query.
    """
    if batch_size < 1 or most < 0:
        problem = f"expected batch_size above 0 and most of 0 or more, got {batch_size} and {most}"
        raise ConfigError("options", problem, "Take 64 and 100.")
    ensemble = only_member(Ensemble.load(checkpoint, device, tasks=TASKS), member)
    known = [q for q in gather(queries, survey=survey, pixel_scale=pixel_scale) if not q.label < LENS]
    items = gather(inputs, survey=survey, pixel_scale=pixel_scale) if inputs else None
    seen = embed(ensemble, known, views=views, batch_size=batch_size, title="queries")
    library = _library(ensemble, items, embeddings, views, batch_size)
    asked = [known[row] for row in seen.good]
    features = library.standardised(seen.features[seen.good])
    table = search(library, features, [item.file for item in asked], combine=combine)
    nearest = [int(row) for row in table.index[table["rank"] > 0][:most]]
    return Similar(
        table.reset_index(drop=True),
        {item.file: said for item, said in zip(known, seen.status, strict=True) if said != "ok"},
        asked,
        library.items(nearest, survey=survey, pixel_scale=pixel_scale),
        ensemble.contract,
    )


def only_member(ensemble: Ensemble, key: str | None) -> Ensemble:
    """The ensemble of this member alone; all of it if none is named.

    Raises:
        ConfigError: no such member.
    """
    chosen = [member for member in ensemble.members if key in (None, member.key)]
    if not chosen:
        known = ", ".join(member.key for member in ensemble.members)
        raise ConfigError("member", f"there is no {key!r}", f"Its members: {known}.")
    return Ensemble(chosen) if key else ensemble


def _library(
    ensemble: Ensemble, items: list[Item] | None, path: str | Path | None, views: Views, batch_size: int
) -> Embeddings:
    """The embeddings of a file, or those of the items, which are then kept there.

    Raises:
        ConfigError: neither a file nor items, or a file that holds others.
    """
    made = made_with(ensemble, views)
    if path is not None and (Path(path).exists() or items is None):
        kept = Embeddings.read(path)
        kept.require_made(made, where=path)
        if items is not None and [item.file for item in items] != kept.files:
            problem = f"it holds {len(kept)} images that are not the {len(items)} of --in"
            raise ConfigError(path, problem, "Leave out --in to search what it holds, or name another file.")
        return kept
    if items is None:
        raise ConfigError("inputs", "nothing to search", "Name images with --in, or a file with --embeddings.")
    found = Embeddings.of(embed(ensemble, items, views=views, batch_size=batch_size), items, made=made)
    if path is not None:
        found.write(path)
    return found


def search(
    library: Embeddings,
    queries: NDArray[np.float16],
    names: Sequence[str],
    *,
    combine: Combine = "least",
    index: Index | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Rank the images of a library.

    Arguments:
        library: what to search.
        queries: features [Q, F] of known lenses, as ``library.standardised`` gives them.
        names: of the queries.
        combine: ``least`` or ``mean`` of the distances from all queries.
        index: proposes what to rank; without one every image is ranked, which for a million takes a second or two.
        most: rows to return; all if not given, which an index cannot.

    Returns:
        the columns ``COLUMNS``, nearest first; its index is the row in the library. Images without features come last.

    Raises:
        ConfigError: an index, and not said how many rows.

    Example:
        >>> from mlensing.inference.embeddings import Seen
        >>> raw = np.array([[3.0, 0.0], [0.0, 2.0], [np.nan, np.nan]], np.float32)
        >>> items = [Item(name, Path(name)) for name in ("a.png", "b.png", "c.png")]
        >>> library = Embeddings.of(Seen(raw, (2,), ["ok", "ok", "c.png: empty"]), items, made={})
        >>> found = search(library, library.standardised(np.array([[0.0, 5.0]])), ["query.png"])
        >>> found["file"].tolist(), found["distance"].round(3).tolist()
        (['b.png', 'a.png', 'c.png'], [0.0, 1.0, nan])
    """
    if index is not None and most is None:
        raise ConfigError("most", "an index proposes the nearest images only", "Say how many: most=100.")
    rows = np.arange(len(library)) if index is None or most is None else index.rows(queries, most)
    distance, which = distances(library, queries, rows, combine=combine)
    order = np.argsort(distance, kind="stable")[:most]  # NaN comes last
    rows, distance, which = rows[order], distance[order], which[order]
    known = np.isfinite(distance)
    content = {
        "rank": np.where(known, np.arange(1, len(rows) + 1), 0),
        "file": [library.files[row] for row in rows],
        "distance": distance,
        "nearest": [names[query] if there else "" for query, there in zip(which, known, strict=True)],
        "status": [library.status[row] for row in rows],
    }
    return pd.DataFrame(content, columns=list(COLUMNS), index=rows)


def distances(
    library: Embeddings, queries: NDArray[np.float16], rows: NDArray[np.int64], *, combine: Combine = "least"
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance [n] of rows of a library from queries [Q, F], and which query is nearest [n]; NaN without features."""
    unit = unit_length(queries).T
    distance, which = np.empty(len(rows)), np.empty(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK):
        some = slice(start, start + BLOCK)
        every = (1 - unit_length(library.features[rows[some]]) @ unit).clip(0, 2)
        distance[some] = every.min(1) if combine == "least" else every.mean(1)
        which[some] = every.argmin(1)
    return distance, which


def write_picture(found: Similar, path: str | Path) -> None:
    """A PNG of the queries, and below a white line the nearest images with rank, distance, number of the query."""
    number = {item.file: f"  q{place}" for place, item in reversed(list(enumerate(found.queries, 1)))}
    best = found.table[: len(found.nearest)]
    said = zip(best["rank"], best["distance"], best["nearest"], strict=True)
    below = [f"{rank}  {distance:.3f}{number[nearest] if len(number) > 1 else ''}" for rank, distance, nearest in said]
    shown = found.queries[:COLUMNS_SHOWN]
    above = [f"query {place}" for place in range(1, len(shown) + 1)]
    tiles = (_tiles(shown, above, found.contract), _tiles(found.nearest, below, found.contract))
    write_stacked(path, *tiles, columns=COLUMNS_SHOWN)


def _tiles(items: list[Item], words: list[str], contract: ModelContract) -> list[NDArray[np.uint8]]:
    """A captioned picture each; black where there is none to read any more."""
    seen = pictures(items, contract)
    black = np.zeros((contract.input_size, contract.input_size, 3), np.uint8)
    return [captioned(seen.get(i.file, black), said, least=TILE) for i, said in zip(items, words, strict=True)]
