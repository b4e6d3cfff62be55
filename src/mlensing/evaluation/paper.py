"""The paper's table from arrays: figures of each member and of the whole, and what the seed claims beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlensing.evaluation.bootstrap import Interval, intervals
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.fusion import disagreements, error_correlations
from mlensing.evaluation.metrics import METRICS, Metric

RANKS = ("roc_auc", "tpr_at_fpr_1e-3", "tpr_at_fpr_1e-2")
STATED = ("accuracy", "ece", "mce")
BEFORE = ("ece", "mce")
"""Figures of order, of calibrated probabilities, and of those before any calibration."""
CLAIMS = {"accuracy": 0.963, "roc_auc": 0.989, "ece": 0.05, "disagreement": 0.1}
"""What the seed's document claims: ``ece`` below, the others above; its disagreement is the spread of logits."""
FULL = 50_000
"""Images of the paper's set: with fewer the figures are marked as small."""


class Paper(NamedTuple):
    """Scores of the test split: labels [N], calibrated log-odds of all members and of the ensemble [N].

    ``raw`` [N] is the ensemble before any calibration: the mean of its members' logits.
    """

    label: Array
    members: Mapping[str, Array]
    ensemble: Array
    raw: Array


def measure(
    labels: ArrayLike, odds: ArrayLike, raw: ArrayLike, *, seed: int = 0, count: int = 200
) -> dict[str, Interval]:
    """The figures of the paper's table with their bootstrap intervals.

    Arguments:
        labels: [N], in [0, 1].
        odds: [N], calibrated log-odds.
        raw: [N], the same before any calibration; ``ece_before`` and ``mce_before`` are of these.
        seed, count: of the bootstrap.

    Example:
        >>> found = measure([1, 1, 0, 0], [2.0, 1.0, -1.0, -2.0], [4.0, 2.0, -2.0, -4.0], count=5)
        >>> found["accuracy"].value, found["ece"].value > found["ece_before"].value
        (1.0, True)
    """
    before: dict[str, Metric] = {f"{name}_before": METRICS[name] for name in BEFORE}
    return {
        **intervals({name: METRICS[name] for name in RANKS}, labels, odds, seed=seed, count=count),
        **intervals({name: METRICS[name] for name in STATED}, labels, sigmoid(odds), seed=seed, count=count),
        **intervals(before, labels, sigmoid(raw), seed=seed, count=count),
    }


def apart(labels: ArrayLike, logit: ArrayLike, *, seed: int = 0, count: int = 200) -> dict[str, Any]:
    """How differently members judge: ``spread`` and ``disagreement`` with intervals, and each pair's figures.

    The first two are those of ``fusion.diversity``; ``pairs`` holds matrices [M, M].

    Arguments:
        labels: [N], in [0, 1].
        logit: [M, N], calibrated; at least two members.

    Example:
        >>> apart([1, 0], [[1.0, -1.0], [-1.0, -1.0]], count=5)["disagreement"].value
        0.5
    """
    z = np.asarray(logit, float)
    first, second = np.triu_indices(len(z), 1)
    of_images = {"spread": z.std(0), "disagreement": ((z >= 0)[first] != (z >= 0)[second]).mean(0)}
    means = {n: intervals({n: _mean}, labels, values, seed=seed, count=count)[n] for n, values in of_images.items()}
    correlation = error_correlations(z, labels)
    pairs = {"disagreement": disagreements(z).tolist(), "error_correlation": correlation.tolist()}
    return {**means, "error_correlation": float(np.mean(correlation[first, second])), "pairs": pairs}


def _mean(labels: ArrayLike, values: ArrayLike) -> float:
    return float(np.mean(np.asarray(values, float)))


def claims(measured: Mapping[str, Interval]) -> dict[str, dict[str, Any]]:
    """What is claimed, what was measured, and whether that reaches it; what is missing or NaN reaches nothing.

    Example:
        >>> found = claims({"accuracy": Interval(0.97, 0.96, 0.98), "ece": Interval(0.06, 0.05, 0.07)})
        >>> {name: claim["reached"] for name, claim in found.items()}
        {'accuracy': True, 'roc_auc': False, 'ece': False, 'disagreement': False}
    """
    nothing = Interval(*[float("nan")] * 3)
    values = {name: measured.get(name, nothing).value for name in CLAIMS}
    met = {name: values[name] < aim if name == "ece" else values[name] >= aim for name, aim in CLAIMS.items()}
    written = plain(measured)
    return {name: {"claim": aim, "measured": written.get(name), "reached": met[name]} for name, aim in CLAIMS.items()}


def plain(value: Any) -> Any:
    """Figures as JSON has them: intervals as objects, null for NaN, five decimals.

    Example:
        >>> plain({"a": Interval(0.123456, 0.1, float("nan"))})
        {'a': {'value': 0.12346, 'low': 0.1, 'high': None}}
    """
    if isinstance(value, Interval):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return round(float(value), 5) if np.isfinite(value) else None


def confusion(labels: ArrayLike, odds: ArrayLike) -> Array:
    """Numbers of images [2, 2] by truth (rows: non-lens, lens) and by what probability 0.5 calls them (columns).

    Example:
        >>> confusion([1, 1, 0], [2.0, -1.0, -3.0]).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    truth, called = np.asarray(labels, float) >= LENS, np.asarray(odds, float) >= 0
    cells = np.bincount(2 * truth.astype(int) + called, minlength=4)
    return cells.reshape(2, 2).astype(float)
