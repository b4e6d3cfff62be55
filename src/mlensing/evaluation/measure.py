"""Scores in, `Report` out.

Rows stand in the order in which they were given. Nothing is dropped in silence: rows without a label or without a score
are counted and stay in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation import curves
from mlensing.evaluation.bootstrap import Interval, intervals
from mlensing.evaluation.calibration import equal_width_bins, sigmoid
from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.fusion import diversity
from mlensing.evaluation.metrics import CALIBRATION, DECISIONS, RANKING
from mlensing.evaluation.report import Curves, Estimate, MemberReport, Numbers, Report, Scores, Tally

LIMIT = 1e4
"""Logits beyond are written as this: JSON has no infinity, and nothing is surer."""


def evaluate_scores(
    labels: ArrayLike,
    logits: ArrayLike,
    *,
    files: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 200,
    prevalence: float | None = None,
    title: str = "Evaluation",
    provenance: Mapping[str, Any] | None = None,
    members: Mapping[str, ArrayLike] | None = None,
    raw: ArrayLike | None = None,
) -> Report:
    """Measure a set of scores against its labels.

    Ranks come from the logits and not from probabilities, which all round to 1 beyond a logit of 37.

    Arguments:
        labels: shape [N], in [0, 1], NaN = unlabelled. Soft labels count as lenses from 0.5 on, except in the
            calibration errors, which use them as they are.
        logits: shape [N], calibrated (class-weight shift removed, over the temperature); NaN = no score.
        files: N names; "#0", "#1", ... if left out.
        seed: of the bootstrap.
        resamples: bootstrap resamples; 0 leaves the intervals out.
        prevalence: share of lenses on the sky for which to give the purity, such as 1 / 2000.
        title: head of the page.
        provenance: command, configuration and versions behind the scores.
        members: of an ensemble, by key, the calibrated log-odds [N] of each.
        raw: [N] logits from before calibration, without the shift of the class weights.

    Raises:
        CatalogError: if lengths differ, a label is outside [0, 1], or no row has both label and score.
        ConfigError: if ``prevalence`` is not between 0 and 1.

    Example:
        >>> report = evaluate_scores([1, 0, 1, 0, float("nan")], [2.0, -1.0, 0.5, 0.7, 3.0], resamples=20)
        >>> report.metrics["roc_auc"].value, report.counts.unlabelled
        (0.75, 1)
    """
    if prevalence is not None and not 0.0 < prevalence < 1.0:
        raise ConfigError("prevalence", f"expected a share between 0 and 1, got {prevalence}", "Give 0.0005")
    y, z, names = _columns(labels, logits, files)
    known = np.isfinite(y) & np.isfinite(z)
    if not known.any():
        raise CatalogError(title, "no row has both a label and a score", "Label some rows, or only rank them")
    found = _measure(y[known], z[known], seed, resamples)
    return Report(
        title=title,
        counts=_tally(y, z),
        prevalence=float(np.mean(y[known] >= LENS)),
        sky_prevalence=prevalence,
        metrics={name: Estimate(**interval._asdict()) for name, interval in found.items()},
        curves=_curves(y[known], z[known], prevalence),
        members=_members(members or {}, y, known, seed, resamples),
        diversity=_diversity(members or {}, y, known),
        uncalibrated={} if raw is None else _calibration_errors(y[known], np.asarray(raw, float)[known]),
        scores=_table(y, z, names),
        resamples=resamples,
        seed=seed,
        provenance=dict(provenance or {}),
    )


def rank_scores(
    logits: ArrayLike,
    *,
    files: Sequence[str] | None = None,
    flags: Sequence[str] = (),
    title: str = "Ranking",
    provenance: Mapping[str, Any] | None = None,
) -> Report:
    """A report without labels: the table of scores alone, for a page of the best candidates.

    Arguments:
        logits, files: one a row.
        flags: words that the page shows beside each, "" for none.

    Raises:
        CatalogError: if the lengths differ.

    Example:
        >>> rank_scores([0.0, 2.0], files=["a.fits", "b.fits"]).counts.unlabelled
        2
    """
    z = np.asarray(logits, float)
    y, z, names = _columns(np.full(z.shape, np.nan), z, files)
    table = _table(y, z, names).model_copy(update={"flag": tuple(flags)})
    origin = dict(provenance or {})
    return Report(title=title, counts=_tally(y, z), prevalence=np.nan, scores=table, provenance=origin)


def _columns(labels: ArrayLike, logits: ArrayLike, files: Sequence[str] | None) -> tuple[Array, Array, list[str]]:
    y, z = np.asarray(labels, float), np.clip(np.asarray(logits, float), -LIMIT, LIMIT)
    names = [f"#{row}" for row in range(z.size)] if files is None else [str(name) for name in files]
    if not (y.ndim == 1 and y.shape == z.shape == (len(names),)):
        problem = f"expected one label, one logit and one file a row, got {y.shape}, {z.shape}, {len(names)}"
        raise CatalogError("scores", problem, "Give three columns of equal length")
    outside = np.flatnonzero((y < 0) | (y > 1))
    if outside.size:
        problem = f"label {y[outside[0]]:g} is outside [0, 1] ({outside.size} such rows)"
        raise CatalogError(names[outside[0]], problem, "Use 0, 1, a share between, or NaN for unlabelled")
    return y, z, names


def _tally(y: Array, z: Array) -> Tally:
    scored = np.isfinite(z)
    groups = {
        "lenses": scored & (y >= LENS),
        "others": scored & (y < LENS),
        "unlabelled": scored & np.isnan(y),
    }
    return Tally(rows=y.size, unscored=int(np.sum(~scored)), **{k: int(np.sum(v)) for k, v in groups.items()})


def _table(y: Array, z: Array, names: list[str]) -> Scores:
    return Scores(file=tuple(names), label=_points(y), logit=_points(z), probability=_points(sigmoid(z)))


def _measure(y: Array, z: Array, seed: int, count: int) -> dict[str, Interval]:
    ranks = intervals(RANKING, y, z, seed=seed, count=count)
    return ranks | intervals({**DECISIONS, **CALIBRATION}, y, sigmoid(z), seed=seed, count=count)


def _members(
    members: Mapping[str, ArrayLike], y: Array, known: NDArray[np.bool_], seed: int, resamples: int
) -> dict[str, MemberReport]:
    """Nothing for one member alone: the report is about it."""
    if len(members) < 2:
        return {}
    found = {}
    for key, logit in members.items():
        z = np.clip(np.asarray(logit, float)[known], -LIMIT, LIMIT)
        metrics = {n: Estimate(**i._asdict()) for n, i in _measure(y[known], z, seed, resamples).items()}
        points = _curves(y[known], z, None)
        found[key] = MemberReport(metrics=metrics, fpr=points.fpr, tpr=points.tpr)
    return found


def _diversity(members: Mapping[str, ArrayLike], y: Array, known: NDArray[np.bool_]) -> dict[str, float]:
    if len(members) < 2:
        return {}
    logit = np.stack([np.asarray(row, float)[known] for row in members.values()])
    return dict(diversity(logit, y[known])._asdict())


def _calibration_errors(y: Array, z: Array) -> dict[str, float]:
    return {name: CALIBRATION[name](y, sigmoid(z)) for name in ("ece", "mce")}


def _points(values: ArrayLike) -> Numbers:
    return tuple(np.asarray(values, float).tolist())


def _curves(y: Array, z: Array, prevalence: float | None) -> Curves:
    counts = curves.threshold_counts(y, z)
    fpr, tpr = curves.roc_curve(counts)
    tops = np.flatnonzero(np.append(np.diff(fpr) != 0, True))  # the highest recall at each rate
    tops = np.append(0, tops[curves.thin(tops.size)])
    rank, purity, completeness = curves.purity_completeness(counts)
    keep = curves.thin(rank.size)
    sky = {}
    if prevalence is not None:
        sky_completeness, sky_purity = curves.purity_at_prevalence(counts, prevalence)
        sky = {"sky_purity": sky_purity[keep], "sky_completeness": sky_completeness[keep]}
    bins = equal_width_bins(y, sigmoid(z))
    columns = {"fpr": fpr[tops], "tpr": tpr[tops], "rank": rank[keep], "purity": purity[keep]}
    columns |= {"completeness": completeness[keep], **sky, **bins._asdict()}
    return Curves(**{name: _points(values) for name, values in columns.items()})
