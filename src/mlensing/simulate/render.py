"""Components and lensed sources to pixels, finely sampled only where light demands it.

A profile is evaluated once per pixel, 4x4 times within four pixels of its centre and 12x12 times in the central
3x3; a lensed source 4x4 times in those pixels whose ray-traced position comes near it, and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlensing.physics.light import sersic_b, sersic_total_flux
from mlensing.physics.mass import shear_deflection, sie_deflection
from mlensing.simulate.scene import Components

ARC_SAMPLES = 4
PATCHES = ((9, 4), (3, 12))  # (pixels a side, samples a side) around each centre, coarse to fine
CHUNK = 96  # components at once: more than the caches hold is slower
COMPACT = 25  # pixels a side that hold a small component whole
REACH = 2.5  # half-light radii, times 1 + n, beyond which a small component's light is left out
SOURCE_REACH = 4.5  # half-light radii of a source that are traced: to 5e-4 of the centre's brightness
ARC_CHUNK = 4096  # pixels traced at once: more than the caches hold is slower


@dataclass
class Deflector:
    """SIE plus external shear of each sample; every field [B].

    Attributes:
        x, y: centre [arcsec].
        theta_E: product-averaged Einstein radius [arcsec]; 0 for no mass.
        q, phi: axis ratio and position angle of the mass [radian].
        gamma1, gamma2: shear about the centre.
    """

    x: Tensor
    y: Tensor
    theta_E: Tensor
    q: Tensor
    phi: Tensor
    gamma1: Tensor
    gamma2: Tensor

    def __getitem__(self, rows: Tensor) -> Deflector:
        fields = (self.x, self.y, self.theta_E, self.q, self.phi, self.gamma1, self.gamma2)
        return Deflector(*(value[rows] for value in fields))

    def source_position(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """beta = theta - alpha(theta) for points [B, P] relative to the centre [arcsec]."""
        theta_E, q, phi, g1, g2 = (v[:, None] for v in (self.theta_E, self.q, self.phi, self.gamma1, self.gamma2))
        ax, ay = sie_deflection(x, y, x0=0.0, y0=0.0, theta_E=theta_E, q=q, phi=phi)
        sx, sy = shear_deflection(x, y, gamma1=g1, gamma2=g2)
        return x - ax - sx, y - ay - sy


def axis(size: int, spacing: Tensor) -> Tensor:
    """Pixel centres [B, size] about the middle of the frame [arcsec], for spacings [B]."""
    return (torch.arange(size, device=spacing.device) - (size - 1) / 2) * spacing[:, None]


def unit_brightness(c: Components, dx: Tensor, dy: Tensor) -> Tensor:
    """Surface brightness [1/arcsec^2] of unit total flux.

    Arguments:
        dx, dy: [M, ...] offsets from each component's centre [arcsec]; ``[M, 1, x]`` and ``[M, y, 1]`` make a grid.
    """
    square = _elliptical_square(c, dx, dy)
    out = torch.empty_like(square)
    is_ring, is_lumpy = c.ring > 0, c.arms > 0
    for rows, profile in ((~is_ring, _sersic), (is_ring, _ring)):
        if rows.all():
            out = profile(c, square)
        elif rows.any():
            out[rows] = profile(c[rows], square[rows])
    if is_lumpy.any():
        out[is_lumpy] *= _modulation(c[is_lumpy], *_some(is_lumpy, dx, dy))
    return out


def _some(rows: Tensor, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    return dx[rows], dy[rows]


def _like(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.dim() - 1))


def _elliptical_square(c: Components, dx: Tensor, dy: Tensor) -> Tensor:
    """(r / radius)^2 with the product-averaged elliptical radius, as one quadratic form."""
    cos, sin, scale = torch.cos(c.phi), torch.sin(c.phi), 1 / c.radius**2
    xx = scale * (c.q * cos**2 + sin**2 / c.q)
    yy = scale * (c.q * sin**2 + cos**2 / c.q)
    xy = scale * 2 * sin * cos * (c.q - 1 / c.q)
    cross = (_like(xy, dx) * dx) * dy
    return cross.add_(_like(xx, dx) * dx**2).add_(_like(yy, dy) * dy**2)


def _sersic(c: Components, square: Tensor) -> Tensor:
    """Sersic (1963) profile; r^(1/n) as exp(log(r^2) / 2n), which is three times faster than a power. In place."""
    b = sersic_b(c.n)
    norm = torch.exp(b) / sersic_total_flux(1.0, radius=c.radius, n=c.n)
    power = square.clamp_(min=1e-12).log_().mul_(_like(0.5 / c.n, square)).exp_()
    return power.mul_(_like(-b, square)).exp_().mul_(_like(norm, square))


def _ring(c: Components, square: Tensor) -> Tensor:
    """Gaussian ring about r = radius; its flux is (2 pi)^1.5 width radius^2 for a narrow one."""
    norm = 1.0 / ((2.0 * math.pi) ** 1.5 * c.ring * c.radius**2)
    depth = (torch.sqrt(square.clamp(min=0)) - 1.0) / _like(c.ring, square)
    return _like(norm, square) * torch.exp(-0.5 * depth**2)


def _modulation(c: Components, dx: Tensor, dy: Tensor) -> Tensor:
    cos, sin, q = (_like(v, dx) for v in (torch.cos(c.phi), torch.sin(c.phi), c.q))
    major, minor = dx * cos + dy * sin, (dy * cos - dx * sin) / q
    winding = torch.log((torch.hypot(major, minor) / _like(c.radius, dx)).clamp(min=0.05))
    azimuth = torch.atan2(minor, major) - _like(c.wind, dx) * winding
    return 1.0 + _like(c.contrast, dx) * torch.cos(_like(c.arms, dx) * azimuth - _like(c.phase, dx))


def render_light(c: Components, *, size: int, spacing: Tensor) -> Tensor:
    """Flux per pixel of unlensed components.

    Arguments:
        spacing: [B] grid spacing of each sample [arcsec].

    Returns:
        [B, bands, size, size] in the flux units of ``c.flux``.
    """
    image = c.flux.new_zeros(len(spacing) * c.flux.shape[1], size**2)
    for start in range(0, len(c), CHUNK):
        part = c[torch.arange(start, min(start + CHUNK, len(c)), device=c.x.device)]
        own = spacing[part.owner]
        share = c.flux.new_zeros(len(spacing), c.flux.shape[1], len(part))
        share[part.owner, :, torch.arange(len(part), device=own.device)] = part.flux * own[:, None] ** 2
        image.addmm_(share.flatten(0, 1), _units(part, size, own).flatten(1))
    return image.view(len(spacing), -1, size, size)


def _units(c: Components, size: int, spacing: Tensor) -> Tensor:
    """Mean surface brightness of unit flux in every pixel; [M, size, size]."""
    unit = torch.zeros(len(c), size, size, device=c.x.device)
    is_wide = REACH * (1 + c.n) * c.radius > COMPACT // 2 * spacing
    wide, narrow = is_wide.nonzero()[:, 0], (~is_wide).nonzero()[:, 0]
    line = axis(size, spacing[wide])
    unit[wide] = unit_brightness(c[wide], (line - c.x[wide, None])[:, None, :], (line - c.y[wide, None])[:, :, None])
    everyone = torch.arange(len(c), device=c.x.device)
    for rows, pixels, fine in ((narrow, COMPACT, 1), *((everyone, *patch) for patch in PATCHES)):
        _refine(unit, rows, c[rows], size, spacing[rows, None], pixels, fine)
    return unit


def _refine(unit: Tensor, rows: Tensor, c: Components, size: int, spacing: Tensor, pixels: int, fine: int) -> None:
    """Fill ``pixels`` a side around each centre of ``unit[rows]`` with means of ``fine`` x ``fine`` samples."""
    device = unit.device
    patch = torch.arange(pixels, device=device) - pixels // 2
    column = torch.round(c.x[:, None] / spacing + (size - 1) / 2).long() + patch
    row = torch.round(c.y[:, None] / spacing + (size - 1) / 2).long() + patch
    inner = (torch.arange(fine, device=device) + 0.5) / fine - 0.5
    dx = (((column - (size - 1) / 2)[..., None] + inner) * spacing[..., None]).flatten(1) - c.x[:, None]
    dy = (((row - (size - 1) / 2)[..., None] + inner) * spacing[..., None]).flatten(1) - c.y[:, None]
    mean = unit_brightness(c, dx[:, None, :], dy[:, :, None])
    if fine > 1:
        mean = mean.view(len(c), pixels, fine, pixels, fine).mean((2, 4))
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None]
    flat = (row[:, :, None] * size + column[:, None]) + rows[:, None, None] * size**2
    unit.view(-1)[flat[inside]] = mean[inside]


def render_arcs(source: Components, deflector: Deflector, *, size: int, spacing: Tensor, fine: int) -> Tensor:
    """Flux per pixel of lensed sources (surface brightness is conserved along the ray).

    Arguments:
        source: positions in the source plane relative to the deflector's centre [arcsec]; owner = sample.
        spacing: [B] grid spacing of each sample [arcsec].
        fine: grid cells per detector pixel a side; the more, the fewer samples each needs.

    Returns:
        [B, bands, size, size].
    """
    which, pixel = _near_source(source, deflector[source.owner], size, spacing[source.owner])
    samples = max(2, ARC_SAMPLES // fine)
    image = source.flux.new_zeros(len(spacing) * size**2, source.flux.shape[1])
    for start in range(0, len(pixel), ARC_CHUNK):
        some, there = which[start : start + ARC_CHUNK], pixel[start : start + ARC_CHUNK]
        near = source[some]
        flux = _arc_flux(near, deflector[near.owner], there, size, spacing[near.owner, None], samples)
        image.index_add_(0, near.owner * size**2 + there, flux)
    return image.view(len(spacing), size, size, -1).permute(0, 3, 1, 2)


def _arc_flux(source: Components, lens: Deflector, pixel: Tensor, size: int, spacing: Tensor, samples: int) -> Tensor:
    """Flux [N, bands] of source k in pixel k, from ``samples`` x ``samples`` rays."""
    inner = (torch.arange(samples, device=pixel.device) + 0.5) / samples - 0.5
    sub_y, sub_x = torch.meshgrid(inner, inner, indexing="ij")
    x = ((pixel % size - (size - 1) / 2)[:, None] + sub_x.reshape(-1)) * spacing - lens.x[:, None]
    y = ((pixel // size - (size - 1) / 2)[:, None] + sub_y.reshape(-1)) * spacing - lens.y[:, None]
    bx, by = lens.source_position(x, y)
    brightness = unit_brightness(source, bx - source.x[:, None], by - source.y[:, None])
    return brightness.mean(1, keepdim=True) * spacing**2 * source.flux


def _near_source(source: Components, lens: Deflector, size: int, spacing: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (component, pixel) whose ray passes within reach of the source."""
    line, shape = axis(size, spacing), (len(spacing), size, size)
    dx = (line - lens.x[:, None])[:, None, :].expand(shape).flatten(1)
    dy = (line - lens.y[:, None])[:, :, None].expand(shape).flatten(1)
    bx, by = lens.source_position(dx, dy)
    distance = torch.hypot(bx - source.x[:, None], by - source.y[:, None])
    step = spacing[:, None]
    stretch = 1.0 + lens.theta_E[:, None] / torch.maximum(torch.hypot(dx, dy), step)
    reach = SOURCE_REACH * source.radius / torch.sqrt(source.q)  # the profile's major axis
    near = distance < reach[:, None] + 0.71 * step * stretch
    which, pixel = near.nonzero(as_tuple=True)
    return which, pixel
