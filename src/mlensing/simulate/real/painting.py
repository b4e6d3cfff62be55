"""Arcs on real galaxies: the light is a cutout's own, its mass and what it lenses are drawn to suit it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlensing.simulate.camera.instrument import ZERO_POINT, Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import LENSED
from mlensing.simulate.population import Galaxies, draw_deflectors
from mlensing.simulate.real.canvas import Canvas
from mlensing.simulate.render.light import axis
from mlensing.simulate.scene import Components, components
from mlensing.simulate.sky import Block, Sky

TRIES = 8
"""Deflectors drawn for each host, of which the one whose magnitude is nearest the host's becomes its mass."""

CENTRED = 0.12  # half width, in frames, of the region that the host's centre is looked for in
WINDOW = 0.1  # standard deviation, in frames, of the weight that its shape is measured with
STEPS = 6  # of the centre towards the light's


@dataclass
class Shape:
    """What is seen of each host; every field [B].

    Attributes:
        x, y: centre of light [arcsec].
        q, phi: axis ratio and position angle of its second moments [radian].
        magnitude: AB, of the band nearest r.
    """

    x: Tensor
    y: Tensor
    q: Tensor
    phi: Tensor
    magnitude: Tensor


def measure(canvas: Canvas, view: Instrument) -> Shape:
    """Centre, shape and brightness of the galaxy in the middle of each host.

    Moments are weighted with a Gaussian about the centre, so that neighbours do not count, and its width is taken out:
    for Gaussian light the inverse of the measured tensor is that of the light plus that of the weight.
    """
    seen = (canvas.certain() / canvas.noise).mean(1)
    size = seen.shape[-1]
    line = axis(size, torch.ones(1, device=seen.device))[0]
    near = (line.abs() <= CENTRED * size).float()
    x = y = torch.zeros(len(seen), device=seen.device)
    width = WINDOW * size
    for step in range(STEPS):
        weight = seen * _gaussian(line, x, y, width) * (near * near[:, None] if step == 0 else 1.0)
        total = weight.sum((1, 2)).clamp(min=1e-12)
        x, y = (weight.sum(1) * line).sum(1) / total, (weight.sum(2) * line).sum(1) / total
    q, phi = _ellipse(seen * _gaussian(line, x, y, width), line, x, y, width)
    inside = _gaussian(line, x, y, 2 * width) > 0.1
    reddest = int((view.bands[0] - 2).abs().argmin())  # r is number 2 of colours.WAVELENGTH
    flux = (canvas.light[:, reddest] * inside).sum((1, 2)).clamp(min=1.0)
    magnitude = ZERO_POINT - 2.5 * torch.log10(flux)
    return Shape(x * view.pixel_scale, y * view.pixel_scale, q, phi, magnitude)


def _gaussian(line: Tensor, x: Tensor, y: Tensor, width: float) -> Tensor:
    square = (line - x[:, None])[:, None, :] ** 2 + (line - y[:, None])[:, :, None] ** 2
    return torch.exp(-0.5 * square / width**2)


def _ellipse(weight: Tensor, line: Tensor, x: Tensor, y: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Axis ratio and position angle of light that was weighted with a Gaussian."""
    total = weight.sum((1, 2)).clamp(min=1e-12)
    dx, dy = line - x[:, None], line - y[:, None]
    xx, yy = (weight.sum(1) * dx**2).sum(1) / total, (weight.sum(2) * dy**2).sum(1) / total
    xy = (weight * dx[:, None, :] * dy[:, :, None]).sum((1, 2)) / total
    # Axes stay, and the inverses of their variances lose that of the weight.
    half, mean = torch.sqrt(((xx - yy) / 2) ** 2 + xy**2), (xx + yy) / 2
    long, short = (1 / (1 / (mean + sign * half).clamp(min=0.1) - 1 / width**2) for sign in (1, -1))
    sound = (long > 0) & (short > 0)
    q = torch.where(sound, torch.sqrt((short / long).abs()), 1.0).clamp(0.45, 0.98)
    return q, 0.5 * torch.atan2(2 * xy, xx - yy)


def suitable_deflectors(
    draws: Draws, shape: Shape, *, theta_E: tuple[Tensor, Tensor], wide_share: float, faintest: Tensor
) -> Galaxies:
    """Deflectors of the common population, each the best of ``TRIES`` for its host, with the shape of its light.

    Arguments:
        shape: of the hosts; a magnitude of NaN takes the first deflector drawn.
        theta_E, wide_share, faintest: as ``draw_deflectors``.
    """
    chosen = draw_deflectors(draws, theta_E=theta_E, wide_share=wide_share, faintest=faintest)
    anything = torch.full_like(faintest, math.inf)
    for number in range(1, TRIES):
        again = Draws(draws.seed, draws.index, f"host try {number}/")
        other = draw_deflectors(again, theta_E=theta_E, wide_share=wide_share, faintest=anything)
        worse = (other.magnitude_r - shape.magnitude).abs() < (chosen.magnitude_r - shape.magnitude).abs()
        chosen = other.where(worse, chosen)
    return replace(chosen, q=shape.q, phi=shape.phi)


class PaintedSky(Sky):
    """Real hosts of one ``fine`` grid, with arcs on those whose kind is a lens.

    Arguments:
        draws: of the samples' indices.
        view: what took each host.
        galaxies: the deflector of each.
        kind: [B] ``lens``, ``faint_lens`` or ``HOST``.
        canvas: the hosts.
        shape: theirs; mass is centred on their light.
        how: other options of ``Sky``.
    """

    def __init__(
        self,
        draws: Draws,
        view: Instrument,
        galaxies: Galaxies,
        kind: Tensor,
        canvas: Canvas,
        shape: Shape,
        **how: Any,
    ) -> None:
        self.canvas, size = canvas, canvas.image.shape[-1]
        super().__init__(draws, view, galaxies, kind, torch.stack([shape.x, shape.y], 1), size=size, **how)

    def __getitem__(self, rows: Tensor) -> PaintedSky:
        part = copy.copy(self)
        part.__dict__.update(super().__getitem__(rows).__dict__)
        part.canvas = self.canvas[rows]
        return part

    def light(self) -> Components:
        """Nothing: the hosts shine by themselves."""
        none = torch.zeros(len(self.kind), dtype=torch.bool, device=self.kind.device)
        return components(torch.zeros(self.view.bands.shape, device=none.device), active=none)

    def observe(self, *, arc_signal: float) -> Block:
        """The hosts, painted where they are lenses, and their truth; arcs reach at least this S/N."""
        truth, image = self._truth(), self.canvas.image
        rows = (self.kind < len(LENSED)).nonzero()[:, 0]
        if len(rows):
            arcs = self._arcs(rows, self._transfer(), self.canvas.certain(), arc_signal, truth)
            image = image.index_copy(0, rows, self.canvas[rows].painted(arcs, self._some(rows)))
        return {"image": image} | truth

    def _noise(self, light: Tensor) -> Tensor:
        """As measured on the hosts."""
        return self.canvas.noise
