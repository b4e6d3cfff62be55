"""The lens equation solved: where a deflector makes images of a point, and how many.

The image plane is cut into triangles; those whose map to the source plane holds the point hold an image (Schneider,
Ehlers & Falco 1992, section 10.3), which Newton steps then place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.simulate.render.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import Components

SLOTS = 7
TRIES = 3  # to bring a source closer to the axis
REACH = 2.6  # theta_E to each side that are searched: the outermost image of a multiply imaged point lies within
BEYOND = 1.5  # theta_E of a satellite behind it that are searched as well
CELLS = 64
SINGULAR = 0.02  # theta_E about the centre of a singular lens, where triangles hold the point but no image
STEPS = 5


def find_images(source: Components, lens: Deflector) -> tuple[Tensor, Tensor, Tensor]:
    """Images of the centres of M sources, each behind its own deflector.

    Arguments:
        source: positions in the source plane relative to the deflector's centre [arcsec].
        lens: of the same M rows.

    Returns:
        x, y: [M, ``SLOTS``] image positions along the axes of the deflector's mass about its centre [arcsec], NaN where
            there is none.
        count: [M].
    """
    terms = ray_terms(source, lens)
    line = (torch.linspace(-1, 1, CELLS, device=terms.device) + 4e-5) * _reach(lens)[:, None]
    shape = (len(lens.theta_E), CELLS, CELLS)
    x, y = line[:, None, :].expand(shape), line[:, :, None].expand(shape)
    beta_x, beta_y = offsets(terms, x, y)
    inside = held(beta_x, beta_y).flatten(1)
    place = inside.float().topk(2 * SLOTS, dim=1)
    column, row = place.indices % (CELLS - 1), place.indices // (CELLS - 1) % (CELLS - 1)
    cell = line[:, 1:2] - line[:, :1]
    start = line.gather(1, column) + 0.5 * cell, line.gather(1, row) + 0.5 * cell
    return _distinct(*newton(terms, *start, cell), place.values > 0, lens.theta_E)


def _reach(lens: Deflector) -> Tensor:
    """Half width [M] of the square that holds all images [arcsec]."""
    reach = REACH * lens.theta_E
    if lens.satellites is None:
        return reach
    x, y, theta_E = lens.satellites.unbind(-1)
    far = torch.where(theta_E > 0, torch.hypot(x, y) + BEYOND * theta_E, 0.0)
    return torch.maximum(reach, far.amax(1))


def multiply_imaged(source: Components, lens: Deflector) -> tuple[Components, Tensor, Tensor, Tensor]:
    """Sources brought closer to the axis where they would be imaged but once, and the images of their centres.

    Arguments:
        source: of M deflectors, the components whose centres count first, one a deflector.
        lens: of the M rows.

    Returns:
        the components, and x, y and count as ``find_images``.
    """
    *images, count = find_images(source[: len(lens.phi)], lens)
    for _ in range(TRIES):
        lone = (count < 2).nonzero()[:, 0]
        if not len(lone):
            break
        step = torch.zeros_like(lens.phi)
        step[lone] = 0.6
        shift_x, shift_y = -step * source.x[: len(step)], -step * source.y[: len(step)]
        source = source.moved(torch.arange(len(step), device=step.device), shift_x, shift_y)
        again = find_images(source[lone], lens[lone])
        for mine, theirs in zip((*images, count), again, strict=True):
            mine[lone] = theirs
    return source, images[0], images[1], count


def held(x: Tensor, y: Tensor) -> Tensor:
    """Which triangles, lower and upper halves of the cells, hold the origin; [M, 2, cells, cells] bool."""

    def corner(values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return values[:, :-1, :-1], values[:, :-1, 1:], values[:, 1:, :-1], values[:, 1:, 1:]

    (xa, xb, xc, xd), (ya, yb, yc, yd) = corner(x), corner(y)
    bc = xb * yc - xc * yb
    ab, ca = xa * yb - xb * ya, xc * ya - xa * yc
    bd, dc = xb * yd - xd * yb, xd * yc - xc * yd
    lower = ((ab > 0) == (bc > 0)) & ((bc > 0) == (ca > 0))
    upper = ((bd > 0) == (dc > 0)) & ((dc > 0) == (bc < 0))
    return torch.stack([lower, upper], 1)


def magnification(source: Components, lens: Deflector, x: Tensor, y: Tensor) -> Tensor:
    """Signed magnification [M, n] at positions x, y [M, n] along the axes of the deflector's mass."""
    a, b, c, d = _jacobian(ray_terms(source, lens), x, y, 1e-3 * lens.theta_E[:, None])
    return 1.0 / (a * d - b * c)


def _jacobian(terms: Tensor, x: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """d beta_x / dx, d beta_x / dy, d beta_y / dx, d beta_y / dy, by central differences of step ``h``."""
    (xp, yxp), (xm, yxm) = offsets(terms, x + h, y), offsets(terms, x - h, y)
    (xyp, yp), (xym, ym) = offsets(terms, x, y + h), offsets(terms, x, y - h)
    return (xp - xm) / (2 * h), (xyp - xym) / (2 * h), (yxp - yxm) / (2 * h), (yp - ym) / (2 * h)


def newton(terms: Tensor, x: Tensor, y: Tensor, cell: Tensor, *, steps: int = STEPS) -> tuple[Tensor, Tensor, Tensor]:
    """Positions after Newton steps of a cell at most, and how far from the source their rays then arrive."""
    for _ in range(steps):
        bx, by = offsets(terms, x, y)
        a, b, c, d = _jacobian(terms, x, y, 0.02 * cell)
        det = a * d - b * c
        det = torch.where(det.abs() < 1e-3, 1e-3, det)
        x = x - ((d * bx - b * by) / det).clamp(-cell, cell)
        y = y - ((a * by - c * bx) / det).clamp(-cell, cell)
    return x, y, torch.hypot(*offsets(terms, x, y))


def _distinct(x: Tensor, y: Tensor, miss: Tensor, found: Tensor, theta_E: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images that are real and stand apart from those before them, in the first slots."""
    scale = theta_E[:, None]
    good = found & (miss < 1e-3 * scale) & (torch.hypot(x, y) > SINGULAR * scale)
    near = torch.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None]) < 0.01 * scale[..., None]
    before = torch.ones_like(near[0]).tril(-1)
    good &= ~(near & before & good[:, None]).any(2)
    order = torch.argsort(good.float(), dim=1, descending=True, stable=True)[:, :SLOTS]
    x, y, good = x.gather(1, order), y.gather(1, order), good.gather(1, order)
    return torch.where(good, x, torch.nan), torch.where(good, y, torch.nan), good.sum(1).to(x.dtype)
