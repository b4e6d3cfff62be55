"""Lenses: deflection, potential and convergence of the profiles that galaxies and clusters are made of.

alpha = grad psi, beta = theta - alpha, lap psi = 2 kappa; psi in arcsec^2, alpha in arcsec, kappa without
unit. Elliptical radii are product-averaged (the circle of equal area); position angles turn counter-clockwise
from +x, in radians. Positions and parameters broadcast by torch's rules: parameters of one lens an image are
``[B, 1, 1]`` beside positions ``[h, w]`` or ``[B, h, w]``.

The formulas are those of ``caustics.func`` (Stone+2024), which is NaN at the exact centre and loses digits near
the centre and the scale radius of an NFW halo. Here deflection and potential are zero at the centre, a
divergent convergence is held constant below the radius ``core``, and series stand in where the NFW formulas cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from caustics import func
from torch import Tensor

from mlensing.physics.grid import Value, as_like

PIXEL_MEAN_CORE = 0.28365
"""``core`` [px] with which the central pixel of a centred SIS holds the mean over itself: 1 / (4 asinh 1)."""

_TINY = 1e-12
"""A core radius [arcsec] that only keeps 0 / 0 away."""

# Taylor series in u = r / r_s - 1 of h, the mass within r, and of f / ((r / r_s)^2 - 1), the convergence
_H_SERIES = (1 - math.log(2), 1 / 3, -1 / 30, -1 / 105, 17 / 1260, -37 / 3465)
_F_SERIES = (1 / 3, -2 / 5, 13 / 35, -20 / 63, 61 / 231, -94 / 429)


def sie_deflection(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value
) -> tuple[Tensor, Tensor]:
    """Deflection of a singular isothermal ellipsoid (Kormann+1994; Keeton 2001, eq. 34-35).

    Arguments:
        x, y: positions [arcsec].
        x0, y0: centre [arcsec].
        q: axis ratio of the convergence, 0 < q <= 1.
        phi: position angle of the major axis [rad].
        theta_E: Einstein radius, product-averaged [arcsec].

    Returns:
        alpha_x, alpha_y [arcsec], of the broadcast shape; zero at the centre.

    Example:
        >>> x, y = torch.tensor([3.0, 0.0]), torch.tensor([4.0, 0.0])
        >>> ax, ay = sie_deflection(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0)
        >>> [round(a, 5) for a in (ax[0].item(), ay[0].item(), ax[1].item())]
        [0.6, 0.8, 0.0]
    """
    x0, y0, q, phi, theta_E = as_like(x, x0, y0, q, phi, theta_E)
    ax, ay = func.reduced_deflection_angle_sie(x0, y0, _not_round(q), phi, theta_E, x, y, s=_TINY)
    return ax, ay


def sie_potential(x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value) -> Tensor:
    """Potential of a singular isothermal ellipsoid: psi = (theta - centre) . alpha (degree one, Euler).

    Arguments:
        x, y, x0, y0, q, phi, theta_E: as for :func:`sie_deflection`.

    Returns:
        psi [arcsec^2], of the broadcast shape; zero at the centre.

    Example:
        >>> x, y = torch.tensor(3.0), torch.tensor(4.0)
        >>> round(sie_potential(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0).item(), 5)
        5.0
    """
    ax, ay = sie_deflection(x, y, x0=x0, y0=y0, q=q, phi=phi, theta_E=theta_E)
    return (x - x0) * ax + (y - y0) * ay


def sie_convergence(
    x: Tensor,
    y: Tensor,
    *,
    x0: Value,
    y0: Value,
    q: Value,
    phi: Value,
    theta_E: Value,
    core: Value = 1e-6,
) -> Tensor:
    """kappa = theta_E / (2 sqrt(q x'^2 + y'^2 / q)), with x' along the major axis.

    Arguments:
        x, y, x0, y0, q, phi, theta_E: as for :func:`sie_deflection`.
        core: elliptical radius below which kappa is constant [arcsec]; for maps ``PIXEL_MEAN_CORE`` pixels.

    Returns:
        kappa, of the broadcast shape, at most theta_E / (2 core).

    Example:
        >>> x, y = torch.tensor([3.0, 0.0]), torch.tensor([4.0, 0.0])
        >>> kappa = sie_convergence(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, core=0.05)
        >>> [round(k, 5) for k in kappa.tolist()]
        [0.1, 10.0]
    """
    x0, y0, q, phi, theta_E, core = as_like(x, x0, y0, q, phi, theta_E, core)
    kappa: Tensor = func.convergence_sie(x0, y0, q, phi, theta_E, x, y, s=_TINY)
    return torch.minimum(kappa, theta_E / (2 * core))


def shear_deflection(
    x: Tensor, y: Tensor, *, gamma1: Value, gamma2: Value, x0: Value = 0.0, y0: Value = 0.0
) -> tuple[Tensor, Tensor]:
    """Deflection of an external shear: (gamma1 x + gamma2 y, gamma2 x - gamma1 y).

    Arguments:
        x, y: positions [arcsec].
        gamma1, gamma2: stretch along the axes, and along the diagonals.
        x0, y0: the point that is not deflected [arcsec].

    Returns:
        alpha_x, alpha_y [arcsec], of the broadcast shape.

    Example:
        >>> ax, ay = shear_deflection(torch.tensor(2.0), torch.tensor(1.0), gamma1=0.25, gamma2=0.0)
        >>> ax.item(), ay.item()
        (0.5, -0.25)
    """
    x0, y0, gamma1, gamma2 = as_like(x, x0, y0, gamma1, gamma2)
    ax, ay = func.reduced_deflection_angle_external_shear(x0, y0, gamma1, gamma2, x, y)
    return ax, ay


def shear_potential(x: Tensor, y: Tensor, *, gamma1: Value, gamma2: Value, x0: Value = 0.0, y0: Value = 0.0) -> Tensor:
    """psi = gamma1 (x^2 - y^2) / 2 + gamma2 x y [arcsec^2]; an external shear has no convergence.

    Arguments:
        x, y, gamma1, gamma2, x0, y0: as for :func:`shear_deflection`.

    Example:
        >>> shear_potential(torch.tensor(2.0), torch.tensor(1.0), gamma1=0.5, gamma2=0.25).item()
        1.25
    """
    x0, y0, gamma1, gamma2 = as_like(x, x0, y0, gamma1, gamma2)
    psi: Tensor = func.potential_external_shear(x0, y0, gamma1, gamma2, x, y)
    return psi


def nfw_deflection(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, scale_radius: Value, kappa_s: Value
) -> tuple[Tensor, Tensor]:
    """Deflection of a spherical NFW halo: 4 kappa_s r_s h(s) / s with s = r / r_s (Meneghetti, eq. 3.71).

    Arguments:
        x, y: positions [arcsec].
        x0, y0: centre [arcsec].
        scale_radius: r_s [arcsec].
        kappa_s: rho_s r_s / Sigma_crit; :func:`mlensing.physics.nfw_scale` gives both from a mass.

    Returns:
        alpha_x, alpha_y [arcsec], of the broadcast shape; zero at the centre.

    Example:
        >>> x, y = torch.tensor(10.0), torch.tensor(0.0)
        >>> ax, _ = nfw_deflection(x, y, x0=0.0, y0=0.0, scale_radius=10.0, kappa_s=0.1)
        >>> round(ax.item(), 4)  # 4 kappa_s r_s (1 - log 2)
        1.2274
    """
    x0, y0, scale_radius, kappa_s = as_like(x, x0, y0, scale_radius, kappa_s)
    ratio = _radius(x - x0, y - y0) / scale_radius
    log, outer = torch.log(2 / ratio), ratio.clamp(min=_inner_edge(ratio))
    inner = log / 2 - 1 / 4 + ratio**2 * (3 * log / 8 - 7 / 32)
    mean = torch.where(ratio < outer, inner, _across_one(outer, func._h_nfw, _H_SERIES) / outer**2)
    return 4 * kappa_s * mean * (x - x0), 4 * kappa_s * mean * (y - y0)


def nfw_potential(x: Tensor, y: Tensor, *, x0: Value, y0: Value, scale_radius: Value, kappa_s: Value) -> Tensor:
    """Potential of a spherical NFW halo: 2 kappa_s r_s^2 g(r / r_s) (Meneghetti, eq. 3.70); 0 at its centre.

    Use float64 where its Laplacian is wanted: g cancels inside r_s, and float32 keeps too few digits.

    Arguments:
        x, y, x0, y0, scale_radius, kappa_s: as for :func:`nfw_deflection`.

    Returns:
        psi [arcsec^2], of the broadcast shape.

    Example:
        >>> x, y = torch.tensor(10.0), torch.tensor(0.0)
        >>> psi = nfw_potential(x, y, x0=0.0, y0=0.0, scale_radius=10.0, kappa_s=0.1)
        >>> round(psi.item(), 4)  # 20 log(2)^2
        9.6091
    """
    x0, y0, scale_radius, kappa_s = as_like(x, x0, y0, scale_radius, kappa_s)
    ratio = _radius(x - x0, y - y0) / scale_radius
    log, outer = torch.log(2 / ratio), ratio.clamp(min=_inner_edge(ratio))
    inner = ratio**2 * (log / 2 + ratio**2 * (3 * log - 1) / 16)
    g = torch.where(ratio < outer, inner, func._g_nfw(outer))
    return 2 * kappa_s * scale_radius**2 * g


def nfw_convergence(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, scale_radius: Value, kappa_s: Value, core: Value = 1e-6
) -> Tensor:
    """kappa = 2 kappa_s f(r / r_s) / ((r / r_s)^2 - 1) of a spherical NFW halo (Wright & Brainerd 2000).

    Arguments:
        x, y, x0, y0, scale_radius, kappa_s: as for :func:`nfw_deflection`.
        core: radius below which kappa, which diverges as a logarithm, is constant [arcsec].

    Returns:
        kappa, of the broadcast shape.

    Example:
        >>> x, y = torch.tensor(10.0), torch.tensor(0.0)
        >>> round(nfw_convergence(x, y, x0=0.0, y0=0.0, scale_radius=10.0, kappa_s=0.3).item(), 6)
        0.2
    """
    x0, y0, scale_radius, kappa_s, core = as_like(x, x0, y0, scale_radius, kappa_s, core)
    ratio = torch.maximum(_radius(x - x0, y - y0), core) / scale_radius
    return 2 * kappa_s * _across_one(ratio, lambda r: func._f_nfw(r) / (r**2 - 1), _F_SERIES)


def _radius(x: Tensor, y: Tensor) -> Tensor:
    """Distance from the centre, never quite zero, so that its derivative exists there."""
    return torch.sqrt(x**2 + y**2 + _TINY**2)


def _inner_edge(ratio: Tensor) -> float:
    """The r / r_s below which two terms of a series beat the cancelling formulas."""
    return 1e-3 if ratio.dtype == torch.float64 else 1e-1


def _not_round(q: Tensor) -> Tensor:
    """q kept a little below 1, where the formula is 0 / 0: by 1e-8 in float64, by what float32 can hold."""
    step = 1e-8 if q.dtype == torch.float64 else 1e-6
    return torch.where(q > 1 - step, q - step, q)


def _across_one(ratio: Tensor, formula: Callable[[Tensor], Tensor], series: tuple[float, ...]) -> Tensor:
    """``formula(ratio)``, and its Taylor series near 1, where the formula subtracts nearly equal numbers."""
    reach = 5e-3 if ratio.dtype == torch.float64 else 5e-2
    u = ratio - 1
    near = u.abs() < reach
    expansion = torch.zeros_like(u)
    for coefficient in reversed(series):
        expansion = expansion * u + coefficient
    return torch.where(near, expansion, formula(torch.where(near, 2.0, ratio)))
