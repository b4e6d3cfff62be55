"""Levenberg-Marquardt over many models at once (Marquardt 1963), with Gaussian priors and brightness projected out.

Every row has its own damping and stops when it no longer gains; rows that stopped are not computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mlensing.verify.hypotheses import Hypothesis
from mlensing.verify.linear import Projection, project
from mlensing.verify.render import Grid, blurred, galaxy_image, with_derivatives

TOLERANCE = 0.05
"""A row has converged when a step that was taken gains less than this in chi^2, twice in a row."""
MOST_DAMPING = 1e8
AT_ONCE = {"cpu": 16, "cuda": 256}
"""Models computed at once: more than a processor's caches hold is slower."""


@dataclass(frozen=True)
class Exposures:
    """Images to be fitted, of one size and number of bands.

    Attributes:
        data: [N, b, y, x] flux per pixel, in any unit.
        weight: [N, b, y, x] 1 / noise; zero where pixels are not to be used.
        transfer: [N, b, S, S / 2 + 1] of the PSFs (`mlensing.verify.render.transfer_of`).
        grid: of the pixels.
    """

    data: Tensor
    weight: Tensor
    transfer: Tensor
    grid: Grid

    def __getitem__(self, rows: Tensor | slice) -> Exposures:
        return Exposures(self.data[rows], self.weight[rows], self.transfer[rows], self.grid[rows])

    def __len__(self) -> int:
        return len(self.data)


class Normal(NamedTuple):
    """Cost (chi^2 and prior) [N] of models, with half of its slope down [N, P] and half of its Hessian [N, P, P]."""

    cost: Tensor
    gradient: Tensor
    hessian: Tensor


class Minimum(NamedTuple):
    """Where a fit ended.

    Attributes:
        parameters: [N, P].
        cost: [N] chi^2 and prior.
        hessian: [N, P, P] Gauss-Newton, half of the second derivatives of the cost: inverse of the covariance.
        converged: [N] bool.
    """

    parameters: Tensor
    cost: Tensor
    hessian: Tensor
    converged: Tensor


def chunk(like: Tensor) -> int:
    """Models to compute at once on a tensor's device."""
    return AT_ONCE["cpu" if like.device.type == "cpu" else "cuda"]


def components_of(hypothesis: Hypothesis, exposures: Exposures, parameters: Tensor) -> Tensor:
    """Blurred images of unit flux [N, b, K, y, x] of the galaxies of models [N, P]."""
    numbers = hypothesis.limited(parameters)
    parts = [galaxy_image(c, exposures.grid, numbers[:, list(c.positions)]) for c in hypothesis.components]
    return blurred(torch.stack(parts, 1), exposures.transfer)


def fitted(hypothesis: Hypothesis, exposures: Exposures, parameters: Tensor) -> Projection:
    """Models [N, P] at their best brightness."""
    images = components_of(hypothesis, exposures, parameters)
    return project(images.flatten(3), exposures.data.flatten(2), exposures.weight.flatten(2))


def prior_cost(hypothesis: Hypothesis, parameters: Tensor) -> Tensor:
    """What the priors add to chi^2 of models [N, P]."""
    mean, inverse = hypothesis.prior(parameters)
    return ((parameters - mean).square() * inverse).sum(1)


def normal_equations(hypothesis: Hypothesis, exposures: Exposures, parameters: Tensor) -> Normal:
    """Cost of models [N, P] and its derivatives, in float64."""
    limited = hypothesis.limited(parameters)
    parts = [with_derivatives(c, exposures.grid, limited[:, list(c.positions)]) for c in hypothesis.components]
    images = blurred(torch.stack([image for image, _ in parts], 1), exposures.transfer)
    weight = exposures.weight.flatten(2)
    best = project(images.flatten(3), exposures.data.flatten(2), weight)
    shape = (*weight.shape[:2], parameters.shape[1], weight.shape[2])
    slopes = weight.new_zeros(shape)
    for k, (component, (_, change)) in enumerate(zip(hypothesis.components, parts, strict=True)):
        moved = blurred(change, exposures.transfer).flatten(3)
        slopes[:, :, list(component.positions)] += moved * best.flux[:, :, k, None, None]
    slopes *= weight[:, :, None]
    crossed = slopes @ best.basis.mT
    squared = (slopes @ slopes.mT - crossed @ best.inverse @ crossed.mT).double().sum(1)
    gained = (slopes @ best.residual[..., None])[..., 0].double().sum(1)
    mean, inverse = hypothesis.prior(parameters.double())
    inside = (limited == parameters).double()
    gradient = gained * inside - (parameters.double() - mean) * inverse
    hessian = squared * inside[:, :, None] * inside[:, None, :] + torch.diag(inverse)
    return Normal(best.chi2 + prior_cost(hypothesis, parameters).double(), gradient, hessian)


def minimise(hypothesis: Hypothesis, exposures: Exposures, start: Tensor, *, steps: int) -> Minimum:
    """Fit each row of ``exposures`` [N] from its ``start`` [N, P].

    Arguments:
        steps: most steps tried, each at the cost of one model with its derivatives.

    Example::

        minimise(HYPOTHESES["galaxy"], exposures, start, steps=20).parameters
    """
    rows = torch.split(torch.arange(len(start), device=start.device), chunk(start))
    done = [_minimise_some(hypothesis, exposures[some], start[some], steps) for some in rows]
    return Minimum(*(torch.cat(part) for part in zip(*done, strict=True)))


def _minimise_some(hypothesis: Hypothesis, exposures: Exposures, start: Tensor, steps: int) -> Minimum:
    point, state = start.clone(), normal_equations(hypothesis, exposures, start)
    damping = torch.full_like(state.cost, 1e-2)
    quiet = torch.zeros_like(state.cost, dtype=torch.int64)
    for _ in range(steps):
        live = ((quiet < 2) & (damping < MOST_DAMPING)).nonzero()[:, 0]
        if not len(live):
            break
        now = Normal(*(part[live] for part in state))
        trial = point[live] + _step(now, damping[live]).to(point.dtype)
        new = normal_equations(hypothesis, exposures[live], trial)
        better = new.cost < now.cost
        quiet[live] = torch.where(better & (now.cost - new.cost < TOLERANCE), quiet[live] + 1, quiet[live] * ~better)
        damping[live] = damping[live] * torch.where(better, 0.2, 6.0)
        taken = live[better]
        point[taken] = trial[better]
        for old, fresh in zip(state, new, strict=True):
            old[taken] = fresh[better]
    return Minimum(point, state.cost, state.hessian, (quiet >= 2) | (damping >= MOST_DAMPING))


def _step(normal: Normal, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [N, P]."""
    scale = normal.hessian.diagonal(dim1=-2, dim2=-1)
    damped = normal.hessian + torch.diag_embed(scale * damping[:, None])
    factor, _ = torch.linalg.cholesky_ex(damped)
    step = torch.cholesky_solve(normal.gradient[..., None], factor)[..., 0]
    return step.nan_to_num(0.0).clamp(-2.0, 2.0)
