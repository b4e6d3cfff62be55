"""Surface brightness of components: Sersic profiles, rings, and arms around them.

A profile is ``peak(c) * shape(c, terms, dx, dy)``: the peak and the terms are computed once a component, the shape in
place for every sample, with as few passes over memory as can be.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.physics.light import sersic_b, sersic_total_flux
from mlensing.simulate.scene import Components


def peak(c: Components) -> Tensor:
    """Surface brightness [1/arcsec^2] of unit total flux where the shape is one; [M].

    A Gaussian ring's flux is (2 pi)^1.5 width radius^2 for a narrow one.
    """
    sersic = torch.exp(sersic_b(c.n)) / sersic_total_flux(1.0, radius=c.radius, n=c.n)
    ring = 1.0 / ((2.0 * math.pi) ** 1.5 * c.ring * c.radius**2)
    return torch.where(c.ring > 0, ring, sersic)


def shape_terms(c: Components, *, turn: Tensor | float = 0.0) -> Tensor:
    """What ``shape`` needs of each component, [5, M].

    The quadratic form xx, xy, yy of (r / radius)^2 with the product-averaged elliptical radius; 1 / 2n; -b_n.

    Arguments:
        turn: angle [radian] from the sky's x axis to the one that offsets are given along.
    """
    phi, scale = c.phi - turn, 1 / c.radius**2
    cos, sin = torch.cos(phi), torch.sin(phi)
    xx = scale * (c.q * cos**2 + sin**2 / c.q)
    xy = scale * 2 * sin * cos * (c.q - 1 / c.q)
    yy = scale * (c.q * sin**2 + cos**2 / c.q)
    return torch.stack([xx, xy, yy, 0.5 / c.n, -sersic_b(c.n)])


def shape(c: Components, terms: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Surface brightness over its peak.

    Arguments:
        terms: of the same components.
        dx, dy: [M, ...] offsets from each component's centre [arcsec]; ``[M, 1, x]`` and ``[M, y, 1]`` make a grid.
    """
    square = _elliptical_square(terms, dx, dy)
    is_ring, is_lumpy = c.ring > 0, c.arms > 0
    if not is_ring.any():
        out = _sersic(terms, square)
    else:
        out = torch.empty_like(square)
        out[is_ring] = _ring(c.ring[is_ring], square[is_ring])
        out[~is_ring] = _sersic(terms[:, ~is_ring], square[~is_ring])
    if is_lumpy.any():
        out[is_lumpy] *= _modulation(c[is_lumpy], dx[is_lumpy], dy[is_lumpy])
    return out


def sersic_shape(terms: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """``shape`` of components that all are plain Sersic profiles."""
    return _sersic(terms, _elliptical_square(terms, dx, dy))


def _like(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.dim() - 1))


def _elliptical_square(terms: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    xx, xy, yy = (_like(value, dx) for value in terms[:3])
    cross = (xy * dx + yy * dy) * dy  # a grid's first sum is the whole of its cost
    return cross.add_(xx * dx**2)


def _sersic(terms: Tensor, square: Tensor) -> Tensor:
    """exp(-b r^(1/n)); r^(1/n) as exp(log(r^2) / 2n), which is three times faster than a power. In place."""
    root, minus_b = (_like(value, square) for value in terms[3:])
    return square.clamp_(min=1e-12).log_().mul_(root).exp_().mul_(minus_b).exp_()


def _ring(width: Tensor, square: Tensor) -> Tensor:
    """Gaussian ring about r = radius. In place."""
    depth = square.clamp_(min=0).sqrt_().sub_(1.0).div_(_like(width, square))
    return depth.square_().mul_(-0.5).exp_()


def _modulation(c: Components, dx: Tensor, dy: Tensor) -> Tensor:
    cos, sin, q = (_like(v, dx) for v in (torch.cos(c.phi), torch.sin(c.phi), c.q))
    major, minor = dx * cos + dy * sin, (dy * cos - dx * sin) / q
    winding = torch.log((torch.hypot(major, minor) / _like(c.radius, dx)).clamp(min=0.05))
    azimuth = torch.atan2(minor, major) - _like(c.wind, dx) * winding
    return 1.0 + _like(c.contrast, dx) * torch.cos(_like(c.arms, dx) * azimuth - _like(c.phase, dx))
