"""Images of points behind a cluster: triangles that hold the point, and Newton steps on the exact mass."""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.simulate.clusters.mass import ClusterMass
from mlensing.simulate.clusters.rays import RayGrid
from mlensing.simulate.render.images import held

CELL = 0.35  # arcsec a side that triangles are, about
STEPS = 8
CLOSE = 1e-5  # arcsec in the source plane
APART = 0.1  # arcsec that images are apart, at least
DIFFERENCE = 1e-4  # arcsec over which derivatives are taken


def images_of(mass: ClusterMass, rays: RayGrid, x: float, y: float, efficiency: float) -> Tensor:
    """Images of a point of the source plane.

    Arguments:
        mass, rays: of the cluster.
        x, y: of the point [arcsec].
        efficiency: of its redshift.

    Returns:
        [N, 3] float64: x, y [arcsec] and signed magnification of each image in the frame.
    """
    stride = max(1, round(CELL / rays.spacing))
    grid_x, grid_y = rays.x[::stride, ::stride], rays.y[::stride, ::stride]
    ax, ay = rays.alpha[:, ::stride, ::stride]
    inside = held((grid_x - efficiency * ax - x)[None], (grid_y - efficiency * ay - y)[None])
    row, column = inside[0].any(0).nonzero(as_tuple=True)
    half = 0.5 * stride * rays.spacing
    at_x, at_y = grid_x[row, column] + half, grid_y[row, column] + half
    for _ in range(STEPS):
        miss_x, miss_y, a, b, c, d = _local(mass, at_x, at_y, x, y, efficiency)
        det = a * d - b * c
        det = torch.where(det.abs() < 1e-3, 1e-3 * torch.where(det < 0, -1.0, 1.0), det)
        at_x = at_x - ((d * miss_x - b * miss_y) / det).clamp(-half, half)
        at_y = at_y - ((a * miss_y - c * miss_x) / det).clamp(-half, half)
    miss_x, miss_y, a, b, c, d = _local(mass, at_x, at_y, x, y, efficiency)
    found = torch.stack([at_x, at_y, 1 / (a * d - b * c)], 1)
    return _distinct(found[torch.hypot(miss_x, miss_y) < CLOSE])


def _local(mass: ClusterMass, at_x: Tensor, at_y: Tensor, x: float, y: float, share: float) -> tuple[Tensor, ...]:
    """How far rays from positions miss the point along x and y, and the four derivatives of beta."""
    h = DIFFERENCE
    near_x = torch.stack([at_x, at_x + h, at_x - h, at_x, at_x])
    near_y = torch.stack([at_y, at_y, at_y, at_y + h, at_y - h])
    ax, ay = mass.deflection(near_x, near_y)
    bx, by = near_x - share * ax, near_y - share * ay
    slopes = [(b[i] - b[i + 1]) / (2 * h) for b in (bx, by) for i in (1, 3)]
    return bx[0] - x, by[0] - y, *slopes


def _distinct(found: Tensor) -> Tensor:
    """Rows that lie apart from all rows before them."""
    gap = torch.cdist(found[:, :2], found[:, :2])
    earlier = torch.ones_like(gap, dtype=torch.bool).tril(-1)
    return found[~((gap < APART) & earlier).any(1)]
