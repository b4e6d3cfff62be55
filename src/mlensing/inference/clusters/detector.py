"""From the candidates of a field to the probability that its cluster is a lens.

Two logistic regressions: one weighs each candidate by its shape, brightness and partners, one the field by its most
telling candidate, the one with the highest odds once a prior of the distance from the centre has weighed them. Labels
are those of fields, since nobody labels candidates: which candidate of a field is the telling one is learned too, in
turns (multiple instances: Andrews+2003), beginning with the longest that lies along a circle. Every lens has blue
galaxies that are none of its images; if each of them counted, they would drown its arc.

Where only some lenses are labelled and everything else counts as a non-lens, what is learned is g(x) = P(labelled | x),
and P(lens | x) = min(g / c, 1) with c = P(labelled | lens) (Elkan & Noto 2008). c is not the prior: that is
``prevalence``, to which the odds are brought in the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import shift_prevalence, sigmoid
from mlensing.evaluation.positive_unlabelled import lens_probability
from mlensing.provenance import write_json

Array = NDArray[np.float64]

PREVALENCE = 1e-3
"""Share of lenses among the clusters of a survey."""

CORE = 30.0
"""Standard deviation of the radial prior [arcsec]: Einstein radii of clusters are 10 to 50."""

ARC = 1.0
"""``tangential`` above which a candidate is called an arc: e times as long as wide."""

CLIP = 1e-6
NOTHING = -5.0
"""Log-odds of a field without a candidate."""
ROUNDS = 10
"""Turns in which the telling candidates are chosen anew, at most."""


def radial_weight(radius: ArrayLike, core: float = CORE) -> Array:
    """Weight of a candidate by its distance from the BCG: 1 there, 0.5 far out.

    w = 0.5 + 0.5 exp(-r^2 / (2 core^2)): distance makes a candidate doubtful, and never decides alone.

    Arguments:
        radius, core: [arcsec].

    Example:
        >>> radial_weight([0.0, 1e6]).tolist()
        [1.0, 0.5]
    """
    return np.asarray(0.5 + 0.5 * np.exp(-0.5 * (np.asarray(radius, float) / core) ** 2))


@dataclass(frozen=True)
class ClusterDetector:
    """Weights that were fitted to labelled fields.

    Attributes:
        mean, scale, weights: of the candidates' features, in the order of ``features``.
        bias: of the candidates' logit.
        slope, offset: of the field's logit.
        pi_train: share of labelled lenses among the fields of the fit.
        prevalence: share of lenses where it is applied.
        c: share of the lenses that had a label in the fit; 1 where all had. ``evaluation.positive_unlabelled`` finds it
            from the evidence of the fields: ``labelling_share(out_of_fold(evidence, labels), labels)``.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    slope: float
    offset: float
    pi_train: float
    prevalence: float = PREVALENCE
    c: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise ConfigError("prevalence", f"expected 0 to 1, got {self.prevalence}", f"Take {PREVALENCE}.")
        if not 0 < self.c <= 1:
            raise ConfigError("c", f"expected 0 to 1, got {self.c}", "Take the share of lenses that are labelled.")

    @classmethod
    def fit(
        cls,
        candidates: Sequence[pd.DataFrame],
        labels: ArrayLike,
        *,
        prevalence: float = PREVALENCE,
        c: float = 1.0,
    ) -> ClusterDetector:
        """Fit to fields.

        Arguments:
            candidates: of each field, as ``find_candidates`` gives them.
            labels: of each field: 1 for a lens, 0 for everything else.
            prevalence, c: attributes.

        Raises:
            ConfigError: labels that do not hold both classes, or fields without a candidate.
        """
        label = np.asarray(labels, dtype=np.float64)
        if set(np.unique(label)) != {0.0, 1.0} or len(label) != len(candidates):
            raise ConfigError("labels", "expected a 0 or a 1 for each field, and both of them", "Label more fields.")
        every = [features(table) for table in candidates]
        if not sum(map(len, every)):
            raise ConfigError("candidates", "no field has one", "Give deeper images.")
        stacked = np.concatenate(every)
        mean, scale = stacked.mean(0), stacked.std(0) + CLIP
        of_candidates = _of_telling([(x - mean) / scale for x in every], [prior(table) for table in candidates], label)
        detector = cls(
            tuple(mean.tolist()),
            tuple(scale.tolist()),
            tuple(of_candidates.coef_[0].tolist()),
            float(of_candidates.intercept_[0]),
            1.0,
            0.0,
            float(label.mean()),
            prevalence,
            c,
        )
        evidence = np.array([[detector.evidence(table)] for table in candidates])
        of_fields = LogisticRegression(C=1.0).fit(evidence, label)
        return replace(detector, slope=float(of_fields.coef_[0, 0]), offset=float(of_fields.intercept_[0]))

    def judged(self, candidates: pd.DataFrame) -> pd.DataFrame:
        """The candidates with ``weight`` (radial prior), ``odds`` (weighted) and ``kind``, the best first.

        ``kind`` is ``arc``, or ``image`` where there are partners, or ``blue`` for all else.
        """
        weight = radial_weight(candidates["radius"])
        bent, paired = candidates["tangential"] > ARC, candidates["partners"] > 0
        kind = np.where(bent, "arc", np.where(paired, "image", "blue"))
        found = candidates.assign(weight=weight, odds=weight * np.exp(self._logit(candidates)), kind=kind)
        return found.sort_values("odds", ascending=False, ignore_index=True)

    def evidence(self, candidates: pd.DataFrame) -> float:
        """Weighted log-odds of the most telling candidate; ``NOTHING`` where there is none, and at least."""
        return float(np.max(prior(candidates) + self._logit(candidates), initial=NOTHING))

    def probability(self, candidates: pd.DataFrame) -> float:
        """Probability that the field is a lens, where a share ``prevalence`` of the fields are."""
        labelled = float(sigmoid(self.slope * self.evidence(candidates) + self.offset))
        # as many lenses are hidden among the unlabelled fields as c says, in the prior as in the probability
        lens, share = lens_probability([labelled, self.pi_train], self.c).clip(CLIP, 1 - CLIP).tolist()
        return float(sigmoid(shift_prevalence(np.log(lens / (1 - lens)), share, self.prevalence)))

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> ClusterDetector:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: a file that is not one.
        """
        try:
            content = json.loads(Path(path).read_text())
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            return cls(**values)
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
            raise ConfigError(path, f"not a saved detector ({error})", "Fit one and save it.") from error

    def _logit(self, candidates: pd.DataFrame) -> Array:
        scaled = (features(candidates) - np.array(self.mean)) / np.array(self.scale)
        return np.asarray(np.clip(scaled @ np.array(self.weights) + self.bias, -30.0, 30.0))


def prior(candidates: pd.DataFrame) -> Array:
    """Log of the radial weight of each candidate."""
    return np.asarray(np.log(radial_weight(candidates["radius"])))


def _of_telling(every: Sequence[Array], priors: Sequence[Array], label: Array) -> LogisticRegression:
    """The regression of labels on the most telling candidate of each field.

    Arguments:
        every: standardised features of each field's candidates.
        priors: log of their radial weights.
        label: of the fields.
    """
    known = [k for k, x in enumerate(every) if len(x)]
    best = [int(np.argmax(every[k][:, 0] + every[k][:, 1])) for k in known]
    for _ in range(ROUNDS):
        model = LogisticRegression(C=1.0).fit(
            np.stack([every[k][b] for k, b in zip(known, best, strict=True)]), label[known]
        )
        now = [int(np.argmax(model.decision_function(every[k]) + priors[k])) for k in known]
        if now == best:
            break
        best = now
    return model


def features(candidates: pd.DataFrame) -> Array:
    """[N, 5]: shape around the centre, log of length and of width, log S/N, log of 1 + partners."""
    return np.column_stack(
        [
            candidates["tangential"],
            np.log(candidates["length"]),
            np.log(candidates["width"]),
            np.log(candidates["signal"].clip(lower=1.0)),
            np.log1p(candidates["partners"]),
        ]
    ).astype(np.float64)
