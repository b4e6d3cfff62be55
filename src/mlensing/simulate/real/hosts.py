"""Real cutouts that arcs are painted on: what of them is light, how noisy, and what took them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mlensing.cutouts import Cutouts
from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint
from mlensing.simulate.camera.composite import UNIFORMS, Stretch, draw_stretch, with_stretch
from mlensing.simulate.camera.instrument import SAMPLED, ZERO_POINT, Instrument
from mlensing.simulate.colours import band_numbers, relative_magnitude
from mlensing.simulate.draws import Draws
from mlensing.simulate.real.canvas import Canvas, colour_balance, colour_canvas, linear_canvas, turned
from mlensing.survey import Band, Composite, Survey

TYPICAL_NOISE, TYPICAL_DEPTH = 2.0, 24.5
"""Sky noise a pixel [flux at zero point 30] and depth [AB mag] of a survey that nobody preset."""

QUIET = 1e10  # electrons of sky in its pixels: more than any exposure holds, so that its arcs add no photon noise
BALANCED, TYPICAL_REDSHIFT = 256, 0.15  # hosts that the colour of pictures is balanced with, half of them early types
COLOUR_BANDS = ("g", "r", "i")  # what blue, green and red are where no survey says
HELD_BACK = 5  # one group in so many validates a training on the fly


@dataclass(frozen=True)
class Hosts:
    """Cutouts of one survey, and what must be known of it to paint arcs on them.

    Attributes:
        cutouts: the images; they must have pixel scales.
        bands: real bands of their planes.
        survey: what took them: a preset, with other PSF widths perhaps, or one of typical depth and without a name.
    """

    cutouts: Cutouts
    bands: tuple[str, ...]
    survey: Survey

    @classmethod
    def of(
        cls, cutouts: Cutouts, *, psf_fwhm: float | Sequence[float] | None = None, stretch: int | None = None
    ) -> Hosts:
        """Hosts from images of one kind.

        Arguments:
            cutouts: as ``mlensing.data.alike.read_hosts`` reads them.
            psf_fwhm: of each band, or one for all [arcsec]; None takes the survey's.
            stretch: which of the survey's colour stretches they have, from 0; None tries all.

        Raises:
            ConfigError: no PSF width, an impossible one, or a stretch that the survey has not.
            SurveyError: an unknown survey, or a band whose wavelength is not known.
        """
        survey = Survey.load(cutouts.survey) if cutouts.survey else None
        bands = cutouts.bands
        if cutouts.representation == "composite":
            bands = survey.channel_bands() if survey else COLOUR_BANDS
        band_numbers(bands)
        if survey is None:
            if psf_fwhm is None:
                problem = "the PSF of these hosts is not known: they name no survey that there is a preset for"
                raise ConfigError("psf_fwhm", problem, "Name it with --survey, or give --psf_fwhm [arcsec].")
            survey = _nameless(bands, float(cutouts.pixel_scale[0]))
        return cls(cutouts, bands, with_stretch(_with_psf(survey, bands, psf_fwhm), stretch))

    def __len__(self) -> int:
        return len(self.cutouts)

    @property
    def colour(self) -> bool:
        """Whether they are pictures, not linear images."""
        return self.cutouts.representation == "composite"

    def record(self) -> dict[str, Any]:
        """What of the hosts decides a set, and which were left out."""
        return {
            "hash": self.cutouts.fingerprint(),
            "count": len(self),
            "bands": self.bands,
            "survey": self.survey.model_dump(mode="json"),
            "left_out": dict(self.cutouts.skipped),
        }

    def divided(self) -> tuple[Hosts, Hosts]:
        """Those to train on, and every ``HELD_BACK``-th group, which a hash of its name chooses, to validate on.

        Raises:
            ConfigError: a single group.
        """
        groups = sorted(set(self.cutouts.group), key=lambda name: fingerprint(name.encode()))
        if len(groups) < 2:
            problem = f"{len(self)} hosts of {len(groups)} group cannot be divided into training and validation"
            raise ConfigError("hosts", problem, "Give two at least.")
        apart = set(groups[: max(1, len(groups) // HELD_BACK)])
        rows = [[i for i, name in enumerate(self.cutouts.group) if (name in apart) == held] for held in (False, True)]
        seen, unseen = (replace(self, cutouts=self.cutouts.select(some)) for some in rows)
        return seen, unseen

    def instrument(self, device: torch.device) -> Instrument:
        """What took each of them, a row a host."""
        scale = torch.from_numpy(self.cutouts.pixel_scale).float().to(device)
        one = Instrument.of([self.survey], [self.bands], device)
        rows = one[torch.zeros(len(self), dtype=torch.int64, device=device)].zoomed(scale / one.pixel_scale)
        fine = torch.ceil(SAMPLED * scale / rows.fwhm.amin(1)).clamp(min=1).long()
        return replace(rows, pixel_scale=scale, fine=fine)

    def canvas(self, draws: Draws, chosen: Tensor, view: Instrument) -> Canvas:
        """The hosts ``chosen`` [B], each turned and flipped at random.

        Arguments:
            view: the instrument of each.
        """
        image = torch.from_numpy(self.cutouts.image[chosen.cpu().numpy()]).to(chosen.device)
        image = turned(image, *(draws.chance(f"host/{name}", 0.5) for name in ("flip", "turn", "transpose")))
        photons = view.gain * view.exposure
        typical = torch.sqrt(view.sky * view.exposure + view.read_variance) / photons
        if self.cutouts.representation == "linear":
            return linear_canvas(image, typical=typical, photons=photons)
        which = draws.choice("host/stretch", torch.ones(len(self.survey.composites)))
        balance = self._balances.to(image.device)[which]
        return colour_canvas(image, _unvaried(self.survey.composites, which), typical=typical, balance=balance)

    @cached_property
    def _balances(self) -> Tensor:
        """Colour balance [stretch, 3] of the hosts for each stretch they may have been through."""
        some = torch.from_numpy(self.cutouts.image[:BALANCED])
        redshift = torch.tensor([TYPICAL_REDSHIFT])
        bands = torch.tensor([band_numbers(self.bands)])
        colours = [relative_magnitude(kind, redshift, bands)[0] for kind in ("early", "disc")]
        expected = 10 ** (-0.2 * (colours[0] + colours[1]))
        every = range(len(self.survey.composites))
        stretches = [_unvaried(self.survey.composites, torch.full((len(some),), number)) for number in every]
        return torch.stack([colour_balance(some, stretch, expected) for stretch in stretches])


def _unvaried(composites: Sequence[Composite], which: Tensor) -> Stretch:
    """The stretches ``which`` [B] as they are published."""
    uniform = torch.full((len(which), UNIFORMS), 0.5, device=which.device)
    uniform[:, 0] = (which + 0.5) / len(composites)
    return draw_stretch(composites, uniform)


def _with_psf(survey: Survey, bands: Sequence[str], psf_fwhm: float | Sequence[float] | None) -> Survey:
    """The survey with these PSF widths, if any are given."""
    if psf_fwhm is None:
        return survey
    widths = [float(psf_fwhm)] * len(bands) if isinstance(psf_fwhm, int | float) else [float(w) for w in psf_fwhm]
    if len(widths) != len(bands) or not all(0 < width < math.inf for width in widths):
        problem = f"expected a width above 0 [arcsec] for each of {','.join(bands)}, or one for all, got {psf_fwhm}"
        raise ConfigError("psf_fwhm", problem, "For example --psf_fwhm 0.9, or --psf_fwhm '[1.1, 0.9, 0.8]'.")
    changed = {
        name: survey.band(name).model_copy(update={"psf_fwhm": width, "psf_scatter": 0.0})
        for name, width in zip(bands, widths, strict=True)
    }
    return survey.model_copy(update={"bands": {**survey.bands, **changed}})


def _nameless(bands: Sequence[str], pixel_scale: float) -> Survey:
    """A survey of typical depth and sky noise, and so many electrons that arcs add no photon noise to it."""
    zero_point = ZERO_POINT + 2.5 * math.log10(math.sqrt(QUIET) / TYPICAL_NOISE)
    sky = zero_point - 2.5 * math.log10(QUIET / pixel_scale**2)
    band = Band(
        psf_fwhm=1.0, psf_scatter=0.0, zero_point=zero_point, exposure=1.0, exposures=1, sky=sky, read_noise=0.0,
        depth=TYPICAL_DEPTH,
    )  # fmt: skip
    return Survey(
        name="",
        title="a survey that nobody preset",
        pixel_scale=pixel_scale,
        bands=dict.fromkeys(bands, band),
        channels={"blue": bands[0], "green": bands[len(bands) // 2], "red": bands[-1]},
        composites=(Composite(),),
        references=("typical of surveys from the ground",),
    )
