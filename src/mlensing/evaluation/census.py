"""How many lenses a survey holds, from scores and a few labels: the number, its interval, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.progress import track

from mlensing.evaluation.bootstrap import Interval, percentiles
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import Array
from mlensing.evaluation.positive_unlabelled import labelling_share, lens_probability, out_of_fold
from mlensing.evaluation.propensity import Rows, climb, fit_propensity, lens_numbers, log_odds, posterior, rows_of

KEPT = 5000
"""Rows of the highest scores that count one by one; of all others some stand for the rest."""
TOGETHER = 10
"""Resamples that are fitted at once."""
SURE, FEW = 0.9, 10.0
"""Where a row is a lens with at least this probability by its score, labels show the propensity itself; where fewer
lenses than this are so, the number rests on the logistic form alone."""
SCARCE, LOOSE = 30, 5.0
"""With fewer labels, and where the upper bound is so many times the lower, the number may be wrong by as much: in
``benchmarks/positive_unlabelled.py`` a dozen labels gave a tenth of the lenses, or twenty times as many."""


@dataclass(frozen=True)
class Census:
    """What is estimated.

    Attributes:
        number, density: of lenses, in all and per square degree (NaN without an area), with their intervals.
        labelled, unlabelled: rows.
        c: the labelled share of the lenses, with its interval.
        lens, propensity: intercept and coefficients of the log-odds of P(lens | x) and of being labelled, by name.
        elkan_noto: ``c`` and ``number`` of Elkan & Noto (2008) by the score alone, to compare with: they hold where
            labels are random and lenses stand clear of all else.
        sure: expected number of lenses with P(lens | x) above 0.9.
        doubts: what speaks against the number, in words.
        probability: P(lens | x, label) of each row [N], 1 for labelled ones.
        chance: propensity of each row [N].
    """

    number: Interval
    density: Interval
    labelled: int
    unlabelled: int
    c: Interval
    lens: dict[str, float]
    propensity: dict[str, float]
    elkan_noto: dict[str, float]
    sure: float
    doubts: list[str]
    probability: Array = field(repr=False)
    chance: Array = field(repr=False)

    def record(self) -> dict[str, Any]:
        """All but the rows, as JSON can hold it: null for what is not known."""
        plain = {key: value for key, value in vars(self).items() if key not in ("probability", "chance")}
        return {key: _told(value) if isinstance(value, Interval) else value for key, value in plain.items()}


def census(
    score: ArrayLike,
    labelled: ArrayLike,
    *,
    attributes: ArrayLike | None = None,
    names: Sequence[str] = (),
    area: float | None = None,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Census:
    """Count the lenses of a survey by :func:`mlensing.evaluation.propensity.fit_propensity`, whose assumptions hold.

    P(lens | x) is logistic in the score and the attributes, the propensity in the attributes. The interval is a
    percentile bootstrap whose resamples have a Poisson number of labelled and of unlabelled rows: so it holds the noise
    of the labels and of the survey itself, and is one of the number that such an area has on average. Of rows beyond
    the 5,000 of the highest scores some stand for the rest (:func:`representatives`); labelled rows count each.

    Arguments:
        score: [N], log-odds of a finder, or anything else that rises with them.
        labelled: [N], true for labelled lenses; known non-lenses are left out before.
        attributes: [N, A], what the labelling depends on; None if lenses were labelled at random.
        names: of the attributes.
        area: of the survey [square degrees].
        resamples: of the bootstrap; 0 gives NaN bounds.
        level: coverage aimed at.
        seed: of the bootstrap, of the folds of Elkan & Noto's c and of the rows that stand for others.

    Raises:
        ValueError: fewer than two labelled rows, or numbers that are not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> lens = np.arange(20_000) < 200
        >>> found = census(rng.normal(6.0 * lens), lens & (rng.random(20_000) < 0.3), area=10.0, resamples=20)
        >>> found.number.low < 200 < found.number.high, round(found.density.value * 10 / found.number.value, 6)
        (True, 1.0)
    """
    z, s = np.asarray(score, float), np.asarray(labelled, bool)
    given = None if attributes is None else np.asarray(attributes, float).reshape(len(z), -1)
    features = z[:, None] if given is None else np.column_stack([z, given])
    chosen, weights = representatives(z, s, seed=seed)
    part = None if given is None else given[chosen]
    rows = rows_of(features[chosen], part, s[chosen], weights)
    fit = fit_propensity(features[chosen], part, s[chosen], weights=weights)
    lens, chance = (sigmoid(log_odds(b, v, len(z))) for b, v in ((fit.lens, features), (fit.labelling, given)))
    probability = posterior(lens, chance, s)
    drawn, shares = bootstrap(rows, fit.parameters, resamples, seed=seed)
    number = Interval(float(probability.sum()), *percentiles(drawn, level))
    share = Interval(float(s.sum() / number.value), *percentiles(shares, level))
    per = np.nan if area is None else 1 / area
    g = out_of_fold(z[chosen], s[chosen], weights=weights, seed=seed)
    c = labelling_share(g, s[chosen])
    plain = {"c": c, "number": float(weights @ lens_probability(g, c))}
    sure = float(lens[lens > SURE].sum())
    return Census(
        number, Interval(*(float(v * per) for v in number)), int(s.sum()), int((~s).sum()), share,
        _named(fit.lens, ("score", *names)), _named(fit.labelling, names), plain, sure,
        _doubts(int(s.sum()), sure, number), probability, chance,
    )  # fmt: skip


def representatives(
    score: Array, labelled: NDArray[np.bool_], *, seed: int, kept: int = KEPT
) -> tuple[NDArray[np.int64], Array]:
    """Rows that stand for a survey, and how many each stands for.

    The ``kept`` highest scores and all labelled rows stand for themselves. Below, each block of ranks is twice as
    large as the one above, and ``kept / 4`` rows drawn from it stand for it: the less likely a lens, the fewer.

    Example:
        >>> rows, weights = representatives(np.arange(100.0), np.arange(100) == 3, seed=0, kept=12)
        >>> len(rows), weights.sum().round(6).item(), weights.max().round(2).item()
        (25, 100.0, 16.0)
    """
    rank = np.empty(len(score), dtype=np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(len(score))
    alone = (rank < kept) | labelled
    block = np.where(alone, -1, np.floor(np.log2(np.maximum(rank, kept) / kept)))
    rng, rows, weights = np.random.default_rng(seed), [np.flatnonzero(alone)], [np.ones(int(alone.sum()))]
    for number in range(int(block.max()) + 1):
        members = np.flatnonzero(block == number)
        some = np.sort(rng.permutation(members)[: kept // 4])
        rows.append(some)
        weights.append(np.full(len(some), len(members) / max(len(some), 1)))
    return np.concatenate(rows), np.concatenate(weights)


def bootstrap(rows: Rows, parameters: Array, resamples: int, *, seed: int) -> tuple[Array, Array]:
    """Numbers of lenses and labelled shares [resamples], each fitted to rows that come a Poisson number of times.

    This is the stratified bootstrap with Poisson numbers of labelled and of unlabelled rows.
    """
    rng, numbers, shares = np.random.default_rng(seed), [np.empty(0)], [np.empty(0)]
    starts = range(0, resamples, TOGETHER)
    for start in track(starts, "bootstrap", console=Console(stderr=True), transient=True):
        count = min(TOGETHER, resamples - start)
        weights = rng.poisson(rows.weights, (count, len(rows.weights))).astype(float)
        found = lens_numbers(rows, weights, climb(rows, weights, np.tile(parameters, (count, 1))))
        numbers.append(found)
        shares.append(weights[:, rows.labelled].sum(1) / found)
    return np.concatenate(numbers), np.concatenate(shares)


def _told(interval: Interval) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in interval._asdict().items()}


def _named(coefficients: Array, names: Sequence[str]) -> dict[str, float]:
    known = [*names, *(f"attribute {i}" for i in range(len(names), len(coefficients) - 1))]
    return dict(zip(("intercept", *known), coefficients.tolist(), strict=True))


def _doubts(labelled: int, sure: float, number: Interval) -> list[str]:
    found = []
    if labelled < SCARCE:
        found.append(
            f"only {labelled} labelled lenses: the number may be wrong by a factor of several, whatever its bounds"
        )
    if number.high > LOOSE * number.low:
        found.append("the labels do not settle the number: see its bounds")
    if sure < FEW:
        found.append(
            f"only {sure:.1f} lenses have a probability above {SURE} by their scores: the number rests on the logistic "
            "form; a finder that keeps non-lenses out of its highest scores would settle it"
        )
    return found
