"""What a trained network promises and demands: the noun that data and models meet in.

A contract is frozen when training begins and rides in every checkpoint and export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlensing.errors import ContractError

Representation = Literal["linear", "composite"]
"""How pixels carry light: ``linear`` in flux (FITS), ``composite`` as stretched 8-bit colour (PNG, JPEG)."""

Task = Literal["classification", "maps", "mass_maps", "features"]
"""What a network says: a logit, or maps of the mass alone, or features from which others are to learn."""

CHANNELS = ("blue", "green", "red")
"""Bands of a model that takes any survey: each survey says which of its bands plays which part."""


class BandStatistics(BaseModel):
    """Per-band mean and standard deviation of the stretched training split."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class Calibration(BaseModel):
    """An increasing map from a logit to log-odds that hold; ``evaluation.calibrators`` fits and applies it.

    Attributes:
        kind: ``temperature``, ``beta`` or ``isotonic``.
        parameters: T; a, b, c; or the slope beyond the knots, the knots and their log-odds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: Literal["temperature", "beta", "isotonic"] = "temperature"
    parameters: tuple[float, ...] = (1.0,)

    @model_validator(mode="after")
    def _increasing(self) -> Calibration:
        p = self.parameters
        knots, odds = p[1 : 1 + len(p) // 2], p[1 + len(p) // 2 :]
        valid = {
            "temperature": len(p) == 1 and p[0] > 0,
            "beta": len(p) == 3 and min(p[:2]) >= 0 and max(p[:2]) > 0,
            "isotonic": len(p) >= 5 and len(p) % 2 == 1 and p[0] > 0 and _rises(knots) and _rises(odds),
        }
        if not valid[self.kind] or not all(map(math.isfinite, p)):
            raise ValueError(f"these are not parameters of an increasing {self.kind} calibration")
        return self


class Fusion(BaseModel):
    """How the logits of several members become one; ``evaluation.fusion`` fits and applies it.

    Attributes:
        rule: ``mean``, ``inverse_variance`` or ``physics`` of the logits, or of calibrated ones ``calibrated_mean`` or
            ``stacked``.
        weights: of the members, and a bias; of ``stacked`` alone.
        calibration: of the fused logit.
        temperature: mean squared residual of maps at which their consistency is 1/e; fitted for ``physics``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    rule: Literal["mean", "inverse_variance", "physics", "calibrated_mean", "stacked"] = "mean"
    weights: tuple[float, ...] = ()
    calibration: Calibration = Calibration()
    temperature: float = Field(default=0.01, gt=0)


def _rises(values: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


class ModelContract(BaseModel):
    """Everything that must agree between a network and the pixels it is given.

    Attributes:
        name: architecture, a key of ``mlensing.models.MODELS``, or of ``mlensing.gnn.MAP_MODELS``.
        options: keyword arguments of that architecture.
        bands: band names in the order of the network's input, or ``CHANNELS``.
        input_size: pixels a side.
        pixel_scale: smallest and largest scale it was trained for [arcsec/px].
        softening: the arcsinh stretch is ``asinh(flux / (softening * sky noise))``.
        statistics: per representation it was trained on, the statistics of the training split.
        task: ``classification``, a logit; ``maps``, also kappa and psi, whose terms are in ``training.losses``;
            ``features``, of a network that saw no labels (``training.pretrain``).
        map_trunk: whether maps come from a backbone of their own, beside that of the logit (``training.graft``).
        map_spread: factors of the deviations that maps state of Einstein radius and axis ratio, and
        map_residual: median of the mean squared residual lap psi - 2 kappa; of validation (``training.map_quality``).
        sigma_crit: ``dimensionless`` (maps are kappa) or ``physical`` (surface density in Msun/pc^2).
        class_weight_ratio: w_pos / w_neg of the loss; its logit shift is removed before a probability.
        prevalence: share of lenses in the training split.
        calibration: of the logit, once the shift of the class weights is taken out.
        training_hash: fingerprint of the training data or of the simulation's configuration.
        version: version of mlensing that trained it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    bands: tuple[str, ...] = Field(min_length=1)
    input_size: int = Field(default=64, ge=32, le=224)
    pixel_scale: tuple[float, float]
    softening: float = Field(default=3.0, gt=0)
    statistics: dict[Representation, BandStatistics] = Field(min_length=1)
    task: Task = "classification"
    map_trunk: bool = False
    map_spread: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    map_residual: float = Field(default=0.01, gt=0)
    sigma_crit: Literal["dimensionless", "physical"] = "dimensionless"
    class_weight_ratio: float = Field(default=1.0, gt=0)
    prevalence: float = Field(default=0.5, gt=0, lt=1)
    calibration: Calibration = Calibration()
    training_hash: str = ""
    version: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> ModelContract:
        for kind, stats in self.statistics.items():
            if not len(stats.mean) == len(stats.std) == len(self.bands):
                raise ValueError(f"statistics[{kind}] must have one mean and std per band")
        if self.map_trunk and self.task != "maps":
            raise ValueError("map_trunk is for networks with the task maps")
        if not 0 < self.pixel_scale[0] <= self.pixel_scale[1]:
            raise ValueError("pixel_scale must be an increasing pair of positive numbers")
        return self

    def require_bands(self, bands: Sequence[str], *, where: object) -> None:
        """Refuse data whose bands, or their order, are not the contract's.

        Raises:
            ContractError: naming both.
        """
        if tuple(bands) != self.bands:
            problem = f"expected bands {','.join(self.bands)} in this order, got {','.join(bands)}"
            remedy = "Use data with these bands, name the survey with --survey, or train a model on yours."
            raise ContractError(where, problem, remedy)

    def require_representation(self, kind: Representation, *, where: object) -> None:
        """Refuse pixels of a representation the network never saw.

        Raises:
            ContractError: naming what it was trained on.
        """
        if kind not in self.statistics:
            problem = f"this model was trained on {', '.join(self.statistics)} images, got a {kind} one"
            remedy = "Train with both representations (--composites 0.5) or give the other kind of file."
            raise ContractError(where, problem, remedy)

    def accepts_scale(self, scale: float) -> bool:
        """Whether ``scale`` [arcsec/px] lies in the trained range, with 2 % to spare.

        Example:
            >>> stats = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
            >>> contract = ModelContract(name="x", bands=("r",), pixel_scale=(0.1, 0.4), statistics=stats)
            >>> contract.accepts_scale(0.262), contract.accepts_scale(0.05)
            (True, False)
        """
        low, high = self.pixel_scale
        return low / 1.02 <= scale <= high * 1.02

    @property
    def logit_shift(self) -> float:
        """Shift that the class weights put on the logit: log(w_pos / w_neg)."""
        return math.log(self.class_weight_ratio)
