"""From a cutout as read to pixels, noise and PSF as a fit takes them: centred on the galaxy, a circle of odd size.

The variance of a pixel is that of the file (one band) or else that of the sky, measured on the image, and of the
light's photons, where a survey preset says how many electrons the sky noise stands for. To either is added what no
smooth profile fits of a real galaxy: `MISFIT` of its light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mlensing.data.cutout import Cutout, Image
from mlensing.data.normalise import sky
from mlensing.errors import ImageError
from mlensing.survey import Survey
from mlensing.verify.minimise import Exposures
from mlensing.verify.psf import PsfChoice, preset_band, psf_of
from mlensing.verify.render import Grid, transfer_of

MISFIT = 0.02
"""Share of the light that real galaxies depart from a Sersic profile by, pixel by pixel."""
SMALLEST = 21
"""Pixels a side below which there is nothing to fit."""
RIM = 12
"""The rim that is left out is at most this part of a side."""
OFF_CENTRE = 0.6
"""How far from the middle the galaxy is looked for: this many arcsec, or 2.5 pixels."""


@dataclass(frozen=True)
class Exposure:
    """One cutout, ready to be fitted.

    Attributes:
        image: [band, y, x] flux per pixel; the middle pixel is the galaxy's brightest.
        weight: [band, y, x] 1 / noise, zero where a pixel is not used.
        psf: [band, k, k].
        scales: pixel size along x and y [arcsec].
        offset: x, y of the middle pixel from the middle of the file's image [arcsec].
        bands: their names.
    """

    image: Image
    weight: Image
    psf: Image
    scales: tuple[float, float]
    offset: tuple[float, float]
    bands: tuple[str, ...]

    @property
    def kind(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What exposures of one stack have in common."""
        return self.image.shape, self.psf.shape


def expose(cutout: Cutout, choice: PsfChoice, *, size: int, bands: Sequence[str] | None, where: object) -> Exposure:
    """A cutout as an exposure of at most ``size`` pixels a side.

    Raises:
        ImageError: 8-bit colour, no pixel scale, too few pixels, no PSF, unknown bands.
    """
    cutout = _usable(cutout, bands, where)
    assert cutout.scales is not None
    side = min(size, *cutout.image.shape[1:])
    side -= 1 - side % 2
    weight, psf = _weight(cutout, where), psf_of(cutout, choice, where=where)
    row, column = _brightest(cutout, weight)
    height, width = cutout.image.shape[1:]
    return Exposure(
        image=_window(cutout.image, row, column, side),
        weight=np.where(_circle(side, psf.shape[-1] // 2), _window(weight, row, column, side), 0.0).astype(np.float32),
        psf=psf,
        scales=cutout.scales,
        offset=((column - (width - 1) / 2) * cutout.scales[0], (row - (height - 1) / 2) * cutout.scales[1]),
        bands=cutout.bands,
    )


def _usable(cutout: Cutout, bands: Sequence[str] | None, where: object) -> Cutout:
    """The bands wanted of a linear image of known scale."""
    if cutout.representation == "composite":
        problem = "8-bit colour cannot be modelled: its stretch has bent and mixed the fluxes"
        raise ImageError(where, problem, "Give the FITS images that the picture was made of.")
    if cutout.scales is None:
        raise ImageError(where, "no pixel scale", "Add PIXSCALE to the header, or give --pixel_scale or --survey.")
    if min(cutout.image.shape[1:]) < SMALLEST:
        problem = f"{cutout.image.shape[2]} x {cutout.image.shape[1]} pixels, expected {SMALLEST} or more a side"
        raise ImageError(where, problem, "Cut it out larger.")
    if bands is None:
        return cutout
    missing = [band for band in bands if band not in cutout.bands]
    if missing:
        problem = f"no band {', '.join(missing)}; it has {', '.join(cutout.bands)}"
        raise ImageError(where, problem, "Name bands that it has, or leave --bands out.")
    planes = [cutout.bands.index(band) for band in bands]
    return replace(cutout, image=np.ascontiguousarray(cutout.image[planes]), bands=tuple(bands))


def _weight(cutout: Cutout, where: object) -> Image:
    """1 / noise of each pixel [band, y, x]; zero for those that are bad.

    Raises:
        ImageError: a band with too few pixels left.
    """
    variance = _variance(cutout)
    good = ~cutout.mask[None] & np.isfinite(variance) & (variance > 0)
    if int(good.sum((1, 2)).min()) < SMALLEST**2 // 2:
        remedy = "Check the HDUs MASK and VARIANCE."
        raise ImageError(where, f"a band has {int(good.sum((1, 2)).min())} usable pixels", remedy)
    return np.where(good, 1 / np.sqrt(np.where(good, variance, 1.0)), 0.0).astype(np.float32)


def _variance(cutout: Cutout) -> NDArray[np.float64]:
    """Of each pixel [band, y, x], as the module says."""
    level, noise = (t[0].numpy().astype(float)[:, None, None] for t in sky(torch.from_numpy(cutout.image)[None]))
    light = uniform_filter(np.clip(cutout.image - level, 0, None), size=(1, 3, 3))
    if "variance" in cutout.maps and len(cutout.bands) == 1:
        variance = cutout.maps["variance"][None].astype(float)
    else:
        variance = noise**2 + light * noise / _electrons(cutout)[:, None, None]
    return np.asarray(variance + (MISFIT * light) ** 2)


def _electrons(cutout: Cutout) -> NDArray[np.float64]:
    """Standard deviation of an empty pixel of each band [electrons], by the survey; infinite where that is unknown.

    A light of one sky noise then counts as many electrons, which is their variance, whatever the image's unit.
    """
    if cutout.survey is None:
        return np.full(len(cutout.bands), np.inf)
    survey = Survey.load(cutout.survey)
    known = [preset_band(survey, band) for band in cutout.bands]
    names = [next((name for name, band in survey.bands.items() if band is k), None) for k in known]
    return np.array([np.inf if n is None else survey.sky_noise(n) * survey.band(n).exposure for n in names])


def _brightest(cutout: Cutout, weight: Image) -> tuple[int, int]:
    """Row and column of the brightest pixel near the middle, over 3 x 3 pixels and all bands."""
    signal = np.where(cutout.mask, 0.0, cutout.image * np.median(weight, (1, 2))[:, None, None])
    bright = uniform_filter(signal.sum(0), 3)
    assert cutout.scales is not None
    y, x = np.indices(bright.shape) - (np.array(bright.shape)[:, None, None] - 1) / 2
    reach = max(2.5, OFF_CENTRE / min(cutout.scales))
    row, column = np.unravel_index(np.where(np.hypot(x, y) <= reach, bright, -np.inf).argmax(), bright.shape)
    return int(row), int(column)


def _window(planes: Image, row: int, column: int, side: int) -> Image:
    """``side`` x ``side`` pixels about one; zero beyond the image."""
    half = side // 2
    padded = np.pad(planes, ((0, 0), (half, half), (half, half)))
    return np.ascontiguousarray(padded[:, row : row + side, column : column + side])


def _circle(side: int, reach: int) -> NDArray[np.bool_]:
    """Without the corners, and most of the rim into which a PSF of that ``reach`` [px] blurs light from beyond."""
    y, x = np.indices((side, side)) - side // 2
    return np.asarray(np.hypot(x, y) <= side // 2 - max(1, min(reach, side // RIM)))


def stacked(exposures: Sequence[Exposure], device: torch.device) -> Exposures:
    """Exposures of one kind, each band scaled to a noise near 1, so that float32 holds any unit."""
    image, weight, psf = (
        torch.from_numpy(np.stack([getattr(e, name) for e in exposures])).float().to(device)
        for name in ("image", "weight", "psf")
    )
    unit = weight.flatten(2).amax(2).clamp(min=torch.finfo(torch.float32).tiny)[..., None, None]
    grid = Grid(image.shape[-1], torch.tensor([e.scales for e in exposures], dtype=torch.float32, device=device))
    return Exposures(image * unit, weight / unit, transfer_of(psf, grid.size), grid)
