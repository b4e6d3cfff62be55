"""Numbers of a lens from its convergence map: Einstein radius, axis ratio, mass, each with a deviation.

The centre is the peak of kappa in the middle half of the map, to a fraction of a pixel. Maps hold kappa at the middle
of pixels; within three pixels of the centre it is brought to the mean over each, as that of 1 / r.

Errors of neighbouring pixels of a predicted map are not independent: a network that errs by 5 % errs so everywhere.
Deviations here take them as wholly correlated, the largest that the variance of the pixels allows; taken as independent
they would be ten times too small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.physics.cosmology import distances, sigma_crit
from mlensing.physics.grid import check_spacing, over_pixels, pixel_grid
from mlensing.physics.mass import PIXEL_MEAN_CORE
from mlensing.physics.operators import gradient
from mlensing.units import ARCSEC

RADII, SMALLEST = 96, 1.5
"""Apertures that are tried, and the smallest [px]: within fewer pixels their sum says little."""
AT_ONCE = 2**25
"""Pairs of pixel and aperture that memory holds at a time."""
PEAK, PARTS = 2.5, 5
"""Radius [px] of the pixels that place the peak, and parts of a pixel's side that its mean is made of."""
CONTOUR = 0.5
"""kappa of the contour whose shape is measured: of an isothermal ellipsoid, the ellipse of the Einstein radius."""


class Measured(NamedTuple):
    """A value and its deviation, each [B]; NaN where there is none."""

    value: Tensor
    deviation: Tensor


def about_peak(kappa: Tensor, *, dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """x and y [arcsec] of the pixels [B, H, W] about the peak of kappa in the middle half of each map.

    The peak is the mean position of the pixels around the highest one, weighted by kappa^4: four pixels of one height
    have theirs at their corner.
    """
    check_spacing(dx=dx, dy=dy)
    height, width = kappa.shape[-2:]
    x, y = pixel_grid(height, width, dx=dx, dy=dy, device=kappa.device, dtype=kappa.dtype)
    x, y = x.expand_as(kappa), y.expand_as(kappa)
    middle = torch.full_like(kappa, -torch.inf)
    inner = (slice(None), slice(height // 4, height - height // 4), slice(width // 4, width - width // 4))
    middle[inner] = kappa[inner]
    peak = middle.flatten(1).argmax(1)[:, None]
    x, y = (axis - axis.flatten(1).gather(1, peak)[..., None] for axis in (x, y))
    near = torch.hypot(x / over_pixels(x, dx), y / over_pixels(y, dy)) < PEAK
    weight = near * (kappa / kappa.flatten(1).gather(1, peak)[..., None]).clamp(min=0) ** 4
    x, y = (axis - ((weight * axis).sum((1, 2)) / weight.sum((1, 2)))[:, None, None] for axis in (x, y))
    return x, y


def _pixel_means(kappa: Tensor, x: Tensor, y: Tensor, *, dx: Tensor, dy: Tensor) -> Tensor:
    """kappa [B, H, W], sampled at pixels, as the mean over each: close to the centre, where it is 1 / r."""
    side = over_pixels(kappa, (dx * dy).sqrt())
    r = torch.hypot(x, y)
    inverse = torch.zeros_like(r)
    for down in range(PARTS):
        for across in range(PARTS):
            steps = ((across + 0.5) / PARTS - 0.5, (down + 0.5) / PARTS - 0.5)
            there = torch.hypot(x + steps[0] * over_pixels(x, dx), y + steps[1] * over_pixels(y, dy))
            inverse += 1 / torch.maximum(there, PIXEL_MEAN_CORE / PARTS * side) / PARTS**2
    ratio = inverse * torch.maximum(r, PIXEL_MEAN_CORE * side)
    return torch.where(r < 3 * side, kappa * ratio, kappa)


def einstein_radius_of(kappa: Tensor, variance: Tensor, *, dx: Tensor, dy: Tensor) -> Measured:
    """Radius of the circle within which the mean of kappa is 1 [arcsec].

    Arguments:
        kappa, variance: [B, H, W].
        dx, dy: [B] arcsec/px.

    Returns:
        NaN where the mean is below 1 at ``SMALLEST`` pixels already, or above it up to the edge of the map.

    Example:
        >>> from mlensing.physics import sie_convergence
        >>> x, y = pixel_grid(65, 65, dx=0.1, dy=0.1)
        >>> kappa = sie_convergence(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=1.5, core=0.028)[None]
        >>> found = einstein_radius_of(kappa, (0.05 * kappa) ** 2, dx=torch.tensor([0.1]), dy=torch.tensor([0.1]))
        >>> abs(found.value.item() - 1.5) < 0.02, abs(found.deviation.item() - 0.075) < 0.004
        (True, True)
    """
    x, y = about_peak(kappa, dx=dx, dy=dy)
    kappa, r = _pixel_means(kappa, x, y, dx=dx, dy=dy), torch.hypot(x, y)
    pixel, sides = (dx * dy).sqrt()[:, None], torch.stack([kappa.shape[-1] * dx, kappa.shape[-2] * dy])
    steps = torch.linspace(0, 1, RADII, dtype=kappa.dtype, device=kappa.device)
    radius = SMALLEST * pixel + (0.48 * sides.amin(0)[:, None] - SMALLEST * pixel) * steps
    planes = torch.stack([kappa.flatten(1), variance.flatten(1).clamp(min=0).sqrt()], 2)
    rows = max(1, AT_ONCE // (RADII * planes.shape[1]))
    parts = zip(*(torch.split(part, rows) for part in (radius, r.flatten(1), pixel, planes)), strict=True)
    mean, deviation = torch.cat([_disc_means(*part) for part in parts]).unbind(2)
    return _crossing(radius, mean, deviation)


def _disc_means(radius: Tensor, r: Tensor, pixel: Tensor, planes: Tensor) -> Tensor:
    """Means [B, R, K] of planes [B, N, K] within each radius [B, R]; pixels on the edge count in part."""
    inside = ((radius[..., None] - r[:, None]) / pixel[..., None] + 0.5).clamp(0, 1)
    return (inside @ planes) / inside.sum(2, keepdim=True)


def _crossing(radius: Tensor, mean: Tensor, deviation: Tensor) -> Measured:
    """Where the mean convergence [B, R] last falls through 1."""
    falls = (mean[:, :-1] >= 1) & (mean[:, 1:] < 1)
    last = torch.where(falls, torch.arange(falls.shape[1], device=falls.device), -1).amax(1)
    at = torch.stack([last.clamp(min=0), last.clamp(min=0) + 1], 1)
    (r0, r1), (m0, m1), (s0, s1) = (part.gather(1, at).unbind(1) for part in (radius, mean, deviation))
    slope = (m0 - m1) / (r1 - r0)
    share = (m0 - 1) / (m0 - m1)
    found = last >= 0
    value, spread = r0 + share * (r1 - r0), (s0 + share * (s1 - s0)) / slope
    return Measured(*(torch.where(found, part, torch.nan) for part in (value, spread)))


def axis_ratio_of(kappa: Tensor, variance: Tensor, theta_E: Tensor, *, dx: Tensor, dy: Tensor) -> Measured:
    """Minor over major axis of the contour kappa = 1/2, from the second moments of the area within it.

    Arguments:
        kappa, variance: [B, H, W].
        theta_E: [B] arcsec; companions beyond twice this do not count.
        dx, dy: [B] arcsec/px.

    Returns:
        NaN where theta_E is. The deviation is that of a distortion along the axes, with the pixels' whole variance.

    Example:
        >>> from mlensing.physics import sie_convergence
        >>> x, y = pixel_grid(65, 65, dx=0.1, dy=0.1)
        >>> kappa = sie_convergence(x, y, x0=0.0, y0=0.0, q=0.6, phi=0.5, theta_E=1.5)[None]
        >>> spacing = torch.tensor([0.1])
        >>> q = axis_ratio_of(kappa, 0 * kappa, torch.tensor([1.5]), dx=spacing, dy=spacing)
        >>> round(q.value.item(), 2), q.deviation.item()
        (0.6, 0.0)
    """
    x, y = about_peak(kappa, dx=dx, dy=dy)
    r = torch.hypot(x, y)
    along_x, along_y = gradient(kappa, dx=dx, dy=dy)
    steep = torch.hypot(along_x, along_y).clamp(min=1e-6)
    edge = (kappa - CONTOUR) / (steep * over_pixels(kappa, (dx * dy).sqrt()))  # pixels inside the contour
    inside = (edge + 0.5).clamp(0, 1) * (r < 2 * over_pixels(kappa, theta_E))
    area = inside.sum((1, 2))
    mx, my = ((inside * axis).sum((1, 2)) / area for axis in (x, y))
    x, y = x - over_pixels(x, mx), y - over_pixels(y, my)
    xx, yy, xy = ((inside * product).sum((1, 2)) / area for product in (x * x, y * y, x * y))
    middle, apart = (xx + yy) / 2, torch.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    q = ((middle - apart).clamp(min=0) / (middle + apart)).sqrt()
    rim = (edge.abs() < 1) & (inside > 0)
    shift = (rim * variance.clamp(min=0).sqrt() / (steep * r.clamp(min=1e-6))).sum((1, 2)) / rim.sum((1, 2))
    known = theta_E.isfinite() & (area > 0)
    return Measured(*(torch.where(known, part, torch.nan) for part in (q, 2 * q * shift)))


def mass_within(
    theta_E: NDArray[np.float64], z_l: NDArray[np.float64], z_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Projected mass within the Einstein radius: pi (theta_E D_l)^2 Sigma_crit [Msun].

    Arguments:
        theta_E: [arcsec], of arrays or numbers that broadcast.
        z_l, z_s: redshifts; NaN where they are not known or out of order gives NaN.

    Example:
        >>> mass = mass_within(np.array([1.0, 1.0]), np.array([0.5, np.nan]), np.array([2.0, 2.0]))
        >>> [f"{value:.2e}" for value in mass]
        ['2.43e+11', 'nan']
    """
    theta_E, z_l, z_s = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (theta_E, z_l, z_s)))
    mass, known = np.full(theta_E.shape, np.nan), (z_l > 0) & (z_l < z_s)
    if known.any():
        parsec = np.asarray(distances(z_l[known], z_s[known]).lens) * 1e6 * theta_E[known] * ARCSEC
        mass[known] = np.pi * parsec**2 * np.asarray(sigma_crit(z_l[known], z_s[known]))
    return mass
