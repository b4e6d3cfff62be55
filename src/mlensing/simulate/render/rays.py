"""Rays from the image through a deflector to a source.

Everything is computed in coordinates along the axes of the deflector's mass about its centre, so that no ray is turned
there and back: the source is, once. The formulas are those of ``mlensing.physics.mass`` (Keeton 2001, eq. 34-35; for
other slopes Tessore & Metcalf 2015) with the inverse hyperbolic tangent as a logarithm, which is three times faster; a
test holds them equal. Satellites and subhaloes are isothermal spheres.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mlensing.simulate.scene import Components

ORDERS = 12
"""Terms of the series of a power law, whose remainder is below 1e-5 theta_E for axis ratios of 0.45 and more."""

_ROUND = 1 - 1e-6  # axis ratio above which the formula is 0 / 0 in float32
_TINY = 1e-24  # arcsec^2 that keep 0 / 0 away from the centre


@dataclass
class Deflector:
    """Elliptical power law, external shear and satellites of each sample; every field [B] unless it says so.

    Attributes:
        x, y: centre [arcsec].
        theta_E: product-averaged Einstein radius of the main galaxy [arcsec]; 0 for no mass.
        q, phi: axis ratio and position angle of the mass [radian].
        gamma1, gamma2: shear about the centre.
        slope: of the density in three dimensions; None for 2, isothermal.
        satellites: [B, K, 3] x, y from the centre and theta_E of isothermal spheres [arcsec]; 0 for none.
    """

    x: Tensor
    y: Tensor
    theta_E: Tensor
    q: Tensor
    phi: Tensor
    gamma1: Tensor
    gamma2: Tensor
    slope: Tensor | None = None
    satellites: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Deflector:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return Deflector(**{name: value[rows] for name, value in given.items() if value is not None})


def ray_terms(source: Components, lens: Deflector) -> Tensor:
    """What ``offsets`` needs of each component of a source and the deflector before it, [terms, M].

    Satellites shift the whole source plane by what they do to the ray through the deflector's centre; positions of
    sources count from there, so that a source near the axis stays near it.
    """
    q = lens.q.clamp(max=_ROUND)
    eccentricity = torch.sqrt(1 - q**2)
    cos, sin = torch.cos(2 * lens.phi), torch.sin(2 * lens.phi)
    gamma1 = lens.gamma1 * cos + lens.gamma2 * sin
    gamma2 = lens.gamma2 * cos - lens.gamma1 * sin
    strength = lens.theta_E * torch.sqrt(q) / eccentricity
    x, y = _turned(source.x, source.y, lens.phi)
    terms = [q**2, eccentricity, strength, 1 - gamma1, 1 + gamma1, gamma2, x, y]
    if lens.slope is not None:
        terms.append(lens.slope)
    if lens.satellites is not None:
        for satellite in lens.satellites.unbind(1):
            near_x, near_y = _turned(satellite[:, 0], satellite[:, 1], lens.phi)
            pull = satellite[:, 2] / torch.hypot(near_x, near_y)
            terms[6], terms[7] = terms[6] + pull * near_x, terms[7] + pull * near_y
            terms += [near_x, near_y, satellite[:, 2]]
    return torch.stack(terms)


def _turned(x: Tensor, y: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = torch.cos(phi), torch.sin(phi)
    return x * cos + y * sin, y * cos - x * sin


def offsets(terms: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the source plane, from the centre of the source.

    Arguments:
        terms: of M components (``ray_terms``): eight, one more where there is a slope, three more a satellite.
        x, y: [M, ...] image positions along the deflector's axes about its centre [arcsec].

    Returns:
        along the same axes [arcsec], each [M, ...].
    """
    trailing = [1] * (x.dim() - 1)
    q2, eccentricity, strength, along, across, gamma2, x0, y0, *more = (v.view(-1, *trailing) for v in terms)
    if len(more) % 3:
        alpha_x, alpha_y = _power_law(x, y, torch.sqrt(q2), strength * eccentricity, more.pop(0))
    else:
        alpha_x, alpha_y = _isothermal(x, y, q2, eccentricity, strength)
    beta_x = (x * along).sub_(alpha_x).sub_(x0).sub_(gamma2 * y)
    beta_y = (y * across).sub_(alpha_y).sub_(y0).sub_(gamma2 * x)
    for x_k, y_k, theta in zip(more[::3], more[1::3], more[2::3], strict=True):
        if theta.any():
            dx, dy = x - x_k, y - y_k
            pull = (dx * dx).addcmul_(dy, dy).add_(_TINY).rsqrt_().mul_(theta)
            beta_x.sub_(dx.mul_(pull))
            beta_y.sub_(dy.mul_(pull))
    return beta_x, beta_y


def _isothermal(x: Tensor, y: Tensor, q2: Tensor, eccentricity: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    scale = (x * x).mul_(q2).addcmul_(y, y).add_(_TINY).rsqrt_().mul_(eccentricity)
    alpha_x = (x * scale).atan_().mul_(strength)
    sine = scale.mul_(y)
    return alpha_x, (1 + sine).div_(1 - sine).log_().mul_(0.5 * strength)


def _power_law(x: Tensor, y: Tensor, q: Tensor, b: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """alpha* = 2 b / (1 + q) (b / R)^(t - 1) sum of Omega_n, with R^2 = q^2 x^2 + y^2, t = slope - 1 (their eq. 23)."""
    t, flattening = slope - 1, (1 - q) / (1 + q)
    radius = torch.hypot(q * x, y).clamp(min=1e-12)
    cos, sin = q * x / radius, y / radius
    turn_x, turn_y = cos * cos - sin * sin, 2 * cos * sin
    term_x, term_y = cos, sin
    sum_x, sum_y = cos, sin
    for n in range(1, ORDERS):
        ratio = -flattening * (2 * n - (2 - t)) / (2 * n + (2 - t))
        term_x, term_y = (turn_x * term_x - turn_y * term_y) * ratio, (turn_x * term_y + turn_y * term_x) * ratio
        sum_x, sum_y = sum_x + term_x, sum_y + term_y
    size = 2 * b / (1 + q) * (b / radius) ** (t - 1)
    return size * sum_x, size * sum_y
