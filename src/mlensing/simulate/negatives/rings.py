"""Ringed galaxies: the classic impostors of Einstein rings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.negatives.discs import close_by
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, components, early_type, join, part


def ring(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A bulge, a faint disc and a ring, whole or lopsided."""
    radius = draws.uniform("ring/radius", low=0.7, high=3.2)
    return _ringed(draws, galaxies, radius, view)


def nearby_ring(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A nearby ringed disc that fills a good part of the frame, often with a bar and a second ring."""
    close = close_by(draws, galaxies, view)
    radius = close.radius * draws.uniform("ring/reach", low=0.8, high=1.6)
    outer = components(
        part(draws, "ring/outer", "disc", close, draws.uniform("ring/outer", low=0.03, high=0.2), view),
        active=draws.chance("ring/has_outer", 0.4),
        radius=radius * draws.uniform("ring/outer_radius", low=1.4, high=2.2),
        q=draws.uniform("ring/q", low=0.4, high=1.0),
        phi=galaxies.phi,
        ring=draws.uniform("ring/outer_width", low=0.08, high=0.25),
    )
    bar = components(
        part(draws, "ring/bar", "early", close, draws.uniform("ring/bar", low=0.05, high=0.25), view),
        active=draws.chance("ring/barred", 0.4),
        radius=0.45 * radius,
        n=0.6,
        q=0.3,
        phi=draws.uniform("ring/bar_phi", high=math.pi),
    )
    return join([_ringed(draws, close, radius, view, thinnest=0.12), outer, bar])


def polar_ring(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A ring or disc of blue light across an early-type galaxy (Whitmore+1990)."""
    band = components(
        part(draws, "polar", "star_forming", galaxies, draws.uniform("polar/share", low=0.08, high=0.4), view),
        radius=galaxies.radius.clamp(min=0.6) * draws.uniform("polar/radius", low=1.0, high=3.0),
        q=draws.uniform("polar/q", low=0.12, high=0.6),
        phi=galaxies.phi + 0.5 * math.pi + 0.25 * draws.normal("polar/phi"),
        ring=draws.uniform("polar/width", low=0.1, high=0.35),
    )
    return join([early_type(draws, galaxies, view), band])


def _ringed(
    draws: Draws, galaxies: Galaxies, radius: Tensor, view: Instrument, *, thinnest: float = 0.06
) -> Components:
    """Bulge, disc and a ring of this radius, blue or as yellow as the disc, sometimes detached (Hoag 1950)."""
    q = draws.uniform("ring/q", low=0.4, high=1.0)
    light = draws.uniform("ring/share", low=0.1, high=0.55)
    faint = draws.uniform("ring/disc", low=0.05, high=0.5) * (1 - light)
    faint = torch.where(draws.chance("ring/detached", 0.2), 0.01, faint)
    blue = part(draws, "ring", "star_forming", galaxies, light, view)
    tan = part(draws, "ring/tan", "disc", galaxies, light, view)
    circle = components(
        torch.where(draws.chance("ring/is_tan", 0.4)[:, None], tan, blue),
        radius=radius,
        q=q,
        phi=galaxies.phi,
        ring=draws.uniform("ring/width", low=thinnest, high=thinnest + 0.22),
        arms=draws.choice("ring/lumps", torch.tensor([0.3, 0.3, 0.3, 0.1])).float(),
        contrast=draws.uniform("ring/contrast", low=0.0, high=0.9),
        phase=draws.uniform("ring/phase", high=2 * math.pi),
    )
    core = part(draws, "bulge", "early", galaxies, 1 - light - faint, view)
    disc = part(draws, "disc", "disc", galaxies, faint, view)
    return join(
        [
            components(core, radius=(0.3 * radius).clamp(min=0.2), n=3.0, q=0.4 + 0.6 * q, phi=galaxies.phi),
            components(disc, radius=0.9 * radius, n=1.0, q=q, phi=galaxies.phi),
            circle,
        ]
    )
