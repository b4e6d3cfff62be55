"""Components and lensed sources to pixels, finely sampled only where light demands it.

A profile is evaluated once per pixel, 4x4 times within four pixels of its centre and 12x12 times in the central
3x3; a lensed source 4x4 times in those pixels whose ray-traced position comes near it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from mlensing.simulate.profiles import peak, sersic_shape, shape, shape_terms
from mlensing.simulate.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components

Brightness = Callable[[Tensor, Tensor, Tensor], Tensor]

ARC_SAMPLES = 4
PATCHES = ((9, 4), (3, 12))  # (pixels a side, samples a side) around each centre, coarse to fine
CHUNK = 48  # components at once: more than the caches hold is slower
COMPACT = 25  # pixels a side that hold a small component whole
REACH = 2.5  # half-light radii, times 1 + n, beyond which a small component's light is left out
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
    for rows, unit_images in ((is_wide, _wide), (~is_wide, _compact)):
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
    return _put(image, c, _core(c, terms, size, step), size, step)


def _compact(c: Components, terms: Tensor, size: int, step: Tensor) -> Tensor:
    """Mean shape in the ``COMPACT`` pixels about each centre, zero elsewhere; [M, size^2 + SPARE]."""
    patch = _patch(c, terms, size, step, COMPACT, 1)
    _inlay(patch, _core(c, terms, size, step))
    return _put(c.flux.new_zeros(len(c), size**2 + SPARE), c, patch, size, step)


def _core(c: Components, terms: Tensor, size: int, step: Tensor) -> Tensor:
    """Mean shape in the pixels near each centre, from many samples each; [M, pixels, pixels]."""
    core, cusp = (_patch(c, terms, size, step, *patch) for patch in PATCHES)
    _inlay(core, cusp)
    return core


def _inlay(patch: Tensor, inner: Tensor) -> None:
    edge = (patch.shape[-1] - inner.shape[-1]) // 2
    patch[:, edge:-edge, edge:-edge] = inner


def _patch(c: Components, terms: Tensor, size: int, step: Tensor, pixels: int, fine: int) -> Tensor:
    """Means of ``fine`` x ``fine`` samples in ``pixels`` a side around each centre; [M, pixels, pixels]."""
    middle, step = (size - 1) / 2, step[:, None]
    inner = (torch.arange(pixels * fine, device=step.device) + 0.5) / fine - pixels / 2
    dx = (torch.round(c.x[:, None] / step + middle) - middle + inner) * step - c.x[:, None]
    dy = (torch.round(c.y[:, None] / step + middle) - middle + inner) * step - c.y[:, None]
    samples = shape(c, terms, dx[:, None, :], dy[:, :, None])
    if fine == 1:
        return samples
    pool = _pool(pixels, fine, step.device)
    return pool.T @ (samples @ pool)


@lru_cache(maxsize=8)
def _pool(pixels: int, fine: int, device: torch.device) -> Tensor:
    """Means of ``fine`` neighbours as a matrix [pixels * fine, pixels]: several times faster than ``mean``."""
    return torch.eye(pixels, device=device).repeat_interleave(fine, 0) / fine


def _put(image: Tensor, c: Components, patch: Tensor, size: int, step: Tensor) -> Tensor:
    """Write a patch [M, pixels, pixels] around each centre into ``image``, what is out of frame into a spare cell."""
    middle, near = (size - 1) / 2, torch.arange(patch.shape[-1], device=image.device) - patch.shape[-1] // 2
    column = torch.round(c.x / step + middle).long()[:, None] + near
    row = torch.round(c.y / step + middle).long()[:, None] + near
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
    step = spacing[source.owner]
    terms = shape_terms(source, turn=deflector.phi[source.owner])
    worth = source.flux * (peak(source) * step**2)[:, None]

    def brightness(which: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        return sersic_shape(terms.index_select(1, which), dx, dy)

    return trace_arcs(source, deflector, brightness, worth, size=size, spacing=spacing, fine=fine)


def trace_arcs(
    source: Components,
    deflector: Deflector,
    brightness: Brightness,
    worth: Tensor,
    *,
    size: int,
    spacing: Tensor,
    fine: int,
) -> Tensor:
    """Flux per pixel of lensed sources of any shape that end at ``SOURCE_REACH`` radii along their major axis.

    Arguments:
        brightness: (which [N], dx, dy [N, K]) -> brightness [N, K] of those sources, at offsets from their centres
            along the axes of the deflector's mass [arcsec].
        worth: [M, bands] flux of a grid cell of brightness 1.

    Returns:
        [B, bands, size, size].
    """
    lens, step = deflector[source.owner], spacing[source.owner]
    rays = ray_terms(source, lens)
    which, pixel = _near_source(source, lens, rays, size, step)
    terms = torch.cat([torch.stack([lens.x, lens.y, step, torch.cos(lens.phi), torch.sin(lens.phi)]), rays])
    samples = max(2, ARC_SAMPLES // fine)
    parts = []
    for some, there in zip(*(torch.split(v, RAYS // samples**2) for v in (which, pixel)), strict=True):
        seen = brightness(some, *_rays(terms.index_select(1, some), there, size, samples))
        parts.append(seen @ seen.new_full((samples**2, 1), samples**-2))
    mean, bands = torch.cat(parts), torch.arange(worth.shape[1], device=worth.device)
    place = (source.owner[which][:, None] * len(bands) + bands) * size**2 + pixel[:, None]
    image = mean.new_zeros(len(spacing) * len(bands) * size**2)
    image.index_add_(0, place.flatten(), (worth[which] * mean).flatten())
    return image.view(len(spacing), len(bands), size, size)


def _rays(terms: Tensor, pixel: Tensor, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Offsets [N, samples^2] of ``samples`` x ``samples`` rays from N sources, each in a pixel of its own."""
    x0, y0, step, cos, sin = terms[:5]
    x = (pixel % size - (size - 1) / 2) * step - x0
    y = (pixel // size - (size - 1) / 2) * step - y0
    inner = (torch.arange(samples, device=pixel.device) + 0.5) / samples - 0.5
    sub = torch.stack([inner.repeat(samples), inner.repeat_interleave(samples)])
    along = torch.addmm((x * cos + y * sin)[:, None], torch.stack([cos, sin], 1) * step[:, None], sub)
    across = torch.addmm((y * cos - x * sin)[:, None], torch.stack([-sin, cos], 1) * step[:, None], sub)
    return offsets(terms[5:], along, across)


def _near_source(source: Components, lens: Deflector, rays: Tensor, size: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (component, pixel) whose ray passes within reach of the source."""
    line, cos, sin = axis(size, step), torch.cos(lens.phi)[:, None], torch.sin(lens.phi)[:, None]
    x, y = line - lens.x[:, None], line - lens.y[:, None]
    reach = SOURCE_REACH * source.radius / torch.sqrt(source.q) + 0.71 * step  # the profile's major axis
    smear = 0.71 * step * lens.theta_E
    near = []
    for rows in torch.split(torch.arange(len(source), device=line.device), max(1, RAYS // size**2)):
        along = (x * cos)[rows, None, :] + (y * sin)[rows, :, None]
        across = (y * cos)[rows, :, None] - (x * sin)[rows, None, :]
        dx, dy = offsets(rays[:, rows], along, across)
        radius = torch.maximum(along.square_().add_(across.square_()).sqrt_(), step[rows, None, None])
        limit = smear[rows, None, None] / radius + reach[rows, None, None]
        near.append(dx.square_().add_(dy.square_()).sqrt_() < limit)
    which, pixel = torch.cat(near).flatten(1).nonzero(as_tuple=True)
    return which, pixel
