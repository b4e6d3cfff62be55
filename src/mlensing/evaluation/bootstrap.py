"""How much of a figure is luck: stratified percentile intervals for many metrics at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.metrics import Metric


class Interval(NamedTuple):
    """A figure of the whole set and its interval over resamples."""

    value: float
    low: float
    high: float


def resamples(labels: ArrayLike, scores: ArrayLike, *, seed: int, count: int) -> Iterator[tuple[Array, Array]]:
    """Draw ``count`` samples with replacement, as many lenses and non-lenses in each as in the set.

    Rows come sorted by falling score: sorting once here makes every sort inside a metric linear.
    """
    labels, scores = np.asarray(labels, float), np.asarray(scores, float)
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(kind) for kind in (labels >= LENS, labels < LENS)]
    for _ in range(count):
        times = np.zeros(labels.size, dtype=np.int64)
        for members in classes:
            if members.size:
                times[members] = np.bincount(
                    generator.integers(members.size, size=members.size), minlength=members.size
                )
        yield np.repeat(labels, times), np.repeat(scores, times)


def intervals(
    metrics: Mapping[str, Metric],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    seed: int = 0,
    count: int = 200,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Each metric with its percentile bootstrap interval (Efron 1979), stratified by class.

    Stratifying keeps the numbers of lenses and non-lenses, on which TPR0 and purity depend. The interval
    tells the chance of the draw only; it knows nothing of a sky that differs from the set. For extremes
    (`tpr0`) it is too short at the lower end: no resample holds a non-lens above the worst one of the set.

    Arguments:
        metrics: functions of ``(labels, scores)``.
        labels: shape [N], in [0, 1].
        scores: shape [N]: probabilities, or logits for metrics of rank.
        seed: of the draw; the same seed gives the same samples for every metric.
        count: number of resamples; 0 gives NaN bounds.
        level: coverage aimed at.

    Example:
        >>> from mlensing.evaluation.metrics import accuracy
        >>> found = intervals({"accuracy": accuracy}, [1, 1, 0, 0], [0.9, 0.8, 0.2, 0.6])["accuracy"]
        >>> found.value, found.low <= found.value <= found.high
        (0.75, True)
    """
    table = [
        [metric(drawn, drawn_scores) for metric in metrics.values()]
        for drawn, drawn_scores in resamples(labels, scores, seed=seed, count=count)
    ]
    columns = np.asarray(table, float).reshape(-1, len(metrics)).T
    return {
        name: Interval(metric(labels, scores), *percentiles(column, level))
        for (name, metric), column in zip(metrics.items(), columns, strict=True)
    }


def percentiles(values: Array, level: float) -> tuple[float, float]:
    """Bounds between which a share ``level`` of the finite values lies; NaN where there is none.

    Example:
        >>> percentiles(np.arange(101.0), 0.5)
        (25.0, 75.0)
    """
    known = values[np.isfinite(values)]  # a resample may lack a figure, such as the precision of nothing
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50.0 * (1.0 - level), 50.0 * (1.0 + level)])
    return float(low), float(high)
