"""Scars of the detector, laid on finished exposures: cosmic rays in one band, masked columns and corners.

Saturation is part of the exposure (``instrument``); stars, their spikes and trails are light (``negatives.field``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws

RAYS = 0.01
"""Share of all samples that a cosmic ray survives in, whatever their class."""

HOLES = 0.02
"""Share of all samples with pixels that carry no data and were filled with zero."""


def scarred(image: Tensor, draws: Draws, *, noise: Tensor, struck: Tensor, bands: Tensor) -> Tensor:
    """Images with the scars that some of them have.

    Arguments:
        image: [B, bands, y, x].
        noise: [B, bands] standard deviation of an empty pixel.
        struck: [B] bool, samples whose subject is a cosmic ray.
        bands: [B, bands] band numbers: a band that is asked for twice is scarred alike both times.

    Returns:
        the same shape; samples without a scar are unchanged.
    """
    hit = draws.chance("ray", RAYS) | struck
    torn = draws.chance("hole", HOLES)
    if not bool((hit | torn).any()):
        return image
    out = image.clone()
    for rows, scar in ((hit, _rays), (torn, _holes)):
        some = rows.nonzero()[:, 0]
        if len(some):
            out[some] = scar(out[some], Draws(draws.seed, draws.index[some]), noise[some], bands[some])
    return out


def _rays(image: Tensor, draws: Draws, noise: Tensor, bands: Tensor) -> Tensor:
    """A streak sharper than any PSF in one band of each image, 30 to 3000 sigma a pixel."""
    height, width = image.shape[-2:]
    angle, length = draws.uniform("ray/angle", high=math.pi), draws.uniform("ray/length", low=0.5, high=12.0)
    centre = 0.3 * draws.uniform("ray/centre", 2, low=-1.0, high=1.0)
    x = torch.arange(width, device=image.device) - (0.5 + centre[:, :1]) * width
    y = torch.arange(height, device=image.device) - (0.5 + centre[:, 1:]) * height
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    along, across = x[:, None] * cos + y[:, :, None] * sin, y[:, :, None] * cos - x[:, None] * sin
    beyond = (along.abs() - length[:, None, None]).clamp(min=0)
    track = torch.exp(-2.0 * (across**2 + beyond**2))
    band = draws.choice("ray/band", torch.ones(bands.shape[1]))[:, None]
    height_sigma = 30.0 * 10 ** draws.uniform("ray/energy", high=2.0)
    amount = (bands == bands.gather(1, band)) * noise * height_sigma[:, None]
    return image + amount[..., None, None] * track[:, None]


def _holes(image: Tensor, draws: Draws, noise: Tensor, bands: Tensor) -> Tensor:
    """A bad column or row, or a corner beyond the chip, set to zero in all bands."""
    _, _, height, width = image.shape
    where = draws.uniform("hole/where", 2)
    x, y = torch.arange(width, device=image.device) / width, torch.arange(height, device=image.device) / height
    column = ((x - where[:, :1]).abs() < 0.6 / width)[:, None, :].expand(-1, height, -1)
    row = ((y - where[:, 1:]).abs() < 0.6 / height)[:, :, None].expand(-1, -1, width)
    corner = (x > 0.6 + 0.4 * where[:, :1])[:, None, :] & (y > 0.6 + 0.4 * where[:, 1:])[:, :, None]
    which = draws.choice("hole/kind", torch.ones(3))
    empty = torch.stack([column, row, corner])[which, torch.arange(len(image), device=image.device)]
    return image.masked_fill(empty[:, None], 0.0)
