"""Strong lenses: a deflector in front of a source, bright enough to be seen and placed to be imaged more than once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws
from mlensing.simulate.luminosity import magnitude
from mlensing.simulate.population import Galaxies
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.scene import Members
from mlensing.simulate.sources import REFERENCE_MAGNITUDE

BRIGHTEST = 19.5  # unlensed r magnitude of the brightest source
HIDING = 0.4
FAINTEST_SIGNAL = 5.0
"""S/N of the faintest arcs of lenses that are left unlabelled."""


SATELLITE = 1.2
"""Largest theta_E [arcsec] of a satellite as bright as the central galaxy: a group's further mass is in its halo."""

SUBHALOES = 3
"""Largest number of subhaloes a lens."""

MEAN_SLOPE = 2.08  # of early types, Auger+2010


def draw_deflector(draws: Draws, galaxies: Galaxies, *, slope_scatter: float = 0.0) -> Deflector:
    """Elliptical mass that follows the galaxy's light with scatter, plus external shear.

    Axis ratios of mass and light correlate and their axes align within about 10 degrees (Koopmans+2006). Beyond
    1.5 arcsec the mass is more and more a group's, flatter and in stronger shear: long arcs on one side.

    Arguments:
        slope_scatter: of the density's slope about ``MEAN_SLOPE`` (Auger+2010: 0.16); 0 makes isothermal lenses.
    """
    zero = torch.zeros_like(galaxies.theta_E)
    group = galaxies.group
    flattening = (1 - galaxies.q) * draws.uniform("mass/q", low=0.5, high=1.1)
    shear = 0.04 + 0.05 * group
    slope = (MEAN_SLOPE + slope_scatter * draws.normal("mass/slope")).clamp(1.6, 2.5) if slope_scatter else None
    return Deflector(
        x=zero,
        y=zero,
        theta_E=galaxies.theta_E,
        q=(1 - flattening - 0.3 * group * draws.uniform("mass/group_q")).clamp(0.45, 0.99),
        phi=galaxies.phi + (0.15 + group) * draws.normal("mass/phi"),
        gamma1=shear * draws.normal("mass/gamma1"),
        gamma2=shear * draws.normal("mass/gamma2"),
        slope=slope,
    )


def draw_satellites(draws: Draws, galaxies: Galaxies, members: Members, *, subhaloes: float = 0.0) -> Tensor:
    """Isothermal spheres beside the main deflector: group members, and dark subhaloes near the ring.

    A member's theta_E follows from its light as theta_E ~ sigma_v^2 ~ L^0.5 (Faber & Jackson 1976).

    Arguments:
        subhaloes: mean number a lens, 0.01 to 0.12 arcsec each (Vegetti+2010 found one of 0.1), at most ``SUBHALOES``.

    Returns:
        [B, K, 3] as ``Deflector.satellites``.
    """
    of_centre = galaxies.theta_E.clamp(max=SATELLITE)[:, None]
    bright = of_centre * 10 ** (-0.2 * members.fainter.clamp(min=0.0))
    found = [torch.stack([members.x, members.y, torch.where(members.active, bright, 0.0)], -1)]
    if subhaloes > 0:
        radius = galaxies.theta_E[:, None] * draws.uniform("subhalo/radius", SUBHALOES, low=0.6, high=1.4)
        angle = draws.uniform("subhalo/azimuth", SUBHALOES, high=2 * math.pi)
        strength = 0.01 * 12.0 ** draws.uniform("subhalo/strength", SUBHALOES)
        active = draws.chance("subhalo", subhaloes / SUBHALOES, SUBHALOES) & (galaxies.theta_E > 0)[:, None]
        place = radius * torch.cos(angle), radius * torch.sin(angle)
        found.append(torch.stack([*place, torch.where(active, strength, 0.0)], -1))
    return torch.cat(found, 1)


def matched_signal(arcs: Tensor, noise: Tensor, light: Tensor) -> Tensor:
    """Matched-filter S/N of arcs over all bands.

    A share ``HIDING`` of the other light counts as noise: it hides an arc as much as photons do.

    Arguments:
        arcs, noise, light: [B, bands, y, x]; the blurred arcs, the noise per pixel, the blurred light of all else.

    Returns:
        [B].
    """
    return torch.sqrt((arcs**2 / (noise**2 + (HIDING * light) ** 2)).sum((1, 2, 3)))


def draw_brightness(draws: Draws, signal: Tensor, *, z_source: Tensor, minimum: float, faint: Tensor) -> Tensor:
    """r magnitude of each source, from the luminosity function cut at detectability.

    Rejecting faint draws until S/N >= ``minimum`` gives the luminosity function truncated at the limiting magnitude
    that ``signal`` implies; drawing from the truncated one is the same and wastes no rendering.

    Arguments:
        signal: [B] S/N at ``REFERENCE_MAGNITUDE``.
        z_source: [B] redshift of the source.
        minimum: S/N of the faintest arcs that are called a lens.
        faint: [B] bool, lenses whose S/N is drawn between ``FAINTEST_SIGNAL`` and the minimum instead.
    """
    faintest = REFERENCE_MAGNITUDE + 2.5 * torch.log10(signal.clamp(min=1e-3) / minimum)
    u = draws.uniform("source/brightness")
    seen = magnitude(u, redshift=z_source, faintest=faintest).clamp(min=BRIGHTEST)
    unseen = faintest + 2.5 * u * math.log10(max(minimum / FAINTEST_SIGNAL, 1.0))
    return torch.where(faint, unseen, torch.minimum(seen, faintest))
