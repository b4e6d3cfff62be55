"""Components and lensed sources to pixels, finely sampled only where light demands it.

A profile is evaluated once per pixel, at 3x3 Gauss-Legendre nodes within four pixels of its centre, and in the four
pixels around that at 27x27 nodes that crowd towards it, so that neither the cusp of a Sersic profile nor a point is
missed. A lensed source is evaluated at 3x3 nodes in those pixels whose ray-traced position comes near it, at crowding
nodes in those that may hold an image of its centre, and nowhere else.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mlensing.simulate.images import newton
from mlensing.simulate.profiles import peak, sersic_shape, shape, shape_terms
from mlensing.simulate.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components

NODES = 3  # along each axis of a pixel
CROWD = 9  # nodes between a centre and the edge of a pixel
CROWD_ARC = 6  # the same for a source's centre
CROWDING = 3  # power law by which they crowd
NEAR = 8  # pixels a side about a centre that get ``NODES``
THIN = 1.0  # pixels across a ring, as one sigma, below which ``NODES`` are taken everywhere
CHUNK = 48  # components at once: more than the caches hold is slower
COMPACT = 24  # pixels a side that hold a small component whole
REACH = 2.5  # half-light radii, times 1 + n, beyond which a small component's light is left out
SHARP = 1.5  # Sersic index times pixel over minor radius above which a source's centre needs crowding nodes
STRETCH = 1.3  # of a pixel in the source plane where theta_E / r <= 1, at most
SOURCE_REACH = 4.5  # half-light radii of a source that are traced: to 5e-4 of the centre's brightness
RAYS = 2**16  # traced at once: more than the caches hold is slower
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
def _legendre(nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre integration from 0 to 1."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return torch.tensor((x + 1) / 2, dtype=torch.float32, device=device), torch.tensor(w / 2).float().to(device)


@lru_cache(maxsize=8)
def _crowding(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of integration from 0 to 1 that crowd towards 0: x = s^p evens out what is singular there."""
    s, w = _legendre(count, device)
    return s**CROWDING, w * CROWDING * s ** (CROWDING - 1)


@lru_cache(maxsize=8)
def _pool(pixels: int, nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes along ``pixels`` about 0 [px], and their means by pixel as a matrix [pixels, pixels * nodes]."""
    x, w = _legendre(nodes, device)
    place = torch.arange(pixels, device=device)[:, None] - pixels / 2 + x
    return place.flatten(), torch.kron(torch.eye(pixels, device=device), w)


def _about(past: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes of the two pixels about a corner that crowd towards centres ``past`` it [M].

    Returns:
        offsets from the centre [M, 3 CROWD] [px], and their means by pixel as matrices [M, 2, 3 CROWD].
    """
    t, w = _crowding(CROWD, past.device)
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


def render_arcs(source: Components, deflector: Deflector, *, size: int, spacing: Tensor, fine: int) -> Tensor:
    """Flux per pixel of lensed sources (surface brightness is conserved along the ray).

    Arguments:
        source: Sersic profiles, positions in the source plane relative to the deflector's centre [arcsec];
            owner = sample.
        spacing: [B] grid spacing of each sample [arcsec].
        fine: grid cells per detector pixel a side; the more, the fewer samples each needs.

    Returns:
        [B, bands, size, size].
    """
    lens, step = deflector[source.owner], spacing[source.owner]
    rays = ray_terms(source, lens)
    which, pixel, holds = _near_source(source, lens, rays, size, step)
    grid = torch.stack([lens.x, lens.y, step, torch.cos(lens.phi), torch.sin(lens.phi)])
    terms = torch.cat([grid, rays, shape_terms(source, turn=lens.phi)])
    nodes = NODES if fine == 1 else NODES - 1
    mean = rays.new_empty(len(which))
    for rows, samples in ((~holds, nodes), (holds, 2 * CROWD_ARC)):
        for some in torch.split(rows.nonzero()[:, 0], RAYS // samples**2):
            near, there = terms.index_select(1, which[some]), pixel[some]
            mean[some] = _crowded_mean(near, there, size) if samples > NODES else _arc_mean(near, there, size, nodes)
    worth = source.flux * (peak(source) * step**2)[:, None]
    bands = torch.arange(source.flux.shape[1], device=mean.device)
    place = (source.owner[which][:, None] * len(bands) + bands) * size**2 + pixel[:, None]
    image = mean.new_zeros(len(spacing) * len(bands) * size**2)
    image.index_add_(0, place.flatten(), (worth[which] * mean[:, None]).flatten())
    return image.view(len(spacing), len(bands), size, size)


def _ray_start(terms: Tensor, pixel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Centres of pixels along the axes of the deflector's mass; [N] each."""
    x0, y0, step, cos, sin = terms[:5]
    x = (pixel % size - (size - 1) / 2) * step - x0
    y = (pixel // size - (size - 1) / 2) * step - y0
    return x * cos + y * sin, y * cos - x * sin


def _arc_mean(terms: Tensor, pixel: Tensor, size: int, nodes: int) -> Tensor:
    """Mean shape [N] of N sources, each in a pixel of its own, from ``nodes`` x ``nodes`` rays."""
    step, cos, sin = terms[2:5]
    along, across = _ray_start(terms, pixel, size)
    x, w = _legendre(nodes, pixel.device)
    inner = torch.stack([x.repeat(nodes), x.repeat_interleave(nodes)]) - 0.5
    along = torch.addmm(along[:, None], torch.stack([cos, sin], 1) * step[:, None], inner)
    across = torch.addmm(across[:, None], torch.stack([-sin, cos], 1) * step[:, None], inner)
    dx, dy = offsets(terms[5:-5], along, across)
    return sersic_shape(terms[-5:], dx, dy) @ torch.outer(w, w).flatten()


def _crowded_mean(terms: Tensor, pixel: Tensor, size: int) -> Tensor:
    """As ``_arc_mean``, from rays that crowd towards the image of the source's centre."""
    step, cos, sin = terms[2:5]
    along, across = _ray_start(terms, pixel, size)
    x, y, _ = newton(terms[5:-5], along[:, None], across[:, None], step[:, None], steps=2)
    x, y = x[:, 0] - along, y[:, 0] - across
    (inner_x, wx), (inner_y, wy) = _towards((x * cos - y * sin) / step), _towards((x * sin + y * cos) / step)
    cos, sin = (cos * step)[:, None], (sin * step)[:, None]
    along = (along[:, None] + cos * inner_x)[:, None, :] + (sin * inner_y)[:, :, None]
    across = (across[:, None] - sin * inner_x)[:, None, :] + (cos * inner_y)[:, :, None]
    dx, dy = offsets(terms[5:-5], along, across)
    return (wy[:, None] @ sersic_shape(terms[-5:], dx, dy) @ wx[:, :, None])[:, 0, 0]


def _towards(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes from -0.5 to 0.5 [N, 2 CROWD] that crowd towards ``centre`` [N], or the end next to it; their weights."""
    t, w = _crowding(CROWD_ARC, centre.device)
    centre = centre.clamp(-0.5, 0.5)[:, None]
    before, after = 0.5 + centre, 0.5 - centre
    return torch.cat([centre - before * t, centre + after * t], 1), torch.cat([before * w, after * w], 1)


def _near_source(
    source: Components, lens: Deflector, rays: Tensor, size: int, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (component, pixel) whose ray passes within reach of the source, and which may hold a sharp centre."""
    line, cos, sin = axis(size, step), torch.cos(lens.phi)[:, None], torch.sin(lens.phi)[:, None]
    x, y = line - lens.x[:, None], line - lens.y[:, None]
    reach = SOURCE_REACH * source.radius / torch.sqrt(source.q)  # the profile's major axis
    sharp = source.n * step > SHARP * source.radius * torch.sqrt(source.q)
    core = torch.where(sharp, 0.5 * source.radius, -torch.inf)
    near, holds = [], []
    for rows in torch.split(torch.arange(len(source), device=line.device), max(1, RAYS // size**2)):
        along = (x * cos)[rows, None, :] + (y * sin)[rows, :, None]
        across = (y * cos)[rows, :, None] - (x * sin)[rows, None, :]
        dx, dy = offsets(rays[:, rows], along, across)
        pull = along.square_().add_(across.square_()).rsqrt_().mul_(lens.theta_E[rows, None, None])
        corner = pull.clamp_(1.0, 100.0).mul_((STRETCH * 0.71 * step)[rows, None, None])
        miss = dx.square_().add_(dy.square_()).sqrt_()
        near.append(miss < corner + reach[rows, None, None])
        holds.append(miss < corner + core[rows, None, None])
    which, pixel = torch.cat(near).flatten(1).nonzero(as_tuple=True)
    return which, pixel, torch.cat(holds).flatten(1)[which, pixel]
