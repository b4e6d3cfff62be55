"""Scores for images: files in, one row each out, whatever state the files are in.

Conventions: ``logit`` is the calibrated log-odds, ``probability`` its sigmoid, ``uncertainty`` the standard
deviation of that logit: over the members, and of each of them under dropout. ``disagreement`` is that over the members
alone, of what each says by itself. ``unlike`` is the image's distance from those of the training, above 1 flagged.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from mlensing.data.gather import Item, gather
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import shift_prevalence, sigmoid
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.fusion import consistency
from mlensing.inference.backend import Backend
from mlensing.inference.ensemble import RELEASED, Ensemble, EnsembleScores
from mlensing.inference.inputs import Pixels, read_batches, require_fitting, stacked_pixels, status_of
from mlensing.inference.lenses import lens_columns, mappers
from mlensing.inference.member import Dropout, Views
from mlensing.inference.order import MOST, nearer_order

COLUMNS = ("file", "probability", "logit", "uncertainty", "disagreement", "unlike", "flag", "status")
UNLIKE = "unlike the training data"


class Predictor:
    """Trained finders, ready to score files.

    Arguments:
        ensemble: the finders; one alone is an ensemble of one.

    Example::

        table = Predictor.load("best.ckpt").predict(["images/", "more.csv"], survey="cfhtls")
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble, self.contract = ensemble, ensemble.contract

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path] = RELEASED,
        device: str = "auto",
        backend: Backend = "torch",
    ) -> Predictor:
        """The predictor of a checkpoint, of several, or of an ensemble's folder; the released one if none is named.

        Raises:
            ContractError: files that are not finders of ours.
            ConfigError: a device that is not there, or a backend that cannot be used.
        """
        return cls(Ensemble.load(path, device, backend))

    def predict(
        self,
        inputs: Sequence[str | Path],
        *,
        survey: str | None = None,
        batch_size: int = 64,
        resample: bool = True,
        prevalence: float | None = None,
        pixel_scale: float | None = None,
        views: Views = 1,
        dropout: Dropout | None = None,
        members: bool = False,
        maps: bool = False,
        accept: float = 0.5,
    ) -> pd.DataFrame:
        """Score files, folders and index CSVs, mixed.

        Arguments:
            inputs: rows come out in this order; folders in sorted order; what is named twice is scored twice.
            survey: preset of files whose header names none.
            batch_size: images a step of the network.
            resample: bring pixel scales outside the contract's range into it; otherwise their rows say so.
            prevalence: share of lenses among what is scored, in (0, 1); None keeps that of the training.
            pixel_scale: of files that state none [arcsec/px].
            views: 8 averages over flips and quarter turns, at eight times the cost.
            dropout: how each member's deviation is found; None drops before the head, in closed form.
            members: add a column ``logit_KEY`` for each member: what it says by itself.
            maps: add ``consistency``, how well predicted maps keep lap psi = 2 kappa, and for accepted images the
                columns of ``inference.lenses``; NaN for others.
            accept: probability from which an image is accepted.

        Returns:
            columns ``COLUMNS``, and those asked for before the last; status is ``ok``, or why the scores are NaN.

        Raises:
            CatalogError, ImageError, SurveyError, ConfigError: an input or setting that is wrong as a whole.
            ContractError: not one image has the bands or the kind of pixels that the network takes.
        """
        if maps:
            mappers(self.ensemble.members)  # none is a mistake of the call
        items = gather(inputs, survey=survey, pixel_scale=pixel_scale)
        table, scores = self.score_items(items, batch_size, resample, prevalence, views, dropout, maps)
        more: dict[str, NDArray[np.float64]] = {}
        if members:
            odds = self.log_odds(scores, prevalence)
            more |= {f"logit_{m.key}": row for m, row in zip(self.ensemble.members, odds, strict=True)}
        if maps:
            more["consistency"] = consistency(scores.physics, self.ensemble.fusion.temperature)
            accepted = np.flatnonzero(table["probability"].to_numpy() >= accept)
            again = read_batches([items[row] for row in accepted], self.contract, batch_size, resample)
            more |= lens_columns(mappers(self.ensemble.members), again, accepted, len(items))
        for name, column in more.items():
            table.insert(len(table.columns) - 1, name, column)
        return table

    def nonlens_logits(
        self,
        inputs: Sequence[str | Path],
        *,
        survey: str | None = None,
        batch_size: int = 64,
        prevalence: float | None = None,
        pixel_scale: float | None = None,
        views: Views = 1,
    ) -> NDArray[np.float64]:
        """Logits [n] of known non-lenses, to compare those of ``predict`` with: the same arguments, the same errors.

        What an index calls a lens is left out; an image that cannot be read is NaN.
        """
        items = gather(inputs, survey=survey, pixel_scale=pixel_scale)
        others = [item for item in items if not item.label >= LENS]
        return self.score_items(others, batch_size, prevalence=prevalence, views=views)[0]["logit"].to_numpy(float)

    def score_items(
        self,
        items: Sequence[Item],
        batch_size: int = 64,
        resample: bool = True,
        prevalence: float | None = None,
        views: Views = 1,
        dropout: Dropout | None = None,
        maps: bool = False,
    ) -> tuple[pd.DataFrame, EnsembleScores]:
        """The table of ``predict`` for images that are listed already, and each member's scores [M, N] behind it."""
        _check(batch_size, prevalence, views)
        columns: list[EnsembleScores] = []
        failures: list[Exception | None] = []
        first: list[Pixels] = []
        for batch in read_batches(items, self.contract, batch_size, resample):
            good = [b for b in batch if isinstance(b, Pixels)]
            options: dict[str, Any] = {"views": views, "dropout": dropout, "maps": maps}
            columns += [self.score_pixels(*stacked_pixels(good), **options)] if good else []
            first += good[: MOST - len(first)]
            failures += [None if isinstance(b, Pixels) else b for b in batch]
        require_fitting(failures)
        self.doubt_order(first)
        scores = _spread(columns, [failure is None for failure in failures], len(self.ensemble.members))
        return self._table([item.file for item in items], scores, failures, prevalence), scores

    def score_pixels(
        self, image: Tensor, composite: Tensor, spacing: Tensor, *, views: Views = 1, dropout: Dropout | None = None,
        maps: bool = False,
    ) -> EnsembleScores:  # fmt: skip
        """Scores of raw pixels [B, C, S, S], as ``stacked_pixels`` gives them; maps where asked or fused by."""
        wanted = spacing if maps or self.ensemble.fusion.rule == "physics" else None
        return self.ensemble.score(image, composite, views=views, dropout=dropout, maps=wanted)

    def doubt_order(self, first: list[Pixels]) -> None:
        """Warn if the first images look as if their bands came in another order."""
        order = nearer_order(self.ensemble.members, *stacked_pixels(first)[:2]) if first else None
        if order is not None:
            bands = self.contract.bands
            looks = ", ".join(bands[order.index(place)] for place in range(len(bands)))
            problem = f"what is taken for {', '.join(bands)} looks like {looks} in the first {len(first)} images"
            warnings.warn(f"{problem}: is that the order of the bands? They are scored as they are.", stacklevel=4)

    def _table(
        self, files: list[str], scores: EnsembleScores, failures: list[Exception | None], prevalence: float | None
    ) -> pd.DataFrame:
        odds, deviation = self.ensemble.fused(scores)
        odds = self.shifted(odds, prevalence)
        content = {
            "file": files,
            "probability": sigmoid(odds),
            "logit": odds,
            "uncertainty": deviation,
            "disagreement": self.ensemble.log_odds(scores).std(0),
            "unlike": (unlike := scores.unlike.mean(0)),
            "flag": np.where(unlike > 1, UNLIKE, ""),
            "status": [status_of(failure) for failure in failures],
        }
        return pd.DataFrame(content, columns=list(COLUMNS))

    def log_odds(self, scores: EnsembleScores, prevalence: float | None) -> NDArray[np.float64]:
        """Each member's own calibrated log-odds [M, N] at a prevalence."""
        return self.shifted(self.ensemble.log_odds(scores), prevalence)

    def shifted(self, odds: NDArray[np.float64], prevalence: float | None) -> NDArray[np.float64]:
        """Log-odds at another prevalence than that of the training; None keeps that."""
        return odds if prevalence is None else shift_prevalence(odds, self.contract.prevalence, prevalence)


def _spread(found: Sequence[EnsembleScores], good: Sequence[bool], members: int) -> EnsembleScores:
    """Scores [M, N] of all images, NaN where one could not be read."""
    everything = np.full((len(EnsembleScores._fields), members, len(good)), np.nan)
    if found:
        everything[:, :, np.flatnonzero(good)] = [np.concatenate(part, 1) for part in zip(*found, strict=True)]
    return EnsembleScores(*everything)


def _check(batch_size: int, prevalence: float | None, views: int) -> None:
    if batch_size < 1:
        raise ConfigError("batch_size", f"expected at least 1, got {batch_size}", "Take 64.")
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError("prevalence", f"expected a share in (0, 1), got {prevalence}", "Take 0.001, say.")
    if views not in (1, 8):
        raise ConfigError("views", f"expected 1 or 8, got {views}", "Take 1, or 8 for all flips and turns.")
