"""A survey: what turns magnitudes on the sky into counts on a detector.

Each survey is one YAML file in ``surveys/``; a user's own file works wherever a name does.
Fluxes are electrons per second: a source of AB magnitude m gives ``10 ** (-0.4 (m - zero_point))`` of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlensing.errors import SurveyError

FOLDER = Path(__file__).with_name("surveys")


class Band(BaseModel):
    """One band of a survey.

    Attributes:
        psf_fwhm: median full width at half maximum of the PSF [arcsec].
        psf_scatter: standard deviation of that width between cutouts [arcsec].
        zero_point: AB magnitude that gives one electron per second.
        exposure: total exposure [s].
        exposures: number of read-outs that the total is made of.
        sky: sky brightness [AB mag / arcsec^2].
        read_noise: [electrons / px / read-out].
        depth: published 5 sigma point-source depth [AB mag]; a test compares it with the numbers above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    psf_fwhm: float = Field(gt=0)
    psf_scatter: float = Field(ge=0)
    zero_point: float
    exposure: float = Field(gt=0)
    exposures: int = Field(ge=1)
    sky: float
    read_noise: float = Field(ge=0)
    depth: float


class Composite(BaseModel):
    """How the survey publishes colour: a Lupton arcsinh or a per-image percentile stretch.

    Attributes:
        kind: ``arcsinh`` (Lupton+2004, as HumVI and the Legacy viewer use it) or ``percentile``.
        weights: factors of red, green, blue, on fluxes of zero point 30.
        separate: each channel is stretched by its own brightness, which whitens bright light, not by their mean.
        offset: added to each channel after its weight (a grey sky).
        pedestal: added to each channel after the stretch, of a white of 1.
        grey: brightness, of a white of 1, at which pixels keep half their colour; 0 keeps all of it everywhere.
        alpha, q: of the arcsinh stretch.
        low: percentile of each channel that becomes 0.
        high: percentile of all channels together that becomes 255.
        jpeg: quality, 1..95, of the JPEG that pictures are served as; 0 for one without loss.
        centred: pixels are interpolated so that the object is in the middle of one, which blurs and correlates noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["arcsinh", "percentile"] = "arcsinh"
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    separate: bool = False
    offset: float = 0.0
    pedestal: float = 0.0
    grey: float = Field(default=0.0, ge=0)
    alpha: float = 0.1
    q: float = 3.0
    low: float = 1.0
    high: float = 99.5
    jpeg: int = Field(default=0, ge=0, le=95)
    centred: bool = False


class Survey(BaseModel):
    """A survey's bands, sampling and noise.

    Attributes:
        name: the key users type.
        title: the name people know.
        pixel_scale: [arcsec/px].
        bands: by name, blue to red.
        channels: which band plays blue, green and red.
        resampling: smallest and largest correlation of the noise of neighbouring pixels that resampling leaves.
        composites: the colour stretches it is published with.
        references: where the numbers come from.

    Example:
        >>> Survey.load("des").pixel_scale
        0.263
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    title: str
    pixel_scale: float = Field(gt=0)
    bands: dict[str, Band] = Field(min_length=1)
    channels: dict[Literal["blue", "green", "red"], str]
    resampling: tuple[float, float] = (0.0, 0.3)
    composites: tuple[Composite, ...] = Field(min_length=1)
    references: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Survey:
        if not 0 <= self.resampling[0] <= self.resampling[1] <= 0.7:
            raise ValueError(f"resampling must be two rising numbers from 0 to 0.7, got {list(self.resampling)}")
        unknown = sorted(set(self.channels.values()) - set(self.bands))
        if unknown or len(self.channels) != 3:
            raise ValueError(f"channels need blue, green and red among the bands; unknown: {unknown}")
        return self

    @classmethod
    def load(cls, name: str | Path) -> Survey:
        """The preset of this name, or the survey of this YAML file.

        Raises:
            SurveyError: unknown name, or a file with a missing, unknown or impossible field.
        """
        path = Path(name) if str(name).endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(survey_names())
            raise SurveyError(f"survey {str(name)!r}", "no such survey", f"Known: {known}; or give a YAML file.")
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, ValidationError) as error:
            detail = "; ".join(str(error).splitlines()[:6])
            raise SurveyError(path, f"not a survey ({detail})", f"Compare {FOLDER / 'des.yaml'}.") from error

    def band(self, name: str) -> Band:
        """The band of this name.

        Raises:
            SurveyError: naming the bands there are.
        """
        if name not in self.bands:
            remedy = f"Its bands: {', '.join(self.bands)}."
            raise SurveyError(f"survey {self.name}", f"it has no band {name!r}", remedy)
        return self.bands[name]

    def channel_bands(self) -> tuple[str, str, str]:
        """Names of the bands that play blue, green and red."""
        return self.channels["blue"], self.channels["green"], self.channels["red"]

    def sky_rate(self, band: str) -> float:
        """Sky electrons per second and pixel."""
        b = self.band(band)
        return float(10.0 ** (-0.4 * (b.sky - b.zero_point))) * self.pixel_scale**2

    def sky_noise(self, band: str) -> float:
        """Standard deviation of an empty pixel [electrons/s]: sky Poisson and read noise."""
        b = self.band(band)
        variance = self.sky_rate(band) * b.exposure + b.exposures * b.read_noise**2
        return math.sqrt(variance) / b.exposure

    def depth(self, band: str) -> float:
        """5 sigma point-source depth [AB mag] that follows from the numbers, for optimal (PSF) photometry.

        The equivalent area of a Gaussian PSF is 2.266 FWHM^2 (LSST Science Book, section 2.6).
        """
        b = self.band(band)
        area = 2.266 * max(b.psf_fwhm / self.pixel_scale, 1.0) ** 2
        return b.zero_point - 2.5 * math.log10(5.0 * math.sqrt(area) * self.sky_noise(band))


def survey_names() -> Sequence[str]:
    """Names of the presets, in alphabetical order.

    Example:
        >>> "lsst" in survey_names()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
