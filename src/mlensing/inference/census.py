"""The number of lenses in a survey, from a table of scores and an index with labels of a few of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlensing.catalog import Catalog, read_scores
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.census import Census, census
from mlensing.evaluation.census_figure import write_census_figure
from mlensing.evaluation.curves import LENS
from mlensing.inference.scores import write_scores
from mlensing.provenance import provenance, write_json

LEAST = 2
"""Labelled lenses that a census takes."""


def count_lenses(
    scores: str,
    *,
    labels: str,
    area: float | None = None,
    propensity: list[str] | None = None,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    output: str = "census.json",
) -> Census:
    """Estimate how many lenses a survey holds, and its interval, from scores and labels of some of its lenses.

    Nobody need say what is no lens. Without ``propensity`` it is assumed that lenses were labelled at random; bright or
    wide ones are often labelled first, and then the number is too small. ``mlensing.evaluation.propensity`` says what
    else is assumed: above all, that the finder gives its highest scores to lenses alone. On scores of images intervals
    are somewhat too short (``docs/RESULTS_FEW_LABELS.md``); from fewer than thirty labels take orders of magnitude.

    Arguments:
        scores: the table that ``predict`` wrote for all images of the survey, CSV or Parquet.
        labels: index CSV; label 1 for known lenses, empty for what nobody has judged. Known non-lenses (0) are taken
            out. Images that it does not list are unlabelled.
        area: of the survey [square degrees], for the density.
        propensity: columns of ``labels`` or of the scores that the labelling depends on, such as theta_E, arc_signal,
            magnitude: measured alike for every image, lens or not.
        resamples: of the bootstrap behind the intervals.
        level: coverage of the intervals.
        seed: of the bootstrap.
        output: JSON of what is found; a table of all images (.csv: P(lens) by score and label, propensity) and a
            picture (.png) are written beside it.

    Raises:
        CatalogError: tables that cannot be used, fewer than two labelled lenses with a score, attributes with gaps.
        ConfigError: settings out of range.
    """
    settings = dict(locals())
    _check(area, resamples, level, output)
    table = _joined(Path(scores), Path(labels))
    known = table["label"] < LENS
    kept = table[np.isfinite(table["logit"]) & ~known].reset_index(drop=True)
    labelled = (kept["label"] >= LENS).to_numpy()
    if labelled.sum() < LEAST:
        problem = f"{int(labelled.sum())} labelled lenses have a score in {scores}, expected {LEAST} or more"
        raise CatalogError(labels, problem, "Label lenses with 1; filepath must name them as the scores do.")
    names, score = propensity or [], kept["logit"].to_numpy()
    attributes = _attributes(kept, names, labels) if names else None
    options: dict[str, Any] = {"area": area, "resamples": resamples, "level": level, "seed": seed}
    found = census(score, labelled, attributes=attributes, names=names, **options)
    left_out = {"known_nonlenses": int(known.sum()), "without_score": int(table["logit"].isna().sum())}
    write_json(output, {**found.record(), **left_out, "area": area, **provenance("census", settings, seed)})
    rows = kept[["file", "label"]].assign(probability=found.probability, propensity=found.chance)
    write_scores(rows, Path(output).with_suffix(".csv"))
    write_census_figure(Path(output).with_suffix(".png"), found, score, labelled, attributes)
    return found


def _check(area: float | None, resamples: int, level: float, output: str) -> None:
    if area is not None and not 0 < area < np.inf:
        raise ConfigError("area", f"expected square degrees above 0, got {area}", "Correct it, or leave it out.")
    if resamples < 0:
        raise ConfigError("resamples", f"expected 0 or more, got {resamples}", "Take 200.")
    if not 0 < level < 1:
        raise ConfigError("level", f"expected a share in (0, 1), got {level}", "Take 0.95.")
    if Path(output).suffix.lower() != ".json":
        raise ConfigError("output", f"expected a name that ends in .json, got {output}", "Take census.json.")


def _joined(scores: Path, labels: Path) -> pd.DataFrame:
    """The scores with label and further columns of the index; images that only this lists have no score.

    A column that both have is that of the scores, which have it of every image.
    """
    table, catalog = read_scores(scores), Catalog.read(labels, to_score=True)
    row = _rows(table["file"].tolist(), scores.parent, catalog)
    missing = np.flatnonzero(row < 0)
    table = table.drop(columns="label", errors="ignore")
    index = catalog.table.drop(columns=["filepath", *(name for name in catalog.table if name in table)])
    matched = index.iloc[np.flatnonzero(row >= 0)].set_axis(row[row >= 0], axis=0)
    absent = pd.DataFrame({"file": catalog.table["filepath"].iloc[missing], "label": index["label"].iloc[missing]})
    return pd.concat([table.join(matched), absent], ignore_index=True)


def _rows(files: Sequence[str], folder: Path, catalog: Catalog) -> NDArray[np.int64]:
    """Which row of the scores each row of an index is, by name as written or by where the file lies; -1 for none.

    Raises:
        CatalogError: two rows of the index are the same.
    """
    here = Path.cwd()
    places = {os.path.normpath(here / folder / file): i for i, file in enumerate(files)}
    places |= {os.path.normpath(here / file): i for i, file in enumerate(files)}
    written = {file: i for i, file in enumerate(files)}
    names = catalog.table["filepath"].astype(str)
    found = [
        written.get(name, places.get(os.path.normpath(here / path), -1))
        for name, path in zip(names, catalog.paths, strict=True)
    ]
    known = [row for row in found if row >= 0]
    if len(set(known)) < len(known):
        raise CatalogError(catalog.source, "two of its rows are one image of the scores", "Keep one row an image.")
    return np.array(found, dtype=np.int64)


def _attributes(table: pd.DataFrame, names: Sequence[str], labels: str) -> NDArray[np.float64]:
    absent = [name for name in names if name not in table]
    if absent:
        problem = (
            f"no column {' and no column '.join(absent)}, in the scores neither; there are {', '.join(map(str, table))}"
        )
        raise CatalogError(labels, problem, "Name columns of numbers with --propensity.")
    values = table[list(names)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    gaps = ~np.isfinite(values)
    if gaps.any():
        row, column = (int(axis[0]) for axis in np.nonzero(gaps))
        problem = f"{names[column]} is no number in {int(gaps.any(1).sum())} of {len(table)} images, first "
        remedy = "Measure it for every image (predict --maps --accept 0 gives theta_E), or leave it out."
        raise CatalogError(labels, problem + table["file"].iloc[row], remedy)
    return np.asarray(values)
