"""Strong lenses: a deflector in front of a source, bright enough to be seen and placed to be imaged more than once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.rays import Deflector
from mlensing.simulate.scene import Components, components, galaxy_flux, join

REFERENCE_MAGNITUDE = 25.0
"""r magnitude at which sources are rendered before their brightness is drawn."""

SOURCE_DISC = 0.55
"""Sources lie within this share of theta_E of the axis: inside the cut of every SIE drawn here, where an SIS magnifies
by 2 / 0.55 = 3.6 or more and makes two images at least."""

BRIGHTEST = 19.5  # unlensed r magnitude of the brightest source
HIDING = 0.4
SLOPE = 0.45  # of the number counts, d log10 N / dm


def draw_deflector(draws: Draws, galaxies: Galaxies) -> Deflector:
    """SIE that follows the galaxy's light with scatter, plus external shear.

    Axis ratios of mass and light correlate and their axes align within about 10 degrees (Koopmans+2006). Beyond
    1.5 arcsec the mass is more and more a group's, flatter and in stronger shear: long arcs on one side.
    """
    zero = torch.zeros_like(galaxies.theta_E)
    group = ((galaxies.theta_E - 1.5) / 2.0).clamp(0.0, 1.0)
    flattening = (1 - galaxies.q) * draws.uniform("mass/q", low=0.5, high=1.1)
    shear = 0.04 + 0.05 * group
    return Deflector(
        x=zero,
        y=zero,
        theta_E=galaxies.theta_E,
        q=(1 - flattening - 0.3 * group * draws.uniform("mass/group_q")).clamp(0.45, 0.99),
        phi=galaxies.phi + (0.15 + group) * draws.normal("mass/phi"),
        gamma1=shear * draws.normal("mass/gamma1"),
        gamma2=shear * draws.normal("mass/gamma2"),
    )


def draw_sources(draws: Draws, galaxies: Galaxies, bands: Tensor) -> Components:
    """A star-forming galaxy behind each deflector, often with a clump, at ``REFERENCE_MAGNITUDE``.

    One in seven is red: arcs as yellow as the lens exist. ``bands`` [B, bands] as ``Instrument.bands``.
    """
    distance = galaxies.theta_E * SOURCE_DISC * torch.sqrt(draws.uniform("source/distance"))
    angle = draws.uniform("source/azimuth", high=2 * math.pi)
    x, y = distance * torch.cos(angle), distance * torch.sin(angle)
    magnitude = torch.full_like(x, REFERENCE_MAGNITUDE)
    blue = galaxy_flux(draws, "source", "star_forming", magnitude, galaxies.z_source, bands)
    red = galaxy_flux(draws, "source/red", "disc", magnitude, galaxies.z_source.clamp(max=1.0), bands)
    flux = torch.where(draws.chance("source/is_red", 0.14)[:, None], red, blue)
    radius = 0.3 * 10 ** (0.2 * draws.normal("source/size"))
    clump = torch.where(draws.chance("source/clumpy", 0.4), draws.uniform("clump/share", low=0.05, high=0.4), 0.0)
    body = components(
        flux * (1 - clump)[:, None],
        x=x,
        y=y,
        radius=radius,
        n=draws.uniform("source/n", low=0.5, high=2.0),
        q=draws.uniform("source/q", low=0.3, high=1.0),
        phi=draws.uniform("source/phi", high=math.pi),
    )
    knot = components(
        flux * clump[:, None],
        active=clump > 0,
        x=x + 0.7 * radius * draws.normal("clump/x"),
        y=y + 0.7 * radius * draws.normal("clump/y"),
        radius=0.3 * radius,
    )
    return join([body, knot])


def matched_signal(arcs: Tensor, noise: Tensor, light: Tensor) -> Tensor:
    """Matched-filter S/N of arcs over all bands.

    A share ``HIDING`` of the other light counts as noise: it hides an arc as much as photons do.

    Arguments:
        arcs, noise, light: [B, bands, y, x]; the blurred arcs, the noise per pixel, the blurred light of all else.

    Returns:
        [B].
    """
    return torch.sqrt((arcs**2 / (noise**2 + (HIDING * light) ** 2)).sum((1, 2, 3)))


def draw_brightness(draws: Draws, signal: Tensor, *, minimum: float) -> Tensor:
    """r magnitude of each source, from number counts cut at detectability.

    Rejecting faint draws until S/N >= ``minimum`` gives the counts truncated at the limiting magnitude that ``signal``
    implies; drawing from the truncated counts is the same and wastes no rendering.

    Arguments:
        signal: [B] S/N at ``REFERENCE_MAGNITUDE``.
    """
    faintest = REFERENCE_MAGNITUDE + 2.5 * torch.log10(signal.clamp(min=1e-3) / minimum)
    low, high = 10 ** (SLOPE * (BRIGHTEST - faintest)), torch.ones_like(faintest)
    u = draws.uniform("source/brightness")
    return faintest + torch.log10(low.clamp(max=1.0) + u * (high - low.clamp(max=1.0))) / SLOPE
