"""Which images to label next: by expected lenses, by what is not known of them, by how unlike each other they are.

Arrays in, rows out, best first. The uncertainty of an image is the entropy of its label under the expected probability
(uncertainty sampling, Lewis & Gale 1994), with the deviation of the logit averaged over (MacKay 1992). Diversity is
greedy k-centre: each next image is the farthest from all that are chosen or labelled (Gonzalez 1985; Sener & Savarese
2018, arXiv:1708.00489). ``mixed`` lets the three take turns. All ties go to the earlier row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import Array

Rows = NDArray[np.int64]
Points = NDArray[np.float32]
Strategy = Literal["mixed", "expected", "uncertain", "diverse", "random"]
SHORTLIST = 10
"""The third turn of ``mixed`` chooses among so many times the budget of the most promising images."""
MOST = 50_000
"""``diverse`` looks at so many images, drawn at random where there are more."""
BLOCK = 256
"""Labelled points whose distances are in memory at once."""


class Pool(NamedTuple):
    """Images that may be chosen: log-odds and their deviation [N], a place in some space [N, D], places labelled."""

    logit: Array
    deviation: Array
    points: Points
    labelled: Points


def expected_probability(logit: ArrayLike, deviation: ArrayLike) -> Array:
    """Mean of sigmoid(z) over z ~ N(logit, deviation^2): sigmoid(logit / sqrt(1 + pi deviation^2 / 8)) (MacKay 1992).

    Example:
        >>> expected_probability([-4.0, -4.0], [0.0, 4.0]).round(3).tolist()
        [0.018, 0.185]
    """
    variance = np.square(np.asarray(deviation, float))
    return np.asarray(sigmoid(np.asarray(logit, float) / np.sqrt(1 + np.pi * variance / 8)))


def entropy(probability: ArrayLike) -> Array:
    """Bits that a label of this probability tells: 1 at 0.5, 0 at 0 and 1.

    Example:
        >>> entropy([0.0, 0.5, 0.9]).round(3).tolist()
        [0.0, 1.0, 0.469]
    """
    p = np.asarray(probability, float)
    inside = (p > 0) & (p < 1)
    q = np.where(inside, p, 0.5)
    return np.where(inside, -q * np.log2(q) - (1 - q) * np.log2(1 - q), 0.0)


def acquire(pool: Pool, budget: int, strategy: Strategy = "mixed", seed: int = 0) -> Rows:
    """Rows of the images to label next, in order; all of them if there are no more than the budget.

    - ``expected``: the highest log-odds: most lenses now.
    - ``uncertain``: the highest entropy: most to learn from each label by itself.
    - ``diverse``: the farthest from all that are chosen or labelled: the whole space, outliers first.
    - ``mixed``: in turn the likeliest lens, the most uncertain image, and of those that promise most by (expected
      probability + entropy) the one for which this x the distance from all that are chosen or labelled is largest. So
      each wish has a third of the budget: lenses come early, and not all labels go to one kind of image.
    - ``random``: to compare with.

    Arguments:
        pool: of images without a label, all numbers finite.
        budget: how many.
        strategy: one of the above.
        seed: of ``random``, and of the draw of ``diverse`` among very many images.

    Raises:
        ValueError: a budget below 1, or numbers that are not finite.

    Example:
        >>> logit, points = np.array([-3.0, 0.1, 0.0, -5.0]), np.array([[0.0], [1.0], [1.1], [9.0]], np.float32)
        >>> pool = Pool(logit, np.zeros(4), points, points[:0])
        >>> acquire(pool, 2, "uncertain").tolist(), acquire(pool, 2, "mixed").tolist()
        ([2, 1], [1, 2])
    """
    if budget < 1:
        raise ValueError(f"budget must be 1 or more, got {budget}")
    if not all(np.isfinite(part).all() for part in pool):
        raise ValueError("the pool holds numbers that are not finite")
    budget = min(budget, len(pool.logit))
    return STRATEGIES[strategy](pool, budget, seed) if budget else np.empty(0, np.int64)


def _expected(pool: Pool, budget: int, seed: int) -> Rows:
    return _highest(pool.logit, budget)


def _uncertain(pool: Pool, budget: int, seed: int) -> Rows:
    return _highest(entropy(expected_probability(pool.logit, pool.deviation)), budget)


def _mixed(pool: Pool, budget: int, seed: int) -> Rows:
    third = budget // 3
    rankings = [_expected(pool, budget, seed), _uncertain(pool, budget, seed)]
    taken = _in_turn(rankings, budget - third)
    probability = expected_probability(pool.logit, pool.deviation)
    value = probability + entropy(probability)
    rows = _highest(value, SHORTLIST * budget)
    rows = rows[~np.isin(rows, taken)]
    known = np.concatenate([pool.labelled, pool.points[taken]])
    far = rows[spread(pool.points[rows], third, value=value[rows], labelled=known)] if third else rows[:0]
    return _in_turn([taken[::2], taken[1::2], far], budget)


def _in_turn(rankings: Sequence[Rows], count: int) -> Rows:
    """The best of each ranking that was not taken before, in turn."""
    queues, taken = [iter(rows.tolist()) for rows in rankings], dict[int, None]()
    while len(taken) < count:
        for queue in queues:
            row = next((row for row in queue if row not in taken), None)
            if row is not None:
                taken[row] = None
    return np.array(list(taken)[:count], np.int64)


def _diverse(pool: Pool, budget: int, seed: int) -> Rows:
    count = len(pool.logit)
    rows = np.arange(count)
    if count > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(count, max(MOST, budget), replace=False))
    return rows[spread(pool.points[rows], budget, labelled=pool.labelled)]


def _random(pool: Pool, budget: int, seed: int) -> Rows:
    return np.random.default_rng(seed).permutation(len(pool.logit))[:budget]


STRATEGIES: dict[str, Callable[[Pool, int, int], Rows]] = {
    "mixed": _mixed,
    "expected": _expected,
    "uncertain": _uncertain,
    "diverse": _diverse,
    "random": _random,
}


def _highest(value: Array, count: int) -> Rows:
    return np.argsort(-value, kind="stable")[:count]


def spread(points: Points, count: int, *, value: Array | None = None, labelled: Points | None = None) -> Rows:
    """Greedy k-centre: rows of ``count`` points, each with the largest value x distance from those before it.

    Without labelled points the first is that of the largest value, or without values the one nearest to the mean.

    Arguments:
        points: [N, D].
        count: how many, at most N.
        value: [N], positive; 1 if not given.
        labelled: [n, D], which are kept away from too.

    Example:
        >>> spread(np.array([[0.0], [4.0], [5.0], [9.0]], np.float32), 3).tolist()
        [1, 3, 0]
    """
    x = np.asarray(points, np.float32)
    square = np.square(x).sum(1)
    near, taken = _nearest(x, square, labelled), np.zeros(len(x), bool)
    if np.isinf(near).all():
        gain = -_square_distance(x, square, x.mean(0)) if value is None else value
    else:
        gain = np.sqrt(near) if value is None else value * np.sqrt(near)
    chosen: list[int] = []
    for _ in range(count):
        row = int(np.argmax(np.where(taken, -np.inf, gain)))
        chosen.append(row)
        taken[row] = True
        near = np.minimum(near, _square_distance(x, square, x[row]))
        gain = np.sqrt(near) if value is None else value * np.sqrt(near)
    return np.array(chosen, np.int64)


def _nearest(x: Points, square: Points, labelled: Points | None) -> Array:
    """Square distance [N] from the nearest labelled point; infinity if there is none."""
    near = np.full(len(x), np.inf)
    others = np.empty((0, x.shape[1]), np.float32) if labelled is None else np.asarray(labelled, np.float32)
    for start in range(0, len(others), BLOCK):
        block = others[start : start + BLOCK]
        found = square[:, None] + np.square(block).sum(1) - 2 * x @ block.T
        near = np.minimum(near, found.min(1).clip(min=0))
    return near


def _square_distance(x: Points, square: Points, point: Points) -> Array:
    return np.asarray((square + np.square(point).sum() - 2 * (x @ point)).clip(min=0), float)
