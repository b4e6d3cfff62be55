"""Where fits begin: the central galaxy first, then every Einstein radius and source position, then what is left over.

Chi^2 of a lens has many minima. A grid of Einstein radii and source positions, each at its best brightness and without
derivatives, costs less than one fit and finds the few that are worth one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mlensing.verify.hypotheses import HYPOTHESES, LENS, Hypothesis
from mlensing.verify.linear import Projection, project
from mlensing.verify.minimise import Exposures, components_of, fitted, minimise
from mlensing.verify.render import blurred, galaxy_image

RADII = 10
"""Einstein radii of the grid, in equal ratios."""
RINGS = (0.0, 0.12, 0.3, 0.55)
"""Source positions [theta_E], each but the first at ``ANGLES`` angles."""
ANGLES = 8
REACH, MARGIN = 1.6, 3.0
"""Images of a source lie within so many theta_E, and so many pixels."""
SECTORS, CHANCE = 8, 10.0
"""Directions that evidence is looked for in, and the gain in chi^2 of one that is taken for nothing."""
SEEN = 3.0
"""Excess over the central galaxy's fit [noise] above which a pixel is taken for something else's."""


def central_start(exposures: Exposures) -> Tensor:
    """Numbers [N, 10] of the central galaxy, fitted twice: the second time without what stands out of the first."""
    hypothesis = HYPOTHESES["galaxy"]
    point = hypothesis.prior(exposures.data)[0].expand(len(exposures), -1).clone()
    point[:, 2] = (0.12 * exposures.grid.size * exposures.grid.scale[:, 0]).log()
    point[:, 4] = point[:, 8] = 0.05
    found = minimise(hypothesis, exposures, point, steps=8).parameters
    for _ in range(2):
        left = fitted(hypothesis, exposures, found).residual.reshape(exposures.data.shape)
        quiet = exposures.weight * (smoothed(left) < SEEN)
        found = minimise(hypothesis, replace(exposures, weight=quiet), found, steps=6).parameters
    return found


def smoothed(residual: Tensor) -> Tensor:
    """Residuals [N, b, y, x] over three by three pixels, in units of their noise."""
    return 3 * avg_pool2d(residual, 3, stride=1, padding=1)


def within(exposures: Exposures, theta: Tensor) -> Exposures:
    """Without what lies too far out for images of a source behind Einstein radii ``theta`` [N]: neighbours do."""
    x, y = exposures.grid.samples(exposures.grid.size, 1)
    near = torch.hypot(x, y) < (REACH * theta + MARGIN * exposures.grid.scale[:, 0])[:, None, None]
    return replace(exposures, weight=exposures.weight * near[:, None])


def evidence(exposures: Exposures, before: Projection, after: Projection) -> Tensor:
    """How much better a lens fits, [N]: logarithms of the gain in chi^2, summed over ``SECTORS`` of azimuth.

    Arcs gain in several directions. A neighbour taken for one gains in one, however bright it is, and loses where its
    counter-image is not.
    """
    x, y = exposures.grid.samples(exposures.grid.size, 1)
    sector = ((torch.atan2(y, x) / (2 * math.pi) + 0.5) * SECTORS).long().clamp(max=SECTORS - 1).flatten(1)
    gain = (before.residual.square() - after.residual.square()).sum(1)
    each = gain.new_zeros(len(gain), SECTORS).scatter_add(1, sector.expand(len(gain), -1), gain)
    return (each.sign() * torch.log1p(each.abs() / CHANCE)).sum(1)


def lens_starts(exposures: Exposures, central: Tensor, count: int) -> Tensor:
    """The ``count`` Einstein radii of most evidence, each at its best source position: parameters [N, count, 21].

    Arguments:
        central: [N, 10] numbers of the central galaxy, which keeps its shape; its brightness is solved for.
    """
    rows = range(len(exposures))
    return torch.stack([_screened(exposures[slice(row, row + 1)], central[row], count) for row in rows])


def _screened(exposures: Exposures, central: Tensor, count: int) -> Tensor:
    hypothesis, grid = HYPOTHESES[LENS], _candidates(exposures, central)
    light = components_of(HYPOTHESES["galaxy"], exposures, central[None])
    found, scores = [], []
    for some in grid:
        near = within(exposures, some[:1, hypothesis.index("log_theta_E")].exp())
        arcs = galaxy_image(hypothesis.components[-1], near.grid, some[:, list(hypothesis.components[-1].positions)])
        both = torch.cat([light.expand(len(some), -1, -1, -1, -1), blurred(arcs[:, None], near.transfer)], 2)
        data, weight = near.data.flatten(2), near.weight.flatten(2)
        after = project(both.flatten(3), data.expand(len(some), -1, -1), weight.expand(len(some), -1, -1))
        score = evidence(near, project(light.flatten(3), data, weight), after)
        best = score.argmax()
        found.append(some[best])
        scores.append(score[best])
    return torch.stack(found)[torch.stack(scores).argsort(descending=True)[:count]]


def _candidates(exposures: Exposures, central: Tensor) -> Tensor:
    """Parameters [radii, positions, 21] of the grid for one image; the mass is a third as flat as the light."""
    hypothesis, scale = HYPOTHESES[LENS], float(exposures.grid.scale[0].max())
    low, high = max(0.3, 2 * scale), 0.35 * exposures.grid.size * scale
    radii = torch.logspace(math.log10(low), math.log10(max(high, 1.5 * low)), RADII, dtype=torch.float64)
    angles = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES) + 0.1
    x = torch.cat([torch.zeros(1), *(ring * angles.cos() for ring in RINGS[1:])]).to(central)
    y = torch.cat([torch.zeros(1), *(ring * angles.sin() for ring in RINGS[1:])]).to(central)
    made = hypothesis.prior(central)[0].expand(RADII, len(x), -1).clone()
    made[..., : len(central)] = central
    theta = radii.to(central)[:, None]
    numbers = {
        "source_x": central[0] + theta * x,
        "source_y": central[1] + theta * y,
        "source_log_radius": (0.15 * theta).clamp(min=0.15).log(),
        "log_theta_E": theta.log(),
        "mass_v1": 0.3 * central[4],
        "mass_v2": 0.3 * central[5],
    }
    for name, value in numbers.items():
        made[..., hypothesis.index(name)] = value
    return made


def companion_starts(exposures: Exposures, central: Tensor, hypothesis: Hypothesis, count: int) -> Tensor:
    """Companions at the brightest excesses over the central galaxy: parameters [N, count, P].

    The first start has them at the brightest, the others at the next, in turn.
    """
    left = fitted(HYPOTHESES["galaxy"], exposures, central).residual.reshape(exposures.data.shape)
    x, y = _peaks(smoothed(left).sum(1), exposures, count + 1)
    first = central.shape[1]
    number = (len(hypothesis.parameters) - first) // 6
    made = hypothesis.prior(central)[0].expand(len(central), count, -1).clone()
    made[..., :first] = central[:, None]
    for k in range(number):
        turn = [(start + k) % (count + 1) for start in range(count)]
        made[..., first + 6 * k], made[..., first + 6 * k + 1] = x[:, turn], y[:, turn]
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
