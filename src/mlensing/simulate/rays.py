"""Rays from the image through a deflector to a source.

Everything is computed in coordinates along the axes of the deflector's mass about its centre, so that no ray is turned
there and back: the source is, once. The formulas are those of ``mlensing.physics.mass`` (Keeton 2001, eq. 34-35) with
the inverse hyperbolic tangent as a logarithm, which is three times faster; a test holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlensing.simulate.scene import Components

_ROUND = 1 - 1e-6  # axis ratio above which the formula is 0 / 0 in float32
_TINY = 1e-24  # arcsec^2 that keep 0 / 0 away from the centre


@dataclass
class Deflector:
    """SIE plus external shear of each sample; every field [B].

    Attributes:
        x, y: centre [arcsec].
        theta_E: product-averaged Einstein radius [arcsec]; 0 for no mass.
        q, phi: axis ratio and position angle of the mass [radian].
        gamma1, gamma2: shear about the centre.
    """

    x: Tensor
    y: Tensor
    theta_E: Tensor
    q: Tensor
    phi: Tensor
    gamma1: Tensor
    gamma2: Tensor

    def __getitem__(self, rows: Tensor) -> Deflector:
        fields = (self.x, self.y, self.theta_E, self.q, self.phi, self.gamma1, self.gamma2)
        return Deflector(*(value[rows] for value in fields))


def ray_terms(source: Components, lens: Deflector) -> Tensor:
    """What ``offsets`` needs of each component of a source and the deflector before it, [8, M]."""
    q = lens.q.clamp(max=_ROUND)
    eccentricity = torch.sqrt(1 - q**2)
    cos, sin = torch.cos(2 * lens.phi), torch.sin(2 * lens.phi)
    gamma1 = lens.gamma1 * cos + lens.gamma2 * sin
    gamma2 = lens.gamma2 * cos - lens.gamma1 * sin
    strength = lens.theta_E * torch.sqrt(q) / eccentricity
    x = source.x * torch.cos(lens.phi) + source.y * torch.sin(lens.phi)
    y = source.y * torch.cos(lens.phi) - source.x * torch.sin(lens.phi)
    return torch.stack([q**2, eccentricity, strength, 1 - gamma1, 1 + gamma1, gamma2, x, y])


def offsets(terms: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the source plane, from the centre of the source.

    Arguments:
        terms: of M components (``ray_terms``).
        x, y: [M, ...] image positions along the deflector's axes about its centre [arcsec].

    Returns:
        along the same axes [arcsec], each [M, ...].
    """
    trailing = [1] * (x.dim() - 1)
    q2, eccentricity, strength, along, across, gamma2, x0, y0 = (value.view(-1, *trailing) for value in terms)
    scale = (x * x).mul_(q2).addcmul_(y, y).add_(_TINY).rsqrt_().mul_(eccentricity)
    alpha_x = (x * scale).atan_().mul_(strength)
    sine = scale.mul_(y)
    alpha_y = (1 + sine).div_(1 - sine).log_().mul_(0.5 * strength)
    beta_x = (x * along).sub_(alpha_x).sub_(x0).sub_(gamma2 * y)
    beta_y = (y * across).sub_(alpha_y).sub_(y0).sub_(gamma2 * x)
    return beta_x, beta_y
