"""What lenses magnify: star-forming galaxies with bulges and clumps, red galaxies, quasars in their hosts.

All are made at ``REFERENCE_MAGNITUDE``; their brightness is drawn once their arcs are known.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate import luminosity
from mlensing.simulate.draws import Draws
from mlensing.simulate.luminosity import REFERENCE_LIMIT, magnitude
from mlensing.simulate.population import Galaxies
from mlensing.simulate.render.images import magnification
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.scene import Components, components, flux_of, galaxy_flux, join

REFERENCE_MAGNITUDE = 25.0
"""r magnitude at which sources are rendered before their brightness is drawn."""

SOURCE_DISC = 0.55
"""Sources lie within this share of theta_E of the axis: inside the cut of every SIE drawn here, where an SIS magnifies
by 2 / 0.55 = 3.6 or more and makes two images at least."""

GROUP_DISC = 0.3
"""What a group adds to that share: arcs on one side, whose counter-image is faint beside the galaxy or not there."""

SIZE_SCATTER = 0.18
"""Scatter of source radii about their median [dex]."""

CLUMPS = 4
QUASARS = 0.05
"""Share of lenses whose source has a quasar in its middle."""


def draw_sources(draws: Draws, galaxies: Galaxies, bands: Tensor) -> Components:
    """A galaxy behind each deflector: disc, often a bulge, up to ``CLUMPS`` star-forming clumps; the discs come first.

    Magnification bias: where counts rise as 10^(0.4 m), magnification by mu ~ theta_E / beta shows mu times as many,
    so that distances from the axis are uniform, not positions in the disc (Turner, Ostriker & Gott 1984). Size follows
    the luminosity function at the brightness that the source is likely to get (``draw_brightness`` uses the same draw).
    One in seven is red: arcs as yellow as the lens exist. ``bands`` [B, bands] as ``Instrument.bands``.
    """
    reach = galaxies.theta_E * (SOURCE_DISC + GROUP_DISC * galaxies.group)
    distance = reach * draws.uniform("source/distance")  # by magnification: see above
    angle = draws.uniform("source/azimuth", high=2 * math.pi)
    x, y = distance * torch.cos(angle), distance * torch.sin(angle)
    reference = torch.full_like(x, REFERENCE_MAGNITUDE)
    blue = galaxy_flux(draws, "source", "star_forming", reference, galaxies.z_source, bands)
    red = galaxy_flux(draws, "source/red", "disc", reference, galaxies.z_source.clamp(max=1.0), bands)
    flux = torch.where(draws.chance("source/is_red", 0.14)[:, None], red, blue)
    likely = magnitude(
        draws.uniform("source/brightness"),
        redshift=galaxies.z_source,
        faintest=torch.full_like(x, REFERENCE_LIMIT),
    )
    radius = luminosity.radius(galaxies.z_source, likely) * 10 ** (SIZE_SCATTER * draws.normal("source/size"))
    radius = radius.clamp(0.05, 1.2)
    bulge = torch.where(draws.chance("source/has_bulge", 0.3), draws.uniform("source/bulge", low=0.1, high=0.6), 0.0)
    clump = torch.where(draws.chance("source/clumpy", 0.5), draws.uniform("clump/share", low=0.05, high=0.5), 0.0)
    q, phi = draws.uniform("source/q", low=0.3, high=1.0), draws.uniform("source/phi", high=math.pi)
    disc = components(
        flux * ((1 - clump) * (1 - bulge))[:, None],
        x=x,
        y=y,
        radius=radius,
        n=torch.where(bulge > 0, 1.0, draws.uniform("source/n", low=0.5, high=2.0)),
        q=q,
        phi=phi,
    )
    middle = components(
        torch.lerp(blue, red, 0.7) * ((1 - clump) * bulge)[:, None],
        active=bulge > 0,
        x=x,
        y=y,
        radius=0.3 * radius,
        n=2.5,
        q=0.5 + 0.5 * q,
        phi=phi,
    )
    return join([disc, middle, _clumps(draws, x, y, radius, blue * clump[:, None])])


def _clumps(draws: Draws, x: Tensor, y: Tensor, radius: Tensor, flux: Tensor) -> Components:
    """Clumps about each source that share its flux [B, bands] at random; none where it is zero."""
    active = draws.chance("clump/active", 0.4, CLUMPS)
    active[:, 0] = True
    weight = draws.uniform("clump/weight", CLUMPS) * active
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    return components(
        flux[:, None] * share,
        active=active & (flux[:, :1] > 0),
        x=x[:, None] + 0.7 * radius[:, None] * draws.normal("clump/x", CLUMPS),
        y=y[:, None] + 0.7 * radius[:, None] * draws.normal("clump/y", CLUMPS),
        radius=(0.25 * radius)[:, None],
    )


def lensed_quasars(draws: Draws, sources: Components, lens: Deflector, along: Tensor, across: Tensor) -> Components:
    """Images of the quasars that a share ``QUASARS`` of the sources hold: points, as bright as the host or more.

    Arguments:
        sources: the discs, one a deflector, whose centres hold the quasars.
        along, across: [B, images] their images along the deflector's axes, from ``find_images``; NaN for none.

    Returns:
        components in the image plane [arcsec], owner = row.
    """
    power = draws.chance("quasar", QUASARS)[:, None] & ~torch.isnan(along)
    along, across = along.nan_to_num(1.0), across.nan_to_num(1.0)
    host = flux_of(torch.full_like(lens.phi, REFERENCE_MAGNITUDE))
    strength = 10 ** draws.uniform("quasar/strength", low=-0.2, high=1.0) * host
    tilt = 0.15 * draws.normal("quasar/colour")[:, None] * torch.linspace(1, -1, sources.flux.shape[1]).to(along.device)
    flux = strength[:, None] * torch.exp(tilt)
    cos, sin = torch.cos(lens.phi)[:, None], torch.sin(lens.phi)[:, None]
    brighter = magnification(sources, lens, along, across).abs().clamp(max=50.0)
    return components(
        flux[:, None] * brighter[..., None],
        active=power,
        x=lens.x[:, None] + along * cos - across * sin,
        y=lens.y[:, None] + along * sin + across * cos,
        radius=torch.full_like(along, 0.01),
    )
