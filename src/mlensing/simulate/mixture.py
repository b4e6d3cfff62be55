"""What a simulated sky is made of: surveys, classes and the law of Einstein radii, in a few lines of YAML."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlensing.contract import Representation
from mlensing.errors import ConfigError
from mlensing.simulate.negatives import NEGATIVES

LENSED = ("lens", "faint_lens")
"""Classes with a source behind the deflector; arcs below the cut in S/N leave the second unlabelled."""

KINDS = (*LENSED, *NEGATIVES)
"""Classes that a mixture may name; a sample's ``kind`` is a position in this list."""

HOST = len(KINDS)
"""The ``kind`` of real cutouts without painted arcs: what every class but lenses becomes when hosts are handed in."""

KIND_NAMES = (*KINDS, "host")
"""The word for every number that ``kind`` can be."""


class MassStructure(BaseModel):
    """How deflectors depart from an isothermal ellipsoid in an external shear.

    Attributes:
        satellites: whether group members deflect light, or only shine.
        slope_scatter: scatter of the density's slope in three dimensions; 0 makes it 2 throughout.
        subhaloes: mean number of dark subhaloes near the Einstein ring.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    satellites: bool = True
    slope_scatter: float = Field(default=0.0, ge=0, le=0.4)
    subhaloes: float = Field(default=0.0, ge=0, le=3)


class Mixture(BaseModel):
    """What the simulated sky is made of.

    Attributes:
        surveys: preset or YAML file -> weight.
        classes: class -> weight; ``lens``, ``faint_lens`` (unlabelled) and the keys of ``NEGATIVES``.
        representations: ``linear`` and ``composite`` (8-bit colour as the survey publishes it) -> weight.
        bands: band names common to all surveys; None takes each survey's own blue, green and red.
        size: pixels a side.
        theta_E: smallest (raised to what the seeing resolves) and largest (lowered to what the frame holds) Einstein
            radius [arcsec].
        wide_share: share of deflectors with log-uniform theta_E instead of the natural law.
        arc_signal: smallest matched-filter S/N of the arcs.
        zoom_share: share of frames on pixels of 0.7 to 1.8 times the survey's size, as image servers cut them; above
            zero, most frames of nearby galaxies.
        dither: largest offset of the central object from the middle [px].
        mass: structure of the deflectors' mass.
        real_sources: share of the lensed sources that are real galaxies, where a catalogue of them is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    surveys: dict[str, float] = Field(min_length=1)
    classes: dict[str, float] = Field(min_length=1)
    representations: dict[Representation, float] = Field(default={"linear": 1.0}, min_length=1)
    bands: tuple[str, ...] | None = None
    size: int = Field(default=64, ge=32, le=224)
    theta_E: tuple[float, float] = (0.5, 5.0)
    wide_share: float = Field(default=0.5, ge=0, le=1)
    arc_signal: float = Field(default=30.0, gt=0)
    zoom_share: float = Field(default=0.0, ge=0, le=1)
    dither: float = Field(default=2.0, ge=0)
    mass: MassStructure = MassStructure()
    real_sources: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _known(self) -> Mixture:
        unknown = sorted(set(self.classes) - set(KINDS))
        if unknown:
            raise ValueError(f"unknown classes {unknown}; known: {', '.join(KINDS)}")
        for weights in (self.surveys, self.classes, self.representations):
            if min(weights.values()) < 0 or sum(weights.values()) <= 0:
                raise ValueError("weights must not be negative and must not all be zero")
        if self.composites > 0 and self.bands is not None and len(self.bands) != 3:
            raise ValueError(f"colour composites need three bands, blue to red; there are {len(self.bands)}")
        if not 0 < self.theta_E[0] < self.theta_E[1]:
            raise ValueError(f"theta_E must be an increasing pair of positive numbers, got {list(self.theta_E)}")
        return self

    @property
    def composites(self) -> float:
        """Share of the samples that are colour composites."""
        return self.representations.get("composite", 0.0) / sum(self.representations.values())

    @classmethod
    def load(cls, path: str | Path) -> Mixture:
        """The mixture of a YAML file.

        Raises:
            ConfigError: missing file, unknown key, or a value out of range.
        """
        path = Path(path)
        if not path.is_file():
            raise ConfigError(path, "no such file", "Give a mixture such as configs/paper_synthetic.yaml.")
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, ValidationError) as error:
            detail = "; ".join(str(error).splitlines()[:6])
            raise ConfigError(path, f"not a mixture ({detail})", "Compare configs/paper_synthetic.yaml.") from error
