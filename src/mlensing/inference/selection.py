"""Which members, and which rule: chosen on validation data, with the reasons written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedKFold

from mlensing.contract import Calibration, Fusion
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.fusion import RULES, diversity, fit_fusion, fuse, members_log_odds
from mlensing.evaluation.metrics import ece, roc_auc, tpr_at_fpr

Array = NDArray[np.float64]
FOLDS = 5
SURE = 30.0
"""Log-odds are bounded by this before a loss is taken of them."""


class Candidate(NamedTuple):
    """Some members under a rule, with the loss of each image when its fold was left out of the fit."""

    members: tuple[int, ...]
    rule: str
    loss: Array
    odds: Array


class Selection(NamedTuple):
    """What was chosen: keys, their fusion, and the record of how and why."""

    keys: tuple[str, ...]
    fusion: Fusion
    record: dict[str, Any]


def select(
    logit: ArrayLike,
    variance: ArrayLike,
    labels: ArrayLike,
    calibrations: Mapping[str, Calibration],
    *,
    rules: Sequence[str] = RULES,
    keep_all: bool = False,
    seed: int = 0,
    physics: ArrayLike = float("nan"),
) -> Selection:
    """Members and rule with the smallest cross-validated log loss.

    For each rule members are added one by one, each time the one that lowers the loss most (Caruana+2004); the fusion
    is fitted on four fifths of the data and judged on the fifth. Of all candidates within one standard error of the
    best, that with the plainest rule (in the order of ``RULES``) and the fewest members is taken.

    Arguments:
        logit, variance: [M, N] of members on validation data.
        labels: [N]; rows that are NaN are left out.
        calibrations: of the members, by key, in their order.
        rules: to choose from.
        keep_all: take every member, and choose the rule only.
        seed: of the folds.
        physics: [M, N] residuals of the members' maps, NaN where one has none; fewer than two leave ``physics`` out.

    Raises:
        ConfigError: fewer lenses or non-lenses than folds, or the rule ``physics`` alone without two that have maps.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(0, 2, 1000)
        >>> y = (rng.random(1000) < sigmoid(truth)).astype(float)
        >>> z = np.stack([truth, rng.normal(size=1000)])
        >>> select(z, np.ones_like(z), y, {"good": Calibration(), "noise": Calibration()}).keys
        ('good',)
    """
    y = np.asarray(labels, float)
    known = np.isfinite(y) & np.isfinite(np.asarray(logit, float)).all(0)
    every = (logit, variance, np.broadcast_to(physics, np.shape(logit)))
    (z, v, loss), y = (np.asarray(part, float)[:, known] for part in every), y[known]
    smallest = min(int((y >= LENS).sum()), int((y < LENS).sum()))
    if smallest < FOLDS:
        problem = f"{smallest} images of one class, expected {FOLDS} or more of each"
        raise ConfigError("selection", problem, "Give more labelled validation images.")
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(z.T, y >= LENS))
    keys, maps = tuple(calibrations), list(calibrations.values())
    found = [c for rule in _fitting(rules, loss) for c in _paths((z, v, loss), y, maps, rule, folds, keep_all)]
    best = min(found, key=lambda c: float(c.loss.mean()))
    chosen = min((c for c in found if _as_good(c, best)), key=lambda c: (RULES.index(c.rule), len(c.members)))
    rows = list(chosen.members)
    fusion = fit_fusion(chosen.rule, z[rows], v[rows], y, [maps[row] for row in rows], loss[rows])
    record = _record(found, best, chosen, keys, members_log_odds(z, maps), y)
    return Selection(tuple(keys[row] for row in rows), fusion, record)


def _fitting(rules: Sequence[str], physics: Array) -> list[str]:
    """The rules that these members can follow: a factor of one alone, or of none, would change nothing."""
    enough = int(np.isfinite(physics).all(1).sum()) >= 2
    if not enough and list(rules) == ["physics"]:
        problem = "the rule physics needs two members that predict maps"
        raise ConfigError("rule", problem, "Train some with `loss: {bce: 1.0, kappa: 1.0, poisson: 0.1}`.")
    return [rule for rule in rules if enough or rule != "physics"]


Scores = tuple[Array, Array, Array]
"""Logits, variances and residuals of maps [M, N]."""


def _paths(
    scores: Scores, y: Array, maps: list[Calibration], rule: str, folds: list[Any], keep_all: bool
) -> Iterator[Candidate]:
    """The candidates of one rule: greedily grown, or everybody at once."""
    everybody = tuple(range(len(scores[0])))
    if keep_all:
        yield _judge(scores, y, maps, rule, folds, everybody)
        return
    taken: tuple[int, ...] = ()
    while len(taken) < len(everybody):
        grown = [(*taken, row) for row in everybody if row not in taken]
        tried = [_judge(scores, y, maps, rule, folds, members) for members in grown]
        best = min(tried, key=lambda c: float(c.loss.mean()))
        taken = best.members
        yield best


def _judge(
    scores: Scores, y: Array, maps: list[Calibration], rule: str, folds: list[Any], members: tuple[int, ...]
) -> Candidate:
    rows, odds = list(members), np.empty(y.size)
    own = [maps[row] for row in rows]
    for fitted, judged in folds:
        z, v, loss = (part[np.ix_(rows, fitted)] for part in scores)
        fusion = fit_fusion(rule, z, v, y[fitted], own, loss)
        z, v, loss = (part[np.ix_(rows, judged)] for part in scores)
        odds[judged] = fuse(fusion, z, v, own, loss)[0]
    odds = odds.clip(-SURE, SURE)
    return Candidate(members, rule, np.asarray(np.logaddexp(0, odds) - y * odds), odds)


def _as_good(candidate: Candidate, best: Candidate) -> bool:
    """Whether the loss is within one standard error, of the difference image by image, of the best."""
    worse = candidate.loss - best.loss
    return bool(worse.mean() <= worse.std() / np.sqrt(worse.size))


def figures(odds: Array, y: Array) -> dict[str, float]:
    """Log loss, ROC area, recall at a false positive rate of 1 %, and calibration error of log-odds [N]."""
    p, z = sigmoid(odds), odds.clip(-SURE, SURE)
    return {
        "log_loss": round(float(np.mean(np.logaddexp(0, z) - y * z)), 5),
        "roc_auc": round(roc_auc(y, odds), 5),
        "tpr_at_fpr_1e-2": round(tpr_at_fpr(y, odds, fpr=1e-2), 5),
        "ece": round(ece(y, p), 5),
    }


def _record(
    found: list[Candidate], best: Candidate, chosen: Candidate, keys: tuple[str, ...], odds: Array, y: Array
) -> dict[str, Any]:
    """Every candidate's figures, each member's, and the choice in words."""

    def named(c: Candidate) -> dict[str, Any]:
        return {"rule": c.rule, "members": [keys[row] for row in c.members], **figures(c.odds, y)}

    reason = "it has the smallest log loss"
    if chosen is not best:
        other = named(best)
        reason = (
            f"it is plainer and within one standard error of the best: {other['rule']} of "
            f"{', '.join(other['members'])} (log loss {other['log_loss']:.4f})"
        )
    apart = diversity(odds, y)._asdict() if len(odds) > 1 else {}
    taken = named(chosen)
    return {
        "images": int(y.size),
        "chosen": taken,
        "why": f"{taken['rule']} of {', '.join(taken['members'])} (log loss {taken['log_loss']:.4f}): {reason}.",
        "members": {key: figures(row, y) for key, row in zip(keys, odds, strict=True)},
        "diversity": {name: round(value, 5) for name, value in apart.items()},
        "candidates": [named(candidate) for candidate in found],
    }
