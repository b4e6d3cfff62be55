"""Whether a cutout is a lens, and of what Einstein radius: every hypothesis fitted, and compared by BIC.

BIC = chi^2 + k log(pixels) (Schwarz 1978), with k the parameters and brightnesses. Chi^2 is divided by that of the best
hypothesis per degree of freedom where this is above 1, so that noise taken too low, noise that correlates from pixel to
pixel, and structure that no hypothesis has, do not feign certainty. Uncertainties are of the Gauss-Newton Hessian at
the best minimum, widened alike: other minima are not in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlensing.verify.hypotheses import HYPOTHESES, LENS, Hypothesis
from mlensing.verify.linear import Projection
from mlensing.verify.minimise import Exposures, Minimum, components_of, fitted, minimise
from mlensing.verify.starts import central_start, companion_starts, evidence, lens_starts, smoothed, within

STARTS = 5
"""Lens fits begun for each image."""
SIFT, STEPS = 12, 40
"""Steps before the starts are compared, and of the best two after that."""
FOREIGN = 5.0
"""Residual over 3 x 3 pixels [noise] above which what lies beyond the arcs is another object's."""
BEYOND = 1.25
"""How far out [theta_E] other objects are looked for."""


@dataclass(frozen=True)
class Comparison:
    """Every hypothesis at its best, for N images.

    Attributes:
        minima: hypothesis -> where its fit ended.
        models: hypothesis -> its brightness and residual there.
        exposures: what was fitted, without other objects' pixels.
        bic: hypothesis -> [N].
        reduced: [N] chi^2 per degree of freedom of the best hypothesis.
        agreeing: [N] share of the lens starts that ended within 5 % of the best one's Einstein radius.
        magnification: [N] flux of the arcs within the frame over that of the source.
        arc_signal: [N] matched-filter S/N of the arcs that were fitted, over all bands.
    """

    minima: dict[str, Minimum]
    models: dict[str, Projection]
    exposures: Exposures
    bic: dict[str, Tensor]
    reduced: Tensor
    agreeing: Tensor
    magnification: Tensor
    arc_signal: Tensor

    def deviations(self) -> Tensor:
        """Standard deviations [N, 21] of the lens's parameters."""
        covariance: Tensor = torch.linalg.inv(self.minima[LENS].hessian)
        variance = covariance.diagonal(dim1=-2, dim2=-1) * self.reduced.clamp(min=1.0)[:, None]
        return variance.sqrt()

    def best_alternative(self) -> list[str]:
        """Name of the best hypothesis without a lens, for each image."""
        others = [name for name in self.bic if name != LENS]
        return [others[i] for i in torch.stack([self.bic[name] for name in others]).argmin(0).tolist()]


def compare(exposures: Exposures) -> Comparison:
    """Fit every hypothesis to every image.

    Example::

        found = compare(exposures)
        theta_E = found.minima["lens"].parameters[:, HYPOTHESES["lens"].index("log_theta_E")].exp()
    """
    central = central_start(exposures)
    lens, agreeing = _best_lens(exposures, central)
    exposures = _without_others(exposures, lens)
    minima = {}
    for name, hypothesis in HYPOTHESES.items():
        starts = lens.parameters[:, None] if name == LENS else _alternative_starts(exposures, central, hypothesis)
        minima[name] = _best(hypothesis, exposures, starts, STEPS)
    models = {name: fitted(HYPOTHESES[name], exposures, found.parameters) for name, found in minima.items()}
    return _compared(exposures, minima, models, agreeing)


def _alternative_starts(exposures: Exposures, central: Tensor, hypothesis: Hypothesis) -> Tensor:
    if hypothesis.name == "galaxy":
        return central[:, None]
    return companion_starts(exposures, central, hypothesis, 2)


def _best_lens(exposures: Exposures, central: Tensor) -> tuple[Minimum, Tensor]:
    """The lens fit of most evidence of several, and the share of them that agree with it."""
    theta = HYPOTHESES[LENS].index("log_theta_E")
    coarse = replace(exposures, grid=replace(exposures.grid, fine=1))
    sifted, order = _ranked(coarse, central, lens_starts(coarse, central, STARTS), SIFT)
    rows = torch.arange(len(exposures), device=central.device)[:, None]
    points = sifted.parameters.reshape(len(exposures), STARTS, -1)
    final, first = _ranked(exposures, central, points[rows, order[:, :2]], STEPS)
    chosen = 2 * rows[:, 0] + first[:, 0]
    best = Minimum(*(part[chosen] for part in final))
    near = (points[..., theta] - best.parameters[:, None, theta]).abs() < math.log(1.05)
    return best, near.double().mean(1)


def _ranked(exposures: Exposures, central: Tensor, starts: Tensor, steps: int) -> tuple[Minimum, Tensor]:
    """Lens fits from starts [N, S, P], each where its images can be; and their order [N, S], most evidence first."""
    hypothesis, count = HYPOTHESES[LENS], starts.shape[1]
    rows = torch.arange(len(exposures), device=starts.device).repeat_interleave(count)
    near = within(exposures[rows], starts.flatten(0, 1)[:, hypothesis.index("log_theta_E")].exp())
    found = minimise(hypothesis, near, starts.flatten(0, 1), steps=steps)
    before = fitted(HYPOTHESES["galaxy"], near, central[rows])
    score = evidence(near, before, fitted(hypothesis, near, found.parameters))
    return found, score.reshape(-1, count).argsort(1, descending=True)


def _every(hypothesis: Hypothesis, exposures: Exposures, starts: Tensor, steps: int) -> Minimum:
    """Fits from all starts [N, S, P], as rows [N * S]."""
    rows = torch.arange(len(exposures), device=starts.device).repeat_interleave(starts.shape[1])
    return minimise(hypothesis, exposures[rows], starts.flatten(0, 1), steps=steps)


def _best(hypothesis: Hypothesis, exposures: Exposures, starts: Tensor, steps: int) -> Minimum:
    """The best fit of each image from its starts [N, S, P]."""
    every = _every(hypothesis, exposures, starts, steps)
    number = every.cost.reshape(len(exposures), -1).argmin(1)
    rows = torch.arange(len(exposures), device=starts.device) * starts.shape[1] + number
    return Minimum(*(part[rows] for part in every))


def _without_others(exposures: Exposures, lens: Minimum) -> Exposures:
    """Without the pixels of what lies beyond the arcs and is in no hypothesis."""
    hypothesis = HYPOTHESES[LENS]
    left = fitted(hypothesis, exposures, lens.parameters).residual.reshape(exposures.data.shape)
    x, y = exposures.grid.samples(exposures.grid.size, 1)
    theta = lens.parameters[:, hypothesis.index("log_theta_E")].exp()
    exposures = within(exposures, theta)
    outside = torch.hypot(x, y) > (BEYOND * theta + 3 * exposures.grid.scale[:, 0])[:, None, None]
    foreign = (smoothed(left) > FOREIGN).any(1) & outside
    grown = torch.nn.functional.max_pool2d(foreign[:, None].to(left.dtype), 5, stride=1, padding=2) > 0
    return replace(exposures, weight=exposures.weight * ~grown)


def _compared(
    exposures: Exposures, minima: dict[str, Minimum], models: dict[str, Projection], agreeing: Tensor
) -> Comparison:
    pixels = (exposures.weight > 0).sum((1, 2, 3)).double()
    bands = exposures.data.shape[1]
    free = {name: len(h.parameters) + bands * (len(h.components) + 1) for name, h in HYPOTHESES.items()}
    reduced = torch.stack([models[name].chi2 / (pixels - free[name]) for name in HYPOTHESES]).amin(0)
    bic = {name: models[name].chi2 / reduced.clamp(min=1.0) + free[name] * pixels.log() for name in HYPOTHESES}
    arcs = components_of(HYPOTHESES[LENS], exposures, minima[LENS].parameters)[:, 0, -1]
    shown = models[LENS].flux[:, :, -2, None] * models[LENS].basis[:, :, -2]
    return Comparison(
        minima, models, exposures, bic, reduced, agreeing, arcs.sum((1, 2)), shown.square().sum((1, 2)).sqrt()
    )
