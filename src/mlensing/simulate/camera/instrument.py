"""Light to counts: PSF, exposure, sky and detector.

Fluxes in and out are at AB zero point 30; inside, electrons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from mlensing.simulate.colours import band_numbers
from mlensing.simulate.draws import Draws
from mlensing.survey import Survey

ZERO_POINT = 30.0
"""AB zero point of every simulated flux."""

MARGIN = 8  # pixels simulated beyond the frame, so that light outside it is blurred into it
SAMPLED = 2.5  # pixels per FWHM below which the frame is simulated on a finer grid
FULL_WELL = 1.2e5  # electrons a pixel holds in one exposure, as deep-depletion CCDs do
AT_ONCE = 8  # images convolved at once: more than the caches hold is slower


@dataclass
class Instrument:
    """What takes each sample: the numbers of its survey, row by row.

    Attributes:
        pixel_scale: [B] arcsec/px.
        fine: [B] grid cells per pixel a side, so that the sharpest PSF is sampled ``SAMPLED`` times.
        depth: [B] 5 sigma depth of the shallowest band [AB mag].
        bands: [B, bands] band numbers (``colours.band_numbers``).
        fwhm, scatter: [B, bands] median PSF width and its scatter [arcsec].
        exposure: [B, bands] seconds.
        gain: [B, bands] electrons/s of a unit flux at zero point 30.
        sky: [B, bands] electrons/s/px.
        read_variance: [B, bands] electrons^2/px.
        full_well: [B, bands] electrons/px at which all exposures together saturate.
        resampling: [B, 2] range of the correlation of neighbouring pixels' noise.
    """

    pixel_scale: Tensor
    fine: Tensor
    depth: Tensor
    bands: Tensor
    fwhm: Tensor
    scatter: Tensor
    exposure: Tensor
    gain: Tensor
    sky: Tensor
    read_variance: Tensor
    full_well: Tensor
    resampling: Tensor

    def __getitem__(self, rows: Tensor) -> Instrument:
        return Instrument(*(getattr(self, f.name)[rows] for f in fields(self)))

    def zoomed(self, factor: Tensor) -> Instrument:
        """The same exposures on pixels larger by ``factor`` [B]."""
        sky = self.sky * factor[:, None] ** 2
        resampling = self.resampling / factor.clamp(min=1.0)[:, None]
        return replace(self, pixel_scale=self.pixel_scale * factor, sky=sky, resampling=resampling)

    @classmethod
    def of(cls, surveys: Sequence[Survey], bands: Sequence[Sequence[str]], device: torch.device) -> Instrument:
        """One row per survey, observed in its ``bands``."""
        every = [[survey.band(name) for name in names] for survey, names in zip(surveys, bands, strict=True)]

        def table(values: Sequence[object]) -> Tensor:
            return torch.tensor(values, device=device)

        return cls(
            pixel_scale=table([s.pixel_scale for s in surveys]),
            fine=table([_fine(s, names) for s, names in zip(surveys, bands, strict=True)]),
            depth=table([min(b.depth for b in row) for row in every]),
            bands=table([band_numbers(names) for names in bands]),
            fwhm=table([[b.psf_fwhm for b in row] for row in every]),
            scatter=table([[b.psf_scatter for b in row] for row in every]),
            exposure=table([[b.exposure for b in row] for row in every]),
            gain=table([[10 ** (0.4 * (b.zero_point - ZERO_POINT)) for b in row] for row in every]),
            sky=table([[s.sky_rate(n) for n in names] for s, names in zip(surveys, bands, strict=True)]),
            read_variance=table([[b.exposures * b.read_noise**2 for b in row] for row in every]),
            full_well=table([[b.exposures * FULL_WELL for b in row] for row in every]),
            resampling=table([s.resampling for s in surveys]),
        )


def _fine(survey: Survey, bands: Sequence[str]) -> int:
    return fine_cells(min(survey.band(b).psf_fwhm for b in bands), survey.pixel_scale)


def fine_cells(fwhm: float, pixel_scale: float) -> int:
    """Grid cells per pixel a side that sample a PSF of this width ``SAMPLED`` times, both in arcsec.

    Example:
        >>> fine_cells(0.7, 0.2), fine_cells(0.1, 0.1)
        (1, 3)
    """
    return max(1, math.ceil(SAMPLED * pixel_scale / fwhm))


@dataclass
class Observation:
    """How each sample was observed.

    Attributes:
        view: the instrument, with this exposure's seeing in ``fwhm`` and its depth in ``exposure``.
        moffat: [B] Moffat exponent.
        e1, e2: [B] ellipticity of the PSF.
        background: [B, bands] sky left over after subtraction, in units of the sky noise.
        slope: [B, 2] its change from edge to middle along x and y, in the same units.
        resampling: [B] correlation of the noise of neighbouring pixels, which resampling of exposures leaves.
    """

    view: Instrument
    moffat: Tensor
    e1: Tensor
    e2: Tensor
    background: Tensor
    slope: Tensor
    resampling: Tensor

    def __getitem__(self, rows: Tensor) -> Observation:
        return Observation(*(getattr(self, f.name)[rows] for f in fields(self)))

    def psf(self, *, size: int, spacing: Tensor) -> Tensor:
        """Moffat (1969) PSFs with the peak at [0, 0] and wrap-around, each summing to 1.

        Returns:
            [B, bands, size, size] on grids of ``spacing`` [B] arcsec.
        """
        offset = torch.fft.fftfreq(size, d=1.0 / size, device=spacing.device) * spacing[:, None]
        x, y = offset[:, None, :], offset[:, :, None]
        e1, e2 = self.e1[:, None, None], self.e2[:, None, None]
        square = (1 - e1) * x**2 + (1 + e1) * y**2 - (2 * e2 * x) * y
        core = self.view.fwhm**2 / (4 * (torch.exp2(1 / self.moffat) - 1))[:, None]  # alpha^2 of the Moffat
        kernel: Tensor = (square[:, None] / core[..., None, None]).add_(1.0).log_()
        kernel.mul_(-self.moffat[:, None, None, None]).exp_()
        kernel /= kernel.sum((-2, -1), keepdim=True)
        return kernel

    def electrons(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Expected electrons of light and sky, and the variance of their count (Poisson and read noise).

        Arguments:
            flux: [B, bands, y, x] at zero point 30.
        """
        sky = (self.view.sky * self.view.exposure)[..., None, None]
        mean = flux.clamp(min=0) * self._gain() + sky
        return mean, mean + self.view.read_variance[..., None, None]

    def noise(self, flux: Tensor) -> Tensor:
        """Standard deviation of each pixel, in flux at zero point 30; [B, bands, y, x]."""
        return torch.sqrt(self.electrons(flux)[1]) / self._gain()

    def sky_noise(self) -> Tensor:
        """Standard deviation of an empty pixel, in flux at zero point 30; [B, bands]."""
        return self.noise(torch.zeros_like(self.view.fwhm)[..., None, None])[..., 0, 0]

    def expose(self, flux: Tensor, draws: Draws) -> Tensor:
        """Noisy, sky-subtracted image in flux at zero point 30; [B, bands, y, x] in and out.

        A band that is asked for twice is exposed once.

        Poisson counts are drawn by the Cornish & Fisher (1937) expansion of their quantile, which keeps mean, variance
        and skewness and is the same on every device.
        """
        mean, variance = self.electrons(flux)
        z = self._unit_noise(draws, flux)
        skewness = z.square().sub_(1.0).mul_(mean / (6.0 * variance))
        count = z.mul_(variance.sqrt_()).add_(skewness).add_(mean)
        sky = (self.view.sky * self.view.exposure)[..., None, None]
        left_over = self._background(flux) * torch.sqrt(sky)
        count = torch.minimum(count, self.view.full_well[..., None, None])
        image = count.sub_(sky - left_over).div_(self._gain())
        same = self.view.bands[:, :, None] == self.view.bands[:, None, :]
        first = same.int().argmax(2)[..., None, None]
        return image.gather(1, first.expand_as(image))

    def _unit_noise(self, draws: Draws, flux: Tensor) -> Tensor:
        """Normal deviates whose neighbours correlate as ``resampling`` says: white noise times [w, 1, w] each way."""
        height, width = flux.shape[-2:]
        w = self.resampling[:, None, None, None]
        w = w / (1 + torch.sqrt(1 - 2 * w**2))  # correlation 2 w / (1 + 2 w^2)
        white = draws.normal("pixel", flux.shape[1], height + 2, width + 2)
        rows = white[..., 1:-1, :].addcmul(white[..., :-2, :] + white[..., 2:, :], w)
        mixed = rows[..., 1:-1].addcmul(rows[..., :-2] + rows[..., 2:], w)
        return mixed.div_(1 + 2 * w**2)

    def _background(self, like: Tensor) -> Tensor:
        """The sky left over [B, bands, y, x], in units of its noise."""
        height, width = like.shape[-2:]
        x, y = (torch.linspace(-1, 1, n, device=like.device) for n in (width, height))
        tilt = self.slope[:, 0, None, None] * x + self.slope[:, 1, None, None] * y[:, None]
        return self.background[..., None, None] + tilt[:, None]

    def _gain(self) -> Tensor:
        return (self.view.gain * self.view.exposure)[..., None, None]


def draw_observation(draws: Draws, view: Instrument) -> Observation:
    """Seeing (partly common to the bands), PSF shape, depth and sky residual of each sample."""
    count = view.bands.shape[1]
    common, own = draws.normal("seeing")[:, None], draws.normal("seeing/band", count)
    fwhm = view.fwhm + view.scatter * (0.8 * common + 0.6 * own)
    seen = view[torch.arange(len(draws), device=fwhm.device)]
    seen.fwhm = torch.minimum(torch.maximum(fwhm, 0.6 * view.fwhm), 1.8 * view.fwhm)
    seen.exposure = view.exposure * torch.exp(0.25 * draws.normal("depth"))[:, None]
    return Observation(
        view=seen,
        moffat=draws.uniform("moffat", low=2.7, high=4.8),
        e1=0.03 * draws.normal("psf/e1"),
        e2=0.03 * draws.normal("psf/e2"),
        background=0.12 * draws.normal("background", count),
        slope=0.08 * draws.normal("background/slope", 2),
        resampling=torch.lerp(view.resampling[:, 0], view.resampling[:, 1], draws.uniform("resampling")),
    )


def convolve(image: Tensor, transfer: Tensor) -> Tensor:
    """Linear (zero-padded) convolution with the PSFs whose ``rfft2`` is ``transfer`` [B, bands, S, S/2 + 1]."""
    size, parts = transfer.shape[-2], []
    for some, response in zip(torch.split(image, AT_ONCE), torch.split(transfer, AT_ONCE), strict=True):
        blurred = torch.fft.irfft2(torch.fft.rfft2(some, s=(size, size)).mul_(response), s=(size, size))
        parts.append(blurred[..., : image.shape[-2], : image.shape[-1]])
    return torch.cat(parts)
