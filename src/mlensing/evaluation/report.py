"""`Report`: everything measured on one set of scores, frozen, written as JSON and read back.

Conventions: NaN inside, ``null`` in the file. ``evaluation.measure`` makes reports.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mlensing.errors import ConfigError
from mlensing.provenance import write_json

Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
Numbers = tuple[Number, ...]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Estimate(_Frozen):
    """A figure with the ends of its bootstrap interval."""

    value: Number
    low: Number
    high: Number


class Tally(_Frozen):
    """Rows given, and what became of them. ``lenses + others + unlabelled + unscored = rows``."""

    rows: int
    lenses: int
    others: int
    unlabelled: int
    unscored: int


class Curves(_Frozen):
    """Thinned curves, as columns of points."""

    fpr: Numbers = ()
    tpr: Numbers = ()
    rank: Numbers = ()
    purity: Numbers = ()
    completeness: Numbers = ()
    sky_purity: Numbers = ()
    sky_completeness: Numbers = ()
    confidence: Numbers = ()
    observed: Numbers = ()
    members: Numbers = ()


class Scores(_Frozen):
    """The table of scores, as columns; ``flag`` is empty where nobody looked for what is unlike the training data."""

    file: tuple[str, ...]
    label: Numbers
    logit: Numbers
    probability: Numbers
    flag: tuple[str, ...] = ()


class MemberReport(_Frozen):
    """One member of an ensemble by itself: its figures, and its ROC curve."""

    metrics: dict[str, Estimate]
    fpr: Numbers
    tpr: Numbers


class Report(_Frozen):
    """What one set of scores shows.

    Attributes:
        title: what was scored, for the head of the page.
        counts: rows by kind.
        prevalence: share of lenses among the labelled rows; NaN without any.
        sky_prevalence: share of lenses for which `Curves.sky_purity` holds; None if none was stated.
        metrics: by name of `mlensing.evaluation.metrics.METRICS`; empty for a ranking without labels.
        curves: points of the figures.
        members: of an ensemble, by key, each calibrated by itself.
        diversity: of two members or more: spread, disagreement, error_correlation (``evaluation.fusion.diversity``).
        uncalibrated: ``ece`` and ``mce`` before any calibration, if logits from before it were given.
        scores: one row an image, in the order given.
        level: coverage that the intervals aim at.
        resamples: bootstrap resamples behind the intervals.
        seed: of the bootstrap.
        provenance: command, configuration and versions behind the scores.
    """

    title: str
    counts: Tally
    prevalence: Number
    sky_prevalence: float | None = None
    metrics: dict[str, Estimate] = Field(default_factory=dict)
    curves: Curves = Field(default_factory=Curves)
    members: dict[str, MemberReport] = Field(default_factory=dict)
    diversity: dict[str, Number] = Field(default_factory=dict)
    uncalibrated: dict[str, Number] = Field(default_factory=dict)
    scores: Scores
    level: float = 0.95
    resamples: int = 0
    seed: int = 0
    provenance: dict[str, Any] = Field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all; equal reports give equal bytes."""
        write_json(path, json.loads(self.model_dump_json()))

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read what `save` wrote.

        Raises:
            ConfigError: if the file is missing or is not a report.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise ConfigError(path, f"no report here ({error.strerror})", "Give the JSON of evaluate") from error
        except ValidationError as error:
            problem = f"not a report ({error.error_count()} fields do not fit)"
            raise ConfigError(path, problem, "Run evaluate again with this version") from error
