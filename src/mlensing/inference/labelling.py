"""Which of many scored images to label next: tables in, a table to be filled in out.

``evaluation.acquisition`` chooses. Images have their places in the space of embeddings, if there are some, and
otherwise among their scores: log-odds, uncertainty, disagreement and distance from the training, each by its rank, so
that what is spread out is the strata of scores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from mlensing.catalog import read_scores
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.acquisition import Pool, Strategy, acquire
from mlensing.inference.embeddings import Embeddings, unit_length

PLACES = ("logit", "uncertainty", "disagreement", "unlike")
"""Columns of scores that are a place where there are no embeddings."""
FIRST = ("filepath", "label", "order")


class Next(NamedTuple):
    """The table of images to label, and how many rows were left out, by reason."""

    table: pd.DataFrame
    left_out: dict[str, int]


def next_labels(
    scores: Sequence[str | Path],
    budget: int,
    *,
    labelled: Sequence[str | Path] = (),
    embeddings: str | Path | None = None,
    strategy: Strategy = "mixed",
    seed: int = 0,
) -> Next:
    """Choose the images to label next.

    Arguments:
        scores: tables that ``mlensing predict`` wrote, CSV or Parquet; at the prevalence of these images
            (``--prevalence 0.001``, say), or what counts as uncertain is too unlikely to be a lens.
        budget: how many images.
        labelled: CSVs of images that have a label already, which are left out: indices, or earlier results of this
            with their column ``label`` filled in. Rows without a label do not count.
        embeddings: file that ``mlensing similar --embeddings`` wrote of the same images: diversity is that of what a
            network sees in them, and not of their scores.
        strategy: ``expected``: the likeliest lenses; ``uncertain``: the most uncertain images; ``diverse``: as unlike
            each other as can be, which finds oddities and few lenses; ``mixed``: a third each of likely, uncertain, and
            promising but unlike all others; ``random``: to compare with.
        seed: of what is drawn.

    Returns:
        the images in order: ``filepath``, an empty ``label`` to be filled in, ``order`` from 1, and their scores; and
        the numbers of rows that were left out.

    Raises:
        ConfigError: a budget below 1, or nothing left to choose from; no such embeddings.
        CatalogError: a table that cannot be used.
        ContractError: a file that holds no embeddings.
    """
    if budget < 1:
        raise ConfigError("budget", f"expected 1 or more images, got {budget}", "Take 100.")
    table = pd.concat([_scores(Path(path)) for path in scores], ignore_index=True)
    reason = pd.Series("", index=table.index)
    done = _labelled_among(table["file"], [Path(path) for path in labelled])
    reason[table["file"].duplicated()] = "named twice"
    reason[~np.isfinite(table["logit"])] = "without a score (see status)"
    points = _score_places(table)
    if embeddings is not None:
        points = _embedded_places(table["file"], Embeddings.read(embeddings))
        reason[(reason == "") & np.isnan(points[:, 0])] = "not among the embeddings"
    known = np.flatnonzero(done & (reason == "").to_numpy(bool))
    reason[done] = "labelled already"
    rows = np.flatnonzero(reason == "")
    left_out = {str(why): int(count) for why, count in reason[reason != ""].value_counts().items()}
    if not len(rows):
        told = ", ".join(f"{count} {why}" for why, count in left_out.items())
        raise ConfigError("scores", f"nothing left to choose from: {told}", "Give scores of more images.")
    logit, deviation = (table[name].to_numpy(float)[rows] for name in ("logit", "uncertainty"))
    pool = Pool(logit, np.nan_to_num(deviation), points[rows], points[known])
    return Next(_to_fill_in(table.iloc[rows[acquire(pool, budget, strategy, seed)]]), left_out)


def _scores(path: Path) -> pd.DataFrame:
    """A table of scores; where it lacks one of ``PLACES`` that is NaN."""
    table = read_scores(path)
    for name in PLACES:
        table[name] = pd.to_numeric(table[name], errors="coerce") if name in table else np.nan
    return table


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"filepath": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        problem = f"cannot be read as a CSV table ({str(error).splitlines()[0].rstrip('.')})"
        raise CatalogError(path, problem, "Give a CSV file with a header line.") from error


def _labelled_among(files: pd.Series[str], tables: Sequence[Path]) -> NDArray[np.bool_]:
    """Which of these files have a label in the tables: under the same name, or at the same place.

    Raises:
        CatalogError: a table without names or without labels.
    """
    names: set[str] = set()
    for path in tables:
        table = _table(path)
        if not {"filepath", "label"} <= set(table):
            problem = f"expected columns filepath and label, got {', '.join(map(str, table.columns[:8]))}"
            raise CatalogError(path, problem, "Give an index, or a table of this verb with its labels filled in.")
        label = pd.to_numeric(table["label"], errors="coerce")
        for name in table.loc[label >= 0, "filepath"]:
            names |= {str(name), os.path.abspath(path.parent / str(name))}  # noqa: PTH100 - resolving asks the disk
    return np.array([name in names or os.path.abspath(name) in names for name in files], bool)  # noqa: PTH100


def _score_places(table: pd.DataFrame) -> NDArray[np.float32]:
    """Scores [N, D] by rank in [0, 1]; columns that say nothing of any image are left out, a gap is in the middle."""
    said = [table[name].to_numpy(float) for name in PLACES if np.isfinite(table[name]).any()]
    ranks = [rankdata(column, nan_policy="omit") / np.isfinite(column).sum() for column in said]
    places = np.stack(ranks or [np.zeros(len(table))], 1).astype(np.float32)
    return np.where(np.isnan(places), np.float32(0.5), places)


def _embedded_places(files: pd.Series[str], found: Embeddings) -> NDArray[np.float32]:
    """Features [N, F] of length 1; NaN where there are none."""
    row = {file: number for number, file in enumerate(found.files)}
    rows = np.array([row.get(file, -1) for file in files])
    points = unit_length(found.features[rows])
    points[rows < 0] = np.nan
    return points


def _to_fill_in(chosen: pd.DataFrame) -> pd.DataFrame:
    """The rows with an empty column to write labels in, and their order: then it is an index."""
    content = chosen.rename(columns={"file": "filepath"}).reset_index(drop=True)
    content = content.assign(label="", order=np.arange(1, len(content) + 1))
    return content[[*FIRST, *(name for name in content if name not in FIRST)]]
