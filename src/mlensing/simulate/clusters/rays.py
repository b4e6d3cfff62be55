"""Galaxies behind a cluster to pixels: rays of every cell, and the sources that they meet.

Deflection is exact in the middle of each cell and linear within it (its derivatives are differences of neighbours),
which errs by less than 0.01 arcsec but in the cells that hold a member's centre. Blocks of cells are asked first
whether a source can be met, so that the cost is that of the arcs, not of the frame times the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlensing.physics import gradient, pixel_grid
from mlensing.simulate.clusters.mass import ClusterMass
from mlensing.simulate.render.arcs import RAYS, SOURCE_REACH
from mlensing.simulate.render.profiles import peak, sersic_shape, shape_terms
from mlensing.simulate.render.quadrature import legendre
from mlensing.simulate.scene import Components

BLOCK = 8  # cells a side that are asked together
NODES = 4  # rays a side in each cell that meets a source
SPARE = 2.0  # cells around a source that are looked at, because rays within a cell differ
AT_ONCE = 2**23  # pairs of source and block


@dataclass(frozen=True)
class RayGrid:
    """Where the rays of a square frame go.

    Attributes:
        x, y: of each cell's middle [arcsec]; [n, n] float64.
        alpha: deflection [2, n, n] float64 [arcsec].
        slope: d alpha_x / dx, d alpha_x / dy, d alpha_y / dy; [3, n, n].
        spacing: of the cells [arcsec].
    """

    x: Tensor
    y: Tensor
    alpha: Tensor
    slope: Tensor
    spacing: float

    @classmethod
    def of(cls, mass: ClusterMass, *, size: int, spacing: float) -> RayGrid:
        """Rays through ``size`` x ``size`` cells about the middle of the frame."""
        x, y = pixel_grid(size, size, dx=spacing, dy=spacing, dtype=torch.float64)
        alpha = torch.stack(mass.deflection(x, y))
        (xx, xy), (_, yy) = (gradient(component, dx=spacing, dy=spacing) for component in alpha)
        return cls(x, y, alpha, torch.stack([xx, xy, yy]), spacing)


def render_background(source: Components, efficiency: Tensor, rays: RayGrid) -> Tensor:
    """Flux per cell of lensed Sersic profiles; surface brightness is conserved along each ray.

    Arguments:
        source: of one sample; positions in the source plane [arcsec].
        efficiency: [M] what alpha is multiplied by for each.

    Returns:
        [bands, n, n].
    """
    size, bands = len(rays.x), source.flux.shape[1]
    image = source.flux.new_zeros(bands, size**2)
    worth, terms = source.flux * (peak(source) * rays.spacing**2)[:, None], shape_terms(source)
    node, weight = legendre(NODES, image.device)
    inner = (torch.cartesian_prod(node, node) - 0.5).T * rays.spacing  # dx, dy of each ray from the cell's middle
    weights = torch.outer(weight, weight).flatten()
    for which, cell in _meetings(source, efficiency, rays):
        dx, dy = _arrivals(source, efficiency, rays, which, cell)
        share = efficiency[which].float()
        xx, xy, yy = (share[:, None] * s.flatten()[cell].float()[:, None] for s in rays.slope)
        mean = sersic_shape(
            terms[:, which],
            dx[:, None] + (1 - xx) * inner[0] - xy * inner[1],
            dy[:, None] - xy * inner[0] + (1 - yy) * inner[1],
        )
        image.index_add_(1, cell, worth[which].T * (mean @ weights))
    return image.view(bands, size, size)


def _arrivals(
    source: Components, efficiency: Tensor, rays: RayGrid, which: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the middle rays of cells arrive, from the centres of sources [arcsec]; float32."""
    share, (ax, ay) = efficiency[which], rays.alpha.flatten(1)
    dx = rays.x.flatten()[cell] - share * ax[cell] - source.x[which].double()
    dy = rays.y.flatten()[cell] - share * ay[cell] - source.y[which].double()
    return dx.float(), dy.float()


def _meetings(source: Components, efficiency: Tensor, rays: RayGrid) -> list[tuple[Tensor, Tensor]]:
    """Pairs of source and cell whose rays may meet, in handy lots."""
    reach = SOURCE_REACH * source.radius / torch.sqrt(source.q) + SPARE * rays.spacing
    (low_x, high_x), (low_y, high_y) = _bounds(rays.alpha[0]), _bounds(rays.alpha[1])
    (near_x, far_x), (near_y, far_y) = _bounds(rays.x), _bounds(rays.y)
    size, side, found = len(rays.x), BLOCK, []
    blocks = -(-size // side)
    inner = torch.arange(side)
    for some in torch.split(torch.arange(len(source)), max(1, AT_ONCE // blocks**2)):
        share, r = efficiency[some, None].float(), reach[some, None]
        x, y = source.x[some, None], source.y[some, None]
        hit = (near_x - share * high_x < x + r) & (far_x - share * low_x > x - r)
        hit &= (near_y - share * high_y < y + r) & (far_y - share * low_y > y - r)
        which, block = hit.nonzero(as_tuple=True)
        for part in torch.split(torch.arange(len(which)), max(1, RAYS // side**2)):
            row = (block[part] // blocks * side)[:, None, None] + inner[:, None]
            column = (block[part] % blocks * side)[:, None, None] + inner
            inside = (row < size) & (column < size)
            chosen = some[which[part]][:, None, None].expand_as(inside)[inside]
            cell = (row * size + column)[inside]
            dx, dy = _arrivals(source, efficiency, rays, chosen, cell)
            near = torch.hypot(dx, dy) < reach[chosen]
            found.append((chosen[near], cell[near]))
    return found


def _bounds(values: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each block, flat; float32."""
    plane = values.float()[None, None]
    high = functional.max_pool2d(plane, BLOCK, ceil_mode=True)
    low = -functional.max_pool2d(-plane, BLOCK, ceil_mode=True)
    return low.flatten(), high.flatten()
