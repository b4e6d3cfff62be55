"""Truncated isothermal ellipsoids: what cluster members are, whose haloes the cluster has stripped.

An SIE minus the same with a core ``cut`` (a dual pseudo-isothermal ellipsoid without a core: Kneib+1996; Keeton 2001,
eq. 33-35): isothermal inside ``cut``, its mass finite beyond. Sixty untruncated SIEs would outweigh the halo, since
the mass of an SIE grows with radius for ever. The two terms are subtracted within one atan and one atanh, which keeps
all digits far out, where they cancel, and halves the time. Conventions as in ``mass``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.physics.grid import Value, as_like
from mlensing.physics.mass import _TINY, _not_round


def truncated_deflection(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value, cut: Value
) -> tuple[Tensor, Tensor]:
    """Deflection of a truncated isothermal ellipsoid.

    Arguments:
        x, y, x0, y0, q, phi: as for ``sie_deflection``.
        theta_E: Einstein radius that it would have without truncation, product-averaged [arcsec].
        cut: truncation radius [arcsec], > 0.

    Returns:
        alpha_x, alpha_y [arcsec], of the broadcast shape; zero at the centre.

    Example:
        >>> x, y = torch.tensor([3.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)
        >>> ax, _ = truncated_deflection(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, cut=4.0)
        >>> round(ax.item(), 5)  # theta_E (r + cut - sqrt(r^2 + cut^2)) / r
        0.66667
    """
    along, across, cos, sin, q, theta_E, cut = _turned(x, y, x0, y0, q, phi, theta_E, cut)
    ax, ay = _along_axes(along, across, q, theta_E, cut)
    return ax * cos - ay * sin, ax * sin + ay * cos


def truncated_potential(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value, cut: Value
) -> Tensor:
    """Potential of a truncated isothermal ellipsoid [arcsec^2], zero at its centre; arguments as for the deflection.

    Example:
        >>> x, y = torch.tensor([3.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)
        >>> psi = truncated_potential(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, cut=4.0)
        >>> round(psi.item(), 4)  # r + cut - sqrt(r^2 + cut^2) + cut log((cut + sqrt(r^2 + cut^2)) / (2 cut))
        2.4711
    """
    along, across, _, _, q, theta_E, cut = _turned(x, y, x0, y0, q, phi, theta_E, cut)
    ax, ay = _along_axes(along, across, q, theta_E, cut)
    outer = torch.sqrt(q**2 * (along**2 + cut**2) + across**2) + cut
    log = 0.5 * torch.log((outer**2 + (1 - q**2) * along**2) / ((1 + q) * cut) ** 2)
    return along * ax + across * ay + theta_E * torch.sqrt(q) * cut * log


def truncated_convergence(
    x: Tensor,
    y: Tensor,
    *,
    x0: Value,
    y0: Value,
    q: Value,
    phi: Value,
    theta_E: Value,
    cut: Value,
    core: Value = 1e-6,
) -> Tensor:
    """kappa = theta_E / 2 (1 / R - 1 / sqrt(R^2 + q cut^2)) with R^2 = q x'^2 + y'^2 / q.

    Arguments:
        x, y, x0, y0, q, phi, theta_E, cut: as for ``truncated_deflection``.
        core: elliptical radius below which 1 / R is constant [arcsec]; for maps ``PIXEL_MEAN_CORE`` pixels.

    Example:
        >>> x, y = torch.tensor([3.0]), torch.tensor([0.0])
        >>> kappa = truncated_convergence(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, cut=4.0)
        >>> round(kappa.item(), 5)  # (1 / 3 - 1 / 5) / 2
        0.06667
    """
    along, across, _, _, q, theta_E, cut = _turned(x, y, x0, y0, q, phi, theta_E, cut)
    (core,) = as_like(x, core)
    square = q * along**2 + across**2 / q
    return 0.5 * theta_E * (1 / torch.sqrt(square).clamp(min=core) - 1 / torch.sqrt(square + q * cut**2))


def _turned(
    x: Tensor, y: Tensor, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value, cut: Value
) -> tuple[Tensor, ...]:
    """Positions along and across the major axis; cos and sin of its angle; q, theta_E and cut as tensors."""
    x0, y0, q, phi, theta_E, cut = as_like(x, x0, y0, q, phi, theta_E, cut)
    cos, sin, dx, dy = torch.cos(phi), torch.sin(phi), x - x0, y - y0
    return dx * cos + dy * sin, dy * cos - dx * sin, cos, sin, _not_round(q), theta_E, cut


def _along_axes(x: Tensor, y: Tensor, q: Tensor, theta_E: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """Deflection along the axes: atan a - atan b = atan((a - b) / (1 + a b)), and so for atanh."""
    flat = 1 - q**2
    f = torch.sqrt(flat)
    square = q**2 * x**2 + y**2
    inner, outer = torch.sqrt(square + _TINY**2), torch.sqrt(square + (q * cut) ** 2)
    out_x, out_y = outer + cut, outer + q**2 * cut
    along = torch.atan(f * x * (out_x - inner) / (inner * out_x + flat * x**2))
    across = torch.atanh(f * y * (out_y - inner) / (inner * out_y - flat * y**2))
    strength = theta_E * torch.sqrt(q) / f
    return strength * along, strength * across
