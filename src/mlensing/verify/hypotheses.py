"""What may be in a cutout, as lists of parameters with weak priors.

A hypothesis is a central galaxy and further galaxies: one behind it, lensed by it, or up to two beside it. Every galaxy
is a Sersic profile, and the central one has a halo or disc about it, a second; the mass is a singular isothermal
ellipsoid at the centre of the light, with an external shear. Angles in arcsec. Shapes are two numbers ``v1, v2``: a
Sersic or an ellipsoid of axis ratio q has |v| / sqrt(1 + |v|^2) = (1 - q) / (1 + q), along (cos 2 phi, sin 2 phi), so
that any pair of numbers is a shape.

Brightness is not among the parameters: it is linear, and solved for (`mlensing.verify.linear`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Parameter(NamedTuple):
    """One number of a model: its Gaussian prior, and the limits beyond which it changes nothing."""

    name: str
    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf


def _galaxy(prefix: str, spread: float, radius: float, n: float) -> tuple[Parameter, ...]:
    """The six numbers of a galaxy: where it is within ``spread`` [arcsec], how large, how peaked, its shape."""
    return (
        Parameter(f"{prefix}_x", 0.0, spread),
        Parameter(f"{prefix}_y", 0.0, spread),
        Parameter(f"{prefix}_log_radius", math.log(radius), 0.7, math.log(0.02), math.log(15.0)),
        Parameter(f"{prefix}_log_n", math.log(n), 0.4, math.log(0.4), math.log(8.0)),
        Parameter(f"{prefix}_v1", 0.0, 0.35),
        Parameter(f"{prefix}_v2", 0.0, 0.35),
    )


CENTRAL = _galaxy("central", 0.2, 1.0, 3.0) + _galaxy("halo", 0.2, 3.0, 1.0)[2:]
SOURCE = _galaxy("source", 0.6, 0.25, 1.2)
MASS = (
    Parameter("log_theta_E", math.log(1.2), 0.8, math.log(0.05), math.log(30.0)),
    Parameter("mass_v1", 0.0, 0.15),
    Parameter("mass_v2", 0.0, 0.15),
    Parameter("gamma1", 0.0, 0.05),
    Parameter("gamma2", 0.0, 0.05),
)
COMPANIONS = tuple(_galaxy(f"companion{number}", 3.0, 0.4, 1.5) for number in (1, 2))


class Component(NamedTuple):
    """One galaxy of a hypothesis: the positions of its numbers among all, and whether it is seen through the lens.

    A lensed one takes its own six, the five of the mass, and the two of the centre; a halo shares the centre too.
    """

    positions: tuple[int, ...]
    lensed: bool
    central: bool


@dataclass(frozen=True)
class Hypothesis:
    """What may be in a cutout.

    Attributes:
        name: its key in `HYPOTHESES`.
        parameters: all its numbers, the central galaxy's first.
        components: the galaxies.

    Example:
        >>> len(HYPOTHESES["lens"].parameters), [c.lensed for c in HYPOTHESES["lens"].components]
        (21, [False, False, True])
    """

    name: str
    parameters: tuple[Parameter, ...]
    components: tuple[Component, ...]

    def index(self, name: str) -> int:
        """Position of the parameter of this name."""
        return [parameter.name for parameter in self.parameters].index(name)

    def prior(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Means and inverse variances [P] of the Gaussian priors."""
        mean = torch.tensor([p.mean for p in self.parameters], dtype=like.dtype, device=like.device)
        sigma = torch.tensor([p.sigma for p in self.parameters], dtype=like.dtype, device=like.device)
        return mean, sigma**-2

    def limited(self, parameters: Tensor) -> Tensor:
        """Parameters [..., P] within their limits."""
        low = torch.tensor([p.low for p in self.parameters], dtype=parameters.dtype, device=parameters.device)
        high = torch.tensor([p.high for p in self.parameters], dtype=parameters.dtype, device=parameters.device)
        return torch.minimum(torch.maximum(parameters, low), high)


LIGHT = (Component(tuple(range(6)), False, True), Component((0, 1, 6, 7, 8, 9), False, True))
"""The central galaxy of every hypothesis, and its halo."""


def _unlensed(name: str, beside: int) -> Hypothesis:
    first = len(CENTRAL)
    others = (Component(tuple(range(first + 6 * k, first + 6 * k + 6)), False, False) for k in range(beside))
    return Hypothesis(name, CENTRAL + sum(COMPANIONS[:beside], ()), (*LIGHT, *others))


LENS = "lens"
HYPOTHESES = {
    LENS: Hypothesis(
        LENS,
        CENTRAL + SOURCE + MASS,
        (*LIGHT, Component((*range(10, 21), 0, 1), True, False)),
    ),
    "galaxy": _unlensed("galaxy", 0),
    "companion": _unlensed("companion", 1),
    "companions": _unlensed("companions", 2),
}
