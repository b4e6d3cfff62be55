"""What a sweep tries, and which trials go on: pure functions of ranges, results and a seed.

Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): all trials train a little, the best 1/eta of them
eta times as long, and so on; most of the time goes to those that earn it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlensing.errors import ConfigError

Values = dict[str, float]
"""One value for each parameter that is swept."""
Search = Literal["random", "grid"]


@dataclass(frozen=True)
class Range:
    """From where to where a parameter is varied.

    Attributes:
        low, high: bounds, both reached.
        log: equal steps are equal factors.
        figure: what the original plan says it changes, ``accuracy`` or ``recall``.
        claim: by how much, in its words.
    """

    low: float
    high: float
    log: bool
    figure: str
    claim: str

    def at(self, share: float) -> float:
        """The value at a share of the way in [0, 1], to three digits.

        Example:
            >>> [PARAMETERS["lr"].at(share) for share in (0, 0.5, 1)]
            [0.0001, 0.000316, 0.001]
        """
        if self.log:
            return float(f"{self.low * (self.high / self.low) ** share:.3g}")
        return float(f"{self.low + (self.high - self.low) * share:.3g}")

    def spread(self, points: int) -> list[float]:
        """So many values from one bound to the other."""
        return [self.at(i / (points - 1)) for i in range(points)]


PARAMETERS = {
    "lr": Range(1e-4, 1e-3, True, "accuracy", "high (2-5 % accuracy)"),
    "weight_decay": Range(1e-5, 1e-4, True, "accuracy", "medium (1-2 % accuracy)"),
    "dropout": Range(0.1, 0.3, False, "accuracy", "medium (1-2 % accuracy)"),
    "class_weight_ratio": Range(10.0, 100.0, True, "recall", "high (5-10 % recall)"),
}
"""What can be swept; bounds and claims are those of the original plan."""


def ranges_of(given: Mapping[str, Sequence[float]] | None) -> dict[str, Range]:
    """The ranges to sweep: all of ``PARAMETERS``, or those named, between the bounds given.

    Raises:
        ConfigError: an unknown parameter, or bounds that are none.

    Example:
        >>> ranges_of({"dropout": [0.0, 0.5]})["dropout"].spread(3)
        [0.0, 0.25, 0.5]
    """
    if given is None:
        return dict(PARAMETERS)
    return {name: _range_of(name, bounds) for name, bounds in given.items()}


def _range_of(name: str, bounds: Sequence[float]) -> Range:
    where = f"ranges.{name}"
    if name not in PARAMETERS:
        raise ConfigError(where, "this cannot be swept", f"Known: {', '.join(PARAMETERS)}.")
    known = PARAMETERS[name]
    least, most = (math.ulp(0.0) if known.log else 0.0), (0.99 if name == "dropout" else math.inf)
    if len(bounds) != 2 or not least <= bounds[0] < bounds[1] <= most:
        problem = f"expected two rising numbers{' above 0' if known.log else ' in [0, 1)'}, got {list(bounds)}"
        raise ConfigError(where, problem, f"For instance [{known.low:g}, {known.high:g}].")
    return Range(float(bounds[0]), float(bounds[1]), known.log, known.figure, known.claim)


def draw(ranges: Mapping[str, Range], trials: int, *, seed: int, search: Search = "random") -> list[Values]:
    """The values of each trial: the i-th random trial is the same however many there are.

    Arguments:
        ranges: of the parameters.
        trials: how many; a grid has the greatest ``n`` to the power of the number of parameters not above it.
        seed: of random draws.
        search: ``random`` (uniform, or log-uniform) or ``grid``.

    Raises:
        ConfigError: fewer trials than a grid of two values each needs.

    Example:
        >>> two = ranges_of({"lr": [1e-4, 1e-2], "dropout": [0.1, 0.3]})
        >>> draw(two, 5, seed=1, search="grid")[1]
        {'lr': 0.0001, 'dropout': 0.3}
        >>> draw(two, 2, seed=1) == draw(two, 5, seed=1)[:2]
        True
    """
    if search == "grid":
        points = next(n for n in itertools.count(1) if (n + 1) ** len(ranges) > trials)
        if points < 2:
            problem = f"a grid over {len(ranges)} parameters needs {2 ** len(ranges)} trials or more, got {trials}"
            raise ConfigError("trials", problem, "Take more --trials, fewer --ranges, or --search random.")
        columns = [limits.spread(points) for limits in ranges.values()]
        return [dict(zip(ranges, row, strict=True)) for row in itertools.product(*columns)]
    shares = [np.random.default_rng([seed, trial]).random(len(ranges)) for trial in range(trials)]
    return [{name: ranges[name].at(u) for name, u in zip(ranges, row, strict=True)} for row in shares]


def rungs(trials: int, *, min_epochs: int, max_epochs: int, eta: int) -> list[tuple[int, int]]:
    """``(epochs, trials)`` of each rung, the longest last; no rung has less than one trial.

    Example:
        >>> rungs(12, min_epochs=1, max_epochs=9, eta=3)
        [(1, 12), (3, 4), (9, 1)]
        >>> rungs(3, min_epochs=1, max_epochs=9, eta=3)
        [(3, 3), (9, 1)]
    """
    epochs, steps = [max_epochs], 1
    while epochs[0] // eta >= min_epochs and trials // eta**steps >= 1:
        epochs.insert(0, epochs[0] // eta)
        steps += 1
    return [(budget, trials // eta**i) for i, budget in enumerate(epochs)]


def survivors(scores: Mapping[int, float], count: int) -> list[int]:
    """The trials with the ``count`` highest scores, best first; NaN is worse than any number, ties go by number.

    Example:
        >>> survivors({0: 0.7, 1: float("nan"), 2: 0.9, 3: 0.7}, 2)
        [2, 0]
    """
    return sorted(scores, key=lambda trial: (math.isnan(scores[trial]), -scores[trial], trial))[:count]


def sensitivity_row(name: str, limits: Range, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ranges of the figures over the values of one parameter [percentage points], and one standard error of them.

    The error is that of one figure from so few images; the same images serve all values, so differences are surer, but
    another seed may change more.

    Example:
        >>> made = [{"val_auroc": 0.9, "accuracy": a, "recall": 0.5, "images": 100, "lenses": 50} for a in (0.8, 0.9)]
        >>> row = sensitivity_row("lr", PARAMETERS["lr"], made)
        >>> row["accuracy_range"], row["error"], row["claim"]
        (10.0, 3.57, 'high (2-5 % accuracy)')
    """
    row: dict[str, Any] = {"parameter": name, "low": limits.low, "high": limits.high, "values": len(results)}
    for figure in ("accuracy", "recall", "val_auroc"):
        found = [result[figure] for result in results]
        row[f"{figure}_range"] = round(100 * (max(found) - min(found)), 3)
    count = results[0]["lenses" if limits.figure == "recall" else "images"]
    middle = sum(result[limits.figure] for result in results) / len(results)
    row["error"] = round(100 * math.sqrt(middle * (1 - middle) / count), 2)
    return {**row, "claim": limits.claim}
