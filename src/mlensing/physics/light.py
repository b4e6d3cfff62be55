"""Galaxies: the Sersic profile, as surface brightness per arcsec^2.

Radii are product-averaged (the circle of equal area), which is lenstronomy's convention; the semi-major axis,
which caustics calls the radius, is radius / sqrt(q). Multiply by the area of a pixel to get its flux.
"""

from __future__ import annotations

import math

import torch
from caustics import func
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.physics.grid import Value, as_like


def sersic_b(n: Value) -> Tensor:
    """b_n, with which half of the light lies within the half-light radius (Ciotti & Bertin 1999, eq. 18).

    Arguments:
        n: Sersic index; the series is off by 4e-4 of b at n = 0.5, 2e-5 at 1, 1e-6 at 2.5.

    Example:
        >>> round(sersic_b(4.0).item(), 4)
        7.6692
    """
    b: Tensor = func.k_sersic(n if isinstance(n, Tensor) else torch.tensor(n, dtype=torch.float64))
    return b


def sersic_total_flux(amplitude: Value, *, radius: Value, n: Value) -> Tensor:
    """Flux of the whole profile: 2 pi n R^2 A exp(b) b^(-2n) Gamma(2n) (Graham & Driver 2005, eq. 4).

    Arguments:
        amplitude: surface brightness at the half-light radius [flux / arcsec^2].
        radius: half-light radius, product-averaged [arcsec].
        n: Sersic index.

    Example:
        >>> round(sersic_total_flux(1.0, radius=1.0, n=1.0).item(), 2)
        11.95
    """
    b = sersic_b(n)
    n = torch.as_tensor(n, dtype=b.dtype, device=b.device)
    shape = torch.exp(b - 2 * n * torch.log(b) + torch.lgamma(2 * n))
    return 2 * math.pi * n * shape * radius**2 * amplitude


def sersic(
    x: Tensor,
    y: Tensor,
    *,
    x0: Value,
    y0: Value,
    q: Value,
    phi: Value,
    radius: Value,
    n: Value,
    total_flux: Value | None = None,
    amplitude: Value | None = None,
) -> Tensor:
    """Surface brightness of an elliptical Sersic profile: A exp(-b ((r / R)^(1/n) - 1)).

    Arguments:
        x, y: positions [arcsec].
        x0, y0: centre [arcsec].
        q: axis ratio, 0 < q <= 1.
        phi: position angle of the major axis, counter-clockwise from +x [rad].
        radius: half-light radius R, product-averaged [arcsec].
        n: Sersic index.
        total_flux: flux of the whole profile; or else
        amplitude: surface brightness at the half-light radius [flux / arcsec^2].

    Returns:
        flux / arcsec^2, of the shape that positions and parameters broadcast to.

    Raises:
        ConfigError: both or neither of total_flux and amplitude.

    Example:
        >>> x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
        >>> light = sersic(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, radius=2.0, n=1.0, amplitude=3.0)
        >>> [round(value, 2) for value in light.tolist()]
        [3.0, 16.07]
    """
    x0, y0, q, phi, radius, n = as_like(x, x0, y0, q, phi, radius, n)
    if total_flux is not None and amplitude is None:
        amplitude = total_flux / sersic_total_flux(1.0, radius=radius, n=n)
    elif total_flux is not None or amplitude is None:
        raise ConfigError("sersic", "expected one of total_flux and amplitude", "Give exactly one of them.")
    cos, sin, b = torch.cos(phi), torch.sin(phi), sersic_b(n)
    along, across = (x - x0) * cos + (y - y0) * sin, (y - y0) * cos - (x - x0) * sin
    square = along.square() * (q / radius**2) + across.square() / (q * radius**2)
    # equal to caustics.func.brightness_sersic, whose root has no derivative at the centre
    log = torch.log(square.clamp(min=torch.finfo(x.dtype).tiny))
    return as_like(x, amplitude)[0] * torch.exp(b - b * torch.exp(log * (0.5 / n)))
