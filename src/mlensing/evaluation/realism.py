"""How well a simulated sky passes for a real one: discriminators by cross-validation, and what gives it away.

Conventions: score and label are higher for *simulated*; ROC AUC 0.5 means that nobody can tell, 1 that anybody can.
Every score is made by a discriminator that did not see its image (stratified folds).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlensing.errors import ConfigError
from mlensing.evaluation.appearance import appearance, scaled
from mlensing.evaluation.bootstrap import intervals
from mlensing.evaluation.curves import Array
from mlensing.evaluation.metrics import roc_auc
from mlensing.evaluation.report import Estimate
from mlensing.provenance import write_json

FOLDS = 5
FEWEST = 8
"""Fewer images of either kind teach a discriminator nothing."""
FILTERS, WIDTH = 48, 5
"""Random filters of the pixel discriminator, and their pixels a side."""
AIM = 0.65


class Telling(BaseModel):
    """One feature alone as a discriminator.

    Attributes:
        feature: its name in ``appearance``.
        auc: 0.5 or more.
        simulated_is: ``higher`` or ``lower`` than the real.
        real, simulated: medians.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    feature: str
    auc: float
    simulated_is: str
    real: float
    simulated: float


class Realism(BaseModel):
    """What told the simulated sky from the real one.

    Attributes:
        title: what was compared.
        real, simulated: numbers of images.
        discriminators: name -> ROC AUC with its interval over images.
        telling: features, the most telling first.
        skipped: discriminator -> why there is none.
        score: [real + simulated] mean rank over the discriminators, 0..1, real images first; 1 is most like simulated.
        provenance: command, settings and versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str
    real: int
    simulated: int
    discriminators: dict[str, Estimate]
    telling: tuple[Telling, ...]
    skipped: dict[str, str] = Field(default_factory=dict)
    score: tuple[float, ...]
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def worst(self) -> float:
        """AUC of the best discriminator."""
        return max(estimate.value for estimate in self.discriminators.values())

    def fakest(self, count: int) -> list[int]:
        """Simulated images that give themselves away most, as positions among the simulated.

        Images a discriminator of pixels, of features and of the finder all call simulated come first.
        """
        return _first(-np.asarray(self.score[self.real :]), count)

    def realest(self, count: int) -> list[int]:
        """Real images that are least like any simulated one, as positions among the real."""
        return _first(np.asarray(self.score[: self.real]), count)

    def summary(self) -> list[str]:
        """The result in a few lines of text."""
        lines = [f"{self.title}: {self.real} real, {self.simulated} simulated; 0.5 is alike, 1 is told apart"]
        for name, e in self.discriminators.items():
            lines.append(f"  {name:<10} ROC AUC {e.value:.3f} ({e.low:.3f} .. {e.high:.3f})")
        lines += [f"  {name:<10} skipped: {reason}" for name, reason in self.skipped.items()]
        lines += [f"  {t.feature}: {t.simulated_is} in the simulated (AUC {t.auc:.3f})" for t in self.telling[:5]]
        return lines

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))


def _first(values: Array, count: int) -> list[int]:
    return [int(row) for row in np.argsort(values, kind="stable")[:count]]


def compare(
    real: NDArray[np.float32],
    simulated: NDArray[np.float32],
    *,
    composite: bool,
    features: tuple[ArrayLike, ArrayLike] | None = None,
    skipped: Mapping[str, str] | None = None,
    seed: int = 0,
    resamples: int = 500,
    title: str = "Realism",
    provenance: Mapping[str, Any] | None = None,
) -> Realism:
    """Try to tell simulated images from real ones, three ways.

    ``pixels``: logistic regression on responses to random filters, pooled in rings, which see texture and shape.
    ``appearance``: extremely randomised trees (Geurts+2006) on the named features of `appearance`.
    ``finder``: logistic regression on a network's own features, when given.

    Arguments:
        real, simulated: [N, band, y, x], the same kind, size and bands.
        composite: 8-bit colour, 0..255; else flux.
        features: a finder's features of the real and of the simulated images, [N, F] each.
        skipped: discriminator -> why it is not there, for the record.
        seed: of folds, filters, trees and bootstrap.
        resamples: bootstrap samples behind each interval.

    Raises:
        ConfigError: too few images, or of different shapes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> dark, bright = rng.normal(size=(2, 40, 1, 32, 32)).astype(np.float32)
        >>> bright[:, :, 12:20, 12:20] += 5
        >>> compare(dark, bright, composite=False, resamples=0).worst > 0.95
        True
    """
    _check(real, simulated)
    label = np.repeat([0.0, 1.0], [len(real), len(simulated)])
    both = np.concatenate([real, simulated])
    looks = appearance(both, composite=composite)
    bases: dict[str, tuple[Any, Array]] = {
        "pixels": (_linear(0.01), texture(scaled(both, composite=composite), seed=seed)),
        "appearance": (_trees(seed), np.stack(list(looks.values()), 1)),
    }
    if features is not None:
        bases["finder"] = (_linear(0.01), np.concatenate([np.asarray(part, float) for part in features]))
    scores = {name: out_of_fold(model, x, label, seed=seed) for name, (model, x) in bases.items()}
    found = {name: _estimate(label, score, seed, resamples) for name, score in scores.items()}
    ranks = np.mean([np.argsort(np.argsort(score)) / (len(label) - 1) for score in scores.values()], axis=0)
    return Realism(
        title=title,
        real=len(real),
        simulated=len(simulated),
        discriminators=found,
        telling=rank_features(looks, label),
        skipped=dict(skipped or {}),
        score=tuple(ranks.tolist()),
        provenance=dict(provenance or {}),
    )


def _check(real: NDArray[np.float32], simulated: NDArray[np.float32]) -> None:
    if min(len(real), len(simulated)) < FEWEST:
        problem = f"{len(real)} real and {len(simulated)} simulated images, expected at least {FEWEST} of each"
        raise ConfigError("realism", problem, "Give more images.")
    if real.shape[1:] != simulated.shape[1:]:
        problem = f"real images of shape {real.shape[1:]}, simulated of {simulated.shape[1:]}"
        raise ConfigError("realism", problem, "Compare the same bands at the same size.")


def rank_features(looks: Mapping[str, Array], label: Array) -> tuple[Telling, ...]:
    """Each feature's own AUC, the most telling first.

    Example:
        >>> rank_features({"size": np.array([1.0, 2.0, 8.0, 9.0])}, np.array([0.0, 0.0, 1.0, 1.0]))[0].simulated_is
        'higher'
    """
    fake = label > 0.5
    found = []
    for name, values in looks.items():
        auc = roc_auc(label, values)
        direction = "higher" if auc >= 0.5 else "lower"
        medians = {"real": float(np.median(values[~fake])), "simulated": float(np.median(values[fake]))}
        found.append(Telling(feature=name, auc=max(auc, 1 - auc), simulated_is=direction, **medians))
    return tuple(sorted(found, key=lambda telling: -telling.auc))


def out_of_fold(model: Any, x: Array, label: Array, *, seed: int) -> Array:
    """Probability [N] of class 1 for each row of ``x`` [N, F], from models that did not see it."""
    score = np.zeros(len(label))
    folds = min(FOLDS, int(min(label.sum(), (1 - label).sum())))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, label):
        score[test] = model.fit(x[train], label[train]).predict_proba(x[test])[:, 1]
    return score


def _linear(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=300))


def _trees(seed: int) -> Any:
    return ExtraTreesClassifier(300, min_samples_leaf=3, class_weight="balanced", random_state=seed)


def _estimate(label: Array, score: Array, seed: int, resamples: int) -> Estimate:
    found = intervals({"auc": roc_auc}, label, score, seed=seed, count=resamples)["auc"]
    return Estimate(value=found.value, low=found.low, high=found.high)


def texture(images: NDArray[np.float32], *, seed: int = 0) -> Array:
    """Logarithmic mean absolute response to random zero-mean filters, and mean light, within each of three rings.

    A convolutional network of one layer whose filters are not learnt: with a hundred real images learnt ones would fit
    the images, not the difference (Saxe+2011 for how far random filters carry).

    Arguments:
        images: [N, band, y, x] in the unit of ``scaled``.

    Returns:
        [N, 3 (FILTERS + bands)].
    """
    bands, height, width = images.shape[1:]
    filters = np.random.default_rng(seed).normal(size=(FILTERS, bands, WIDTH, WIDTH))
    filters -= filters.mean((2, 3), keepdims=True)
    transfer = np.fft.rfft2(filters, (height, width)).astype(np.complex64)
    squashed = np.arcsinh(images).astype(np.float32)
    y, x = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    radius = np.hypot(y[:, None], x) / (min(height, width) / 2)
    rings = np.stack([(radius >= low) & (radius < high) for low, high in ((0, 0.25), (0.25, 0.6), (0.6, 1.0))])
    weights = (rings / rings.sum((1, 2), keepdims=True)).reshape(3, -1).astype(np.float32)
    rows = []
    for image in squashed:
        response = np.fft.irfft2((np.fft.rfft2(image) * transfer).sum(1), (height, width))
        strength = np.log(np.abs(response).reshape(FILTERS, -1) @ weights.T + 1e-3)
        rows.append(np.concatenate([strength.ravel(), (image.reshape(bands, -1) @ weights.T).ravel()]))
    return np.asarray(rows, float)
