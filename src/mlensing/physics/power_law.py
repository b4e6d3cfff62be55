"""The elliptical power law: an SIE whose density falls as another power of the radius (Tessore & Metcalf 2015).

kappa = (3 - slope) / 2 (theta_E / sqrt(q x'^2 + y'^2 / q))^(slope - 1); slope 2 is the SIE of ``mass``, whose signs,
units and product-averaged theta_E hold here too. The formulas are those of ``caustics.func``.
"""

from __future__ import annotations

import torch
from caustics import func
from torch import Tensor

from mlensing.physics.grid import Value, as_like

ORDERS = 24
"""Terms of the angular series: its remainder is below 1e-8 theta_E for q of 0.4 and more."""


def power_law_deflection(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value, slope: Value
) -> tuple[Tensor, Tensor]:
    """Deflection (Tessore & Metcalf 2015, eq. 13).

    Arguments:
        x, y: positions [arcsec].
        x0, y0: centre [arcsec].
        q: axis ratio of the convergence, 0.2 < q <= 1.
        phi: position angle of the major axis [rad].
        theta_E: Einstein radius, product-averaged [arcsec].
        slope: of the density in three dimensions, 1 < slope < 3.

    Returns:
        alpha_x, alpha_y [arcsec], of the broadcast shape; zero at the centre.

    Example:
        >>> x, y = torch.tensor([3.0]), torch.tensor([4.0])
        >>> ax, ay = power_law_deflection(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, slope=2.5)
        >>> round(torch.hypot(ax, ay).item(), 4)  # theta_E (theta_E / r)^(slope - 2)
        0.4472
    """
    x0, y0, q, phi, theta_E, slope = as_like(x, x0, y0, q, phi, theta_E, slope)
    ax, ay = func.reduced_deflection_angle_epl(x0, y0, q, phi, theta_E, slope - 1, x, y, ORDERS)
    return ax, ay


def power_law_potential(
    x: Tensor, y: Tensor, *, x0: Value, y0: Value, q: Value, phi: Value, theta_E: Value, slope: Value
) -> Tensor:
    """Potential: psi = (theta - centre) . alpha / (3 - slope), which has degree 3 - slope (Euler).

    Arguments:
        x, y, x0, y0, q, phi, theta_E, slope: as for :func:`power_law_deflection`.

    Returns:
        psi [arcsec^2], of the broadcast shape.

    Example:
        >>> x, y = torch.tensor([3.0]), torch.tensor([4.0])
        >>> psi = power_law_potential(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, slope=2.5)
        >>> round(psi.item(), 4)
        4.4721
    """
    ax, ay = power_law_deflection(x, y, x0=x0, y0=y0, q=q, phi=phi, theta_E=theta_E, slope=slope)
    return ((x - x0) * ax + (y - y0) * ay) / (3 - slope)


def power_law_convergence(
    x: Tensor,
    y: Tensor,
    *,
    x0: Value,
    y0: Value,
    q: Value,
    phi: Value,
    theta_E: Value,
    slope: Value,
    core: Value = 1e-6,
) -> Tensor:
    """kappa, constant within the elliptical radius ``core`` [arcsec], where it would diverge.

    Arguments:
        x, y, x0, y0, q, phi, theta_E, slope: as for :func:`power_law_deflection`.

    Example:
        >>> at = torch.tensor([4.0]), torch.tensor([0.0])
        >>> power_law_convergence(*at, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.0, slope=2.0).item()
        0.125
    """
    x0, y0, q, phi, theta_E, slope, core = as_like(x, x0, y0, q, phi, theta_E, slope, core)
    kappa: Tensor = func.convergence_epl(x0, y0, q, phi, theta_E, slope - 1, x, y)
    return torch.minimum(kappa, (3 - slope) / 2 * (theta_E / core) ** (slope - 1))
