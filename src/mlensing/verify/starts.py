"""Where fits begin: the central galaxy first, then every Einstein radius and source position, then what is left over.

Chi^2 of a lens has many minima. A grid of Einstein radii and source positions, each at its best brightness and without
derivatives, costs less than one fit and finds the few that are worth one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mlensing.verify.hypotheses import HYPOTHESES, LENS, Hypothesis
from mlensing.verify.linear import project
from mlensing.verify.minimise import Exposures, chunk, fitted, minimise
from mlensing.verify.render import blurred, galaxy_image

RADII = 10
"""Einstein radii of the grid, in equal ratios."""
RINGS = (0.0, 0.12, 0.3, 0.55)
"""Source positions [theta_E], each but the first at ``ANGLES`` angles."""
ANGLES = 8
SEEN = 3.0
"""Excess over the central galaxy's fit [noise] above which a pixel is taken for something else's."""


def central_start(exposures: Exposures) -> Tensor:
    """Numbers [N, 6] of the central galaxy, fitted twice: the second time without what stands out of the first."""
    hypothesis = HYPOTHESES["galaxy"]
    point = hypothesis.prior(exposures.data)[0].expand(len(exposures), -1).clone()
    point[:, 2] = (0.12 * exposures.grid.size * exposures.grid.scale[:, 0]).log()
    point[:, 4] = 0.05
    found = minimise(hypothesis, exposures, point, steps=8).parameters
    for _ in range(2):
        left = fitted(hypothesis, exposures, found).residual.unflatten(2, exposures.data.shape[2:])
        quiet = exposures.weight * (smoothed(left) < SEEN)
        clean = Exposures(exposures.data, quiet, exposures.transfer, exposures.grid)
        found = minimise(hypothesis, clean, found, steps=6).parameters
    return found


def smoothed(residual: Tensor) -> Tensor:
    """Residuals [N, b, y, x] over three by three pixels, in units of their noise."""
    return 3 * avg_pool2d(residual, 3, stride=1, padding=1)


def lens_starts(exposures: Exposures, central: Tensor, count: int) -> Tensor:
    """The ``count`` Einstein radii that fit best, each at its best source position: parameters [N, count, 17].

    Arguments:
        central: [N, 6] numbers of the central galaxy, which keeps its shape; its brightness is solved for.
    """
    rows = torch.arange(len(exposures), device=central.device)
    return torch.stack([_screened(exposures[slice(row, row + 1)], central[row], count) for row in rows.tolist()])


def _screened(exposures: Exposures, central: Tensor, count: int) -> Tensor:
    grid = _candidates(exposures, central)
    first, second = HYPOTHESES[LENS].components
    light = blurred(galaxy_image(first, exposures.grid, central[None])[:, None], exposures.transfer)
    costs = []
    for some in grid.flatten(0, 1).split(chunk(central)):
        arcs = galaxy_image(second, exposures.grid, some[:, list(second.positions)])
        images = torch.cat([light.expand(len(some), -1, -1, -1, -1), blurred(arcs[:, None], exposures.transfer)], 2)
        data, weight = (t.flatten(2).expand(len(some), -1, -1) for t in (exposures.data, exposures.weight))
        best = project(images.flatten(3), data, weight)
        costs.append(torch.where((best.flux[:, :, 1] > 0).any(1), best.chi2, math.inf))
    cost, position = torch.cat(costs).reshape(grid.shape[:2]).min(1)
    chosen = cost.argsort()[:count]
    return grid[chosen, position[chosen]]


def _candidates(exposures: Exposures, central: Tensor) -> Tensor:
    """Parameters [radii, positions, 17] of the grid for one image; the mass is half as flat as the light."""
    scale, size = float(exposures.grid.scale[0].max()), exposures.grid.size
    low, high = max(0.3, 2 * scale), 0.35 * size * scale
    radii = torch.logspace(math.log10(low), math.log10(max(high, 1.5 * low)), RADII, dtype=torch.float64)
    angles = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES) + 0.1
    x = torch.cat([torch.zeros(1), *(ring * angles.cos() for ring in RINGS[1:])])
    y = torch.cat([torch.zeros(1), *(ring * angles.sin() for ring in RINGS[1:])])
    hypothesis = HYPOTHESES[LENS]
    made = hypothesis.prior(central)[0].expand(RADII, len(x), -1).clone()
    made[..., :6] = central
    theta = radii.to(central)[:, None]
    made[..., 6], made[..., 7] = central[0] + theta * x.to(central), central[1] + theta * y.to(central)
    made[..., hypothesis.index("source_log_radius")] = (0.15 * theta).clamp(min=0.15).log()
    made[..., hypothesis.index("log_theta_E")] = theta.log()
    made[..., 13:15] = 0.3 * central[4:6]
    return made


def companion_starts(exposures: Exposures, central: Tensor, hypothesis: Hypothesis, count: int) -> Tensor:
    """Companions at the brightest excesses over the central galaxy: parameters [N, count, P].

    The first start has them at the brightest, the others at the next, in turn.
    """
    left = fitted(HYPOTHESES["galaxy"], exposures, central).residual.unflatten(2, exposures.data.shape[2:])
    x, y = _peaks(smoothed(left).sum(1), exposures, count + 1)
    number = (len(hypothesis.parameters) - 6) // 6
    made = hypothesis.prior(central)[0].expand(len(central), count, -1).clone()
    made[..., :6] = central[:, None]
    for k in range(number):
        turn = [(start + k) % (count + 1) for start in range(count)]
        made[..., 6 + 6 * k], made[..., 7 + 6 * k] = x[:, turn], y[:, turn]
    return made


def _peaks(excess: Tensor, exposures: Exposures, count: int) -> tuple[Tensor, Tensor]:
    """x, y [N, count] [arcsec] of the brightest excesses [N, y, x], no two of them near each other."""
    excess, found = excess * (exposures.weight.sum(1) > 0), []
    x, y = exposures.grid.samples(exposures.grid.size, 1)
    reach = (0.06 * exposures.grid.size * exposures.grid.scale.amax(1))[:, None, None]
    for _ in range(count):
        top = excess.flatten(1).argmax(1, keepdim=True)
        px, py = x.flatten(1).gather(1, top), y.flatten(1).gather(1, top)
        found.append((px[:, 0], py[:, 0]))
        near = torch.hypot(x - px[..., None], y - py[..., None]) < reach
        excess = excess.masked_fill(near, -math.inf)
    return torch.stack([p for p, _ in found], 1), torch.stack([p for _, p in found], 1)
