"""Light that is not lensed to pixels, finely sampled only where it demands it.

A profile is evaluated once per pixel, at 3x3 Gauss-Legendre nodes within four pixels of its centre, and in the four
pixels around that at 27x27 nodes that crowd towards it, so that neither the cusp of a Sersic profile nor a point is
missed.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mlensing.simulate.render.profiles import peak, shape, shape_terms
from mlensing.simulate.render.quadrature import NODES, crowding, legendre
from mlensing.simulate.scene import Components

CROWD = 9  # nodes between a centre and the edge of a pixel
NEAR = 8  # pixels a side about a centre that get ``NODES``
THIN = 1.0  # pixels across a ring, as one sigma, below which ``NODES`` are taken everywhere
CHUNK = 48  # components at once: more than the caches hold is slower
COMPACT = 24  # pixels a side that hold a small component whole
REACH = 2.5  # half-light radii, times 1 + n, beyond which a small component's light is left out
SPARE = 16  # cells behind each image of a component; the first takes what falls out of frame, the rest align rows


def axis(size: int, spacing: Tensor) -> Tensor:
    """Pixel centres [B, size] about the middle of the frame [arcsec], for spacings [B]."""
    return (torch.arange(size, device=spacing.device) - (size - 1) / 2) * spacing[:, None]


def render_light(c: Components, *, size: int, spacing: Tensor) -> Tensor:
    """Flux per pixel of unlensed components.

    Arguments:
        spacing: [B] grid spacing of each sample [arcsec].

    Returns:
        [B, bands, size, size] in the flux units of ``c.flux``.
    """
    bands = c.flux.shape[1]
    image = c.flux.new_zeros(len(spacing) * bands, size**2)
    is_wide = REACH * (1 + c.n) * c.radius > COMPACT // 2 * spacing[c.owner]
    is_thin = c.ring * c.radius * torch.sqrt(c.q) < THIN * spacing[c.owner]
    is_thin &= c.ring > 0
    for rows, unit_images in ((is_wide & ~is_thin, _wide), (~is_wide & ~is_thin, _compact), (is_thin, _thin)):
        some = c[rows.nonzero()[:, 0]]
        some = some[torch.argsort(some.owner, stable=True)]
        step, terms = spacing[some.owner], shape_terms(some)
        worth = some.flux * (peak(some) * step**2)[:, None]
        for start in range(0, len(some), CHUNK):
            part = slice(start, start + CHUNK)
            owner = some.owner[part]
            first, last = int(owner[0]), int(owner[-1]) + 1
            unit = unit_images(some[part], terms[:, part], size, step[part])
            share = _shares(worth[part], owner - first, last - first)
            image[first * bands : last * bands].addmm_(share, unit[:, : size**2])
    return image.view(len(spacing), bands, size, size)


def _shares(worth: Tensor, owner: Tensor, count: int) -> Tensor:
    """What each component's shape is worth [M, bands] to its owner, as a matrix [count * bands, M]."""
    share = worth.new_zeros(count, worth.shape[1], len(worth))
    share[owner, :, torch.arange(len(worth), device=worth.device)] = worth
    return share.flatten(0, 1)


def _wide(c: Components, terms: Tensor, size: int, step: Tensor) -> Tensor:
    """Mean shape in every pixel; [M, size^2 + SPARE]."""
    line = axis(size, step)
    image = c.flux.new_empty(len(c), size**2 + SPARE)
    dx, dy = (line - c.x[:, None])[:, None, :], (line - c.y[:, None])[:, :, None]
    image[:, : size**2] = shape(c, terms, dx, dy).flatten(1)
    corner_x, corner_y = _corner(c.x, size, step), _corner(c.y, size, step)
    return _put(image, corner_x[0], corner_y[0], _core(c, terms, corner_x[1], corner_y[1], step), size)


def _thin(c: Components, terms: Tensor, size: int, step: Tensor) -> Tensor:
    """Mean shape in every pixel from ``NODES`` x ``NODES`` samples each; [M, size^2 + SPARE]."""
    inner, pool = _pool(size, NODES, step.device)
    line = inner * step[:, None]
    samples = shape(c, terms, (line - c.x[:, None])[:, None, :], (line - c.y[:, None])[:, :, None])
    return torch.nn.functional.pad((pool @ samples @ pool.T).flatten(1), (0, SPARE))


def _compact(c: Components, terms: Tensor, size: int, step: Tensor) -> Tensor:
    """Mean shape in the ``COMPACT`` pixels about each centre, zero elsewhere; [M, size^2 + SPARE]."""
    corner_x, corner_y = _corner(c.x, size, step), _corner(c.y, size, step)
    patch = _patch(c, terms, corner_x[1], corner_y[1], step, COMPACT, 1)
    _inlay(patch, _core(c, terms, corner_x[1], corner_y[1], step))
    return _put(c.flux.new_zeros(len(c), size**2 + SPARE), corner_x[0], corner_y[0], patch, size)


def _corner(centre: Tensor, size: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel edge nearest to each centre, as the number of the pixel after it, and how far the centre is past it."""
    place = centre / step + size / 2
    edge = torch.round(place)
    return edge.long(), place - edge


def _core(c: Components, terms: Tensor, past_x: Tensor, past_y: Tensor, step: Tensor) -> Tensor:
    """Mean shape in the pixels near each centre, from many samples each; [M, NEAR, NEAR]."""
    core = _patch(c, terms, past_x, past_y, step, NEAR, NODES)
    (dx, pool_x), (dy, pool_y) = _about(past_x), _about(past_y)
    samples = shape(c, terms, (dx * step[:, None])[:, None, :], (dy * step[:, None])[:, :, None])
    _inlay(core, pool_y @ samples @ pool_x.mT)
    return core


def _inlay(patch: Tensor, inner: Tensor) -> None:
    edge = (patch.shape[-1] - inner.shape[-1]) // 2
    patch[:, edge:-edge, edge:-edge] = inner


def _patch(
    c: Components, terms: Tensor, past_x: Tensor, past_y: Tensor, step: Tensor, pixels: int, nodes: int
) -> Tensor:
    """Means over ``pixels`` a side about the corner next to each centre; [M, pixels, pixels]."""
    inner, pool = _pool(pixels, nodes, step.device)
    dx, dy = (inner - past_x[:, None]) * step[:, None], (inner - past_y[:, None]) * step[:, None]
    samples = shape(c, terms, dx[:, None, :], dy[:, :, None])
    return samples if nodes == 1 else pool @ (samples @ pool.T)


@lru_cache(maxsize=8)
def _pool(pixels: int, nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes along ``pixels`` about 0 [px], and their means by pixel as a matrix [pixels, pixels * nodes]."""
    x, w = legendre(nodes, device)
    place = torch.arange(pixels, device=device)[:, None] - pixels / 2 + x
    return place.flatten(), torch.kron(torch.eye(pixels, device=device), w)


def _about(past: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes of the two pixels about a corner that crowd towards centres ``past`` it [M].

    Returns:
        offsets from the centre [M, 3 CROWD] [px], and their means by pixel as matrices [M, 2, 3 CROWD].
    """
    t, w = crowding(CROWD, past.device)
    after, before = past.clamp(min=0)[:, None], (-past).clamp(min=0)[:, None]  # the corner lies before, or after, it
    place = torch.cat([-after - t * (1 - before), -past[:, None] * t, before + t * (1 - after)], 1)
    none = torch.zeros_like(w).expand(len(past), -1)
    left = torch.cat([w * (1 - before), w * before, none], 1)
    right = torch.cat([none, w * after, w * (1 - after)], 1)
    return place, torch.stack([left, right], 1)


def _put(image: Tensor, column: Tensor, row: Tensor, patch: Tensor, size: int) -> Tensor:
    """Write a patch [M, pixels, pixels] about each corner into ``image``, what is out of frame into a spare cell."""
    near = torch.arange(patch.shape[-1], device=image.device) - patch.shape[-1] // 2
    column, row = column[:, None] + near, row[:, None] + near
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None]
    place = torch.where(inside, row[:, :, None] * size + column[:, None], size**2)
    return image.scatter_(1, place.flatten(1), patch.flatten(1))
