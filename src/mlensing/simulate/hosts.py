"""Real cutouts that arcs are painted on: what of them is light, how noisy, and what took them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from mlensing.cutouts import Cutouts
from mlensing.errors import ConfigError
from mlensing.provenance import fingerprint
from mlensing.simulate.colours import band_numbers
from mlensing.simulate.composite import UNIFORMS, Stretch, draw_stretch, linearised, stretched, with_stretch
from mlensing.simulate.draws import Draws
from mlensing.simulate.instrument import SAMPLED, ZERO_POINT, Instrument
from mlensing.survey import Band, Composite, Survey

TYPICAL_NOISE, TYPICAL_DEPTH = 2.0, 24.5
"""Sky noise a pixel [flux at zero point 30] and depth [AB mag] of a survey that nobody preset."""

QUIET = 1e10  # electrons of sky in its pixels: more than any exposure holds, so that its arcs add no photon noise
FAMILIAR = 3.0  # ratio of measured to preset noise within which flux is taken to be at zero point 30
COLOUR_BANDS = ("g", "r", "i")  # what blue, green and red are where no survey says
HELD_BACK = 5  # one group in so many validates a training on the fly
LAG = 2  # pixels between those whose difference measures noise: resampling correlates nearer ones


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
        uniform = torch.full((len(draws), UNIFORMS), 0.5, device=image.device)
        uniform[:, 0] = draws.uniform("host/stretch").clamp(max=1 - 1e-6)
        return colour_canvas(image, draw_stretch(self.survey.composites, uniform), typical=typical)


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


@dataclass
class Canvas:
    """Hosts as arcs meet them; light and noise in flux at zero point 30, or near it.

    Attributes:
        image: [B, band, y, x] as it is.
        light: [B, band, y, x] its light above the sky.
        noise: [B, band, y, x] standard deviation of that light.
        unit: [B, band] flux of a unit of ``image``; of no meaning for composites.
        photons: [B, band] electrons of a unit of flux; of no meaning for composites.
        stretch: of composites; None for linear images.
    """

    image: Tensor
    light: Tensor
    noise: Tensor
    unit: Tensor
    photons: Tensor
    stretch: Stretch | None

    def __getitem__(self, rows: Tensor) -> Canvas:
        values = (getattr(self, f.name) for f in fields(self))
        return Canvas(*(None if value is None else value[rows] for value in values))  # type: ignore[arg-type]

    def certain(self) -> Tensor:
        """Light beyond its noise: what is surely there."""
        return (self.light - self.noise).clamp(min=0)

    def painted(self, arcs: Tensor, draws: Draws) -> Tensor:
        """The image with arcs [B, band, y, x] on it: nothing else of it changes.

        Linear arcs bring the photon noise of their own light; a composite is stretched with and without them.
        """
        if self.stretch is None:
            own = torch.sqrt(arcs.clamp(min=0) / self.photons[..., None, None])
            noisy = arcs + own * draws.normal("arcs/photons", *arcs.shape[1:])
            return self.image + noisy / self.unit[..., None, None]
        unit = self.unit[..., None, None]
        under = linearised(self.image, self.stretch)
        change = stretched(under + arcs / unit, self.stretch) - stretched(under, self.stretch)
        return (self.image + 255 * change).round().clamp(0, 255)


def turned(image: Tensor, flip: Tensor, turn: Tensor, transpose: Tensor) -> Tensor:
    """Square images [B, band, y, x] mirrored, turned by half, or transposed where each [B] says so: any of the eight.

    Example:
        >>> yes, no = torch.tensor([True]), torch.tensor([False])
        >>> turned(torch.arange(4.0).view(1, 1, 2, 2), yes, no, yes)[0, 0].tolist()
        [[1.0, 3.0], [0.0, 2.0]]
    """
    flip, turn, transpose = (value[:, None, None, None] for value in (flip, turn, transpose))
    image = torch.where(flip, image.flip(-1), image)
    image = torch.where(turn, image.flip(-1, -2), image)
    return torch.where(transpose, image.mT, image)


def linear_canvas(image: Tensor, *, typical: Tensor, photons: Tensor) -> Canvas:
    """Linear hosts. Unless the noise says otherwise, their flux is at zero point 30.

    Arguments:
        typical: [B, band] sky noise of the survey, in flux at zero point 30.
        photons: [B, band] electrons of a unit of that flux.
    """
    noise = sky_noise(image)
    level = image.flatten(2).quantile(0.2, dim=2) + 0.84 * noise
    unit = zero_point_unit(noise, typical)
    light = (image - level[..., None, None]) * unit[..., None, None]
    variance = (noise * unit)[..., None, None] ** 2 + light.clamp(min=0) / photons[..., None, None]
    return Canvas(image, light, torch.sqrt(variance), unit, photons, None)


def colour_canvas(image: Tensor, stretch: Stretch, *, typical: Tensor) -> Canvas:
    """Composites, linearised; their noise is that of the stretched image times the slope of the stretch."""
    step = sky_noise(image).clamp(min=1.0)[..., None, None]  # rounding hides what is below one level
    light, above = linearised(image, stretch), linearised(image + step, stretch)
    below = linearised(image - step, stretch)
    noise = ((above - below) / 2).abs()
    faint = noise.flatten(2).quantile(0.1, dim=2)
    unit = zero_point_unit(faint, typical)[..., None, None]
    flat = unit.flatten(1)
    return Canvas(image, light * unit, noise * unit, flat, torch.ones_like(flat), stretch)


def sky_noise(image: Tensor) -> Tensor:
    """Noise a pixel [B, band]: median absolute difference of pixels ``LAG`` apart, so smooth light does not count."""
    across, down = image[..., LAG:] - image[..., :-LAG], image[..., LAG:, :] - image[..., :-LAG, :]
    steps = torch.cat([across.flatten(2), down.flatten(2)], 2).abs()
    floor = 1e-6 * image.abs().amax((2, 3)) + torch.finfo(image.dtype).tiny
    return torch.maximum(1.4826 / math.sqrt(2.0) * steps.median(2).values, floor)


def zero_point_unit(noise: Tensor, typical: Tensor) -> Tensor:
    """Flux at zero point 30 of a unit of an image; [B, band], the same in all bands.

    1 where the noise is within a factor ``FAMILIAR`` of the survey's; else what would make it the survey's. It decides
    how bright the brightest sources are, and which deflectors suit the host; nothing else depends on it.
    """
    ratio = torch.exp(torch.log(typical / noise).mean(1, keepdim=True))
    known = (ratio < FAMILIAR) & (ratio > 1 / FAMILIAR)
    return torch.where(known, 1.0, ratio).expand_as(noise)
