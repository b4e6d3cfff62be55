"""Lensed sources to pixels: rays traced only where they come near a source.

A source is evaluated at 3x3 Gauss-Legendre nodes in those pixels whose ray-traced position comes near it, at crowding
nodes in those that may hold an image of a sharp centre, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlensing.simulate.render.images import newton
from mlensing.simulate.render.light import axis
from mlensing.simulate.render.profiles import peak, sersic_shape, shape_terms
from mlensing.simulate.render.quadrature import NODES, crowding, legendre
from mlensing.simulate.render.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components

Brightness = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(which [N], dx, dy [N, ...]) -> brightness [N, ...] of those sources, at offsets from their centres along the axes of
the deflector's mass [arcsec]."""

CROWD = 6  # nodes between a source's centre and the edge of a pixel
SHARP = 1.5  # Sersic index times pixel over minor radius above which a source's centre needs crowding nodes
STRETCH = 1.3  # of a pixel in the source plane where theta_E / r <= 1, at most
SOURCE_REACH = 4.5  # half-light radii of a source that are traced: to 5e-4 of the centre's brightness
RAYS = 2**16  # traced at once: more than the caches hold is slower


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
    sharp = source.n * step > SHARP * source.radius * torch.sqrt(source.q)

    def brightness(which: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        return sersic_shape(terms.index_select(1, which), dx, dy)

    return trace_arcs(source, deflector, brightness, worth, sharp=sharp, size=size, spacing=spacing, fine=fine)


def trace_arcs(
    source: Components,
    deflector: Deflector,
    brightness: Brightness,
    worth: Tensor,
    *,
    sharp: Tensor,
    size: int,
    spacing: Tensor,
    fine: int,
) -> Tensor:
    """Flux per pixel of lensed sources of any shape that end at ``SOURCE_REACH`` radii along their major axis.

    Arguments:
        worth: [M, bands] flux of a grid cell of brightness 1.
        sharp: [M] bool, sources whose centre is smaller than a cell.

    Returns:
        [B, bands, size, size].
    """
    lens, step = deflector[source.owner], spacing[source.owner]
    if not len(source):
        return worth.new_zeros(len(spacing), worth.shape[1], size, size)
    rays = ray_terms(source, lens)
    which, pixel, holds = _near_source(source, lens, rays, sharp, size, step)
    terms = torch.cat([torch.stack([lens.x, lens.y, step, torch.cos(lens.phi), torch.sin(lens.phi)]), rays])
    mean = rays.new_empty(len(which))
    for rows, average, nodes in (
        (~holds, _plain_mean, NODES if fine == 1 else NODES - 1),
        (holds, _crowded_mean, 2 * CROWD),
    ):
        place = rows.nonzero()[:, 0]
        for some in torch.split(place, RAYS // nodes**2) if len(place) else ():
            near = which[some]
            mean[some] = average(terms.index_select(1, near), near, pixel[some], size, brightness, nodes)
    bands = torch.arange(worth.shape[1], device=mean.device)
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


def _plain_mean(terms: Tensor, which: Tensor, pixel: Tensor, size: int, brightness: Brightness, nodes: int) -> Tensor:
    """Mean brightness [N] of N sources, each in a pixel of its own, from ``nodes`` x ``nodes`` rays."""
    step, cos, sin = terms[2:5]
    along, across = _ray_start(terms, pixel, size)
    x, w = legendre(nodes, pixel.device)
    inner = torch.stack([x.repeat(nodes), x.repeat_interleave(nodes)]) - 0.5
    along = torch.addmm(along[:, None], torch.stack([cos, sin], 1) * step[:, None], inner)
    across = torch.addmm(across[:, None], torch.stack([-sin, cos], 1) * step[:, None], inner)
    return brightness(which, *offsets(terms[5:], along, across)) @ torch.outer(w, w).flatten()


def _crowded_mean(terms: Tensor, which: Tensor, pixel: Tensor, size: int, brightness: Brightness, nodes: int) -> Tensor:
    """As ``_plain_mean``, from rays that crowd towards the image of the source's centre."""
    step, cos, sin = terms[2:5]
    along, across = _ray_start(terms, pixel, size)
    x, y, _ = newton(terms[5:], along[:, None], across[:, None], step[:, None], steps=2)
    x, y = x[:, 0] - along, y[:, 0] - across
    (inner_x, wx), (inner_y, wy) = (
        _towards(place / step, nodes // 2) for place in (x * cos - y * sin, x * sin + y * cos)
    )
    cos, sin = (cos * step)[:, None], (sin * step)[:, None]
    along = (along[:, None] + cos * inner_x)[:, None, :] + (sin * inner_y)[:, :, None]
    across = (across[:, None] - sin * inner_x)[:, None, :] + (cos * inner_y)[:, :, None]
    seen = brightness(which, *offsets(terms[5:], along, across))
    return (wy[:, None] @ seen @ wx[:, :, None])[:, 0, 0]


def _towards(centre: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Nodes from -0.5 to 0.5 [N, 2 count] that crowd towards ``centre`` [N], or the end next to it; their weights."""
    t, w = crowding(count, centre.device)
    centre = centre.clamp(-0.5, 0.5)[:, None]
    before, after = 0.5 + centre, 0.5 - centre
    return torch.cat([centre - before * t, centre + after * t], 1), torch.cat([before * w, after * w], 1)


def _near_source(
    source: Components, lens: Deflector, rays: Tensor, sharp: Tensor, size: int, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (component, pixel) whose ray passes within reach of the source, and which may hold a sharp centre."""
    line, cos, sin = axis(size, step), torch.cos(lens.phi)[:, None], torch.sin(lens.phi)[:, None]
    x, y = line - lens.x[:, None], line - lens.y[:, None]
    reach = SOURCE_REACH * source.radius / torch.sqrt(source.q)  # the profile's major axis
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
