"""Hosts as arcs meet them: what of their pixels is light, how noisy it is, and how paint is put on."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mlensing.simulate.camera.composite import Stretch, linearised, stretched
from mlensing.simulate.draws import Draws

FAMILIAR = 3.0  # ratio of measured to preset noise within which flux is taken to be at zero point 30
LAG = 2  # pixels between those whose difference measures noise: resampling correlates nearer ones


@dataclass
class Canvas:
    """Hosts as arcs meet them; light and noise in flux at zero point 30, or near it.

    Attributes:
        image: [B, band, y, x] as it is.
        light: [B, band, y, x] its light above the sky.
        noise: [B, band, y, x] standard deviation of that light.
        unit: [B, band] flux of a unit of ``image``; for composites, of a unit of what the stretch was given.
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
    level = _low(image, 0.2) + 0.84 * noise
    unit = zero_point_unit(noise, typical)
    light = (image - level[..., None, None]) * unit[..., None, None]
    variance = (noise * unit)[..., None, None] ** 2 + light.clamp(min=0) / photons[..., None, None]
    return Canvas(image, light, torch.sqrt(variance), unit, photons, None)


def colour_canvas(image: Tensor, stretch: Stretch, *, typical: Tensor, balance: Tensor) -> Canvas:
    """Composites, linearised; their noise is that of the stretched image times the slope of the stretch.

    Arguments:
        typical: [B, 3] sky noise of the survey, in flux at zero point 30.
        balance: [B, 3] what each channel's linearised light must be multiplied with to have the colours of the sky.
    """
    step = sky_noise(image).clamp(min=1.0)[..., None, None]  # rounding hides what is below one level
    light, above = linearised(image, stretch), linearised(image + step, stretch)
    below = linearised(image - step, stretch)
    noise = ((above - below) / 2).abs()
    faint = _low(noise, 0.1) * balance
    unit = zero_point_unit(faint, typical) * balance
    every = unit[..., None, None]
    return Canvas(image, light * every, noise * every, unit, torch.ones_like(unit), stretch)


def colour_balance(image: Tensor, stretch: Stretch, expected: Tensor) -> Tensor:
    """What gives linearised composites the mean colour of galaxies, [3], of product 1.

    Which stretch a picture has been through, and with what weights, is rarely known exactly; without this, arcs on it
    would have colours that galaxies have not.

    Arguments:
        image: [N, 3, y, x] of a set of galaxies, 0..255; their middles count.
        stretch: what they are taken to have been through.
        expected: [3] mean flux of galaxies in the channels, in any unit.
    """
    light = linearised(image, stretch)
    edge = image.shape[-1] // 4
    middle = light[..., edge:-edge, edge:-edge].flatten(2).mean(2) - _low(light, 0.1)
    middle = middle.clamp(min=1e-6)
    colour = torch.log(middle) - torch.log(middle).mean(1, keepdim=True)
    wanted = torch.log(expected) - torch.log(expected).mean()
    return torch.exp(wanted - colour.median(0).values)


def _low(image: Tensor, share: float) -> Tensor:
    """The value [B, band] that a share of the pixels lies below; ``torch.quantile`` refuses large stacks."""
    pixels = image.flatten(2)
    return pixels.kthvalue(max(1, int(share * pixels.shape[2])), dim=2).values


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
