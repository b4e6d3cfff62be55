"""Disc galaxies: spirals with bars and star-forming knots, discs seen from the side, irregulars."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, around, components, join, part


def spiral(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Bulge, bar, disc, knots and logarithmic arms (Davis+2012 for pitch angles), brightness as the early types'."""
    radius = (galaxies.radius * draws.uniform("spiral/size", low=0.7, high=1.8)).clamp(0.5, 8.0)
    return spiral_of(draws, replace(galaxies, radius=radius), view)


def nearby(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A nearby spiral that fills a fifth to all of the frame."""
    return spiral_of(draws, close_by(draws, galaxies, view), view)


def close_by(draws: Draws, galaxies: Galaxies, view: Instrument) -> Galaxies:
    """The same galaxies at redshift 0.02 to 0.18, sized by the frame, of the surface brightness of discs."""
    radius = 32.0 * view.pixel_scale * draws.uniform("nearby/extent", low=0.12, high=0.5)
    surface = draws.uniform("nearby/surface", low=20.3, high=22.5)  # r mag per square arcsec within the radius
    magnitude = surface - 2.5 * torch.log10(2 * math.pi * radius**2)
    return replace(galaxies, z=draws.uniform("nearby/z", low=0.02, high=0.18), radius=radius, magnitude_r=magnitude)


def spiral_of(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A spiral with the disc radius, redshift and magnitude of ``galaxies``."""
    radius, q = galaxies.radius, draws.uniform("spiral/q", low=0.35, high=1.0)
    bulge = draws.uniform("spiral/bulge", low=0.08, high=0.5)
    bar = torch.where(draws.chance("spiral/barred", 0.4), draws.uniform("spiral/bar", low=0.05, high=0.25), 1e-4)
    arms = draws.uniform("spiral/arms", low=0.15, high=0.5) * (1 - bulge - bar)
    knots = arms * draws.uniform("spiral/knots", high=0.4)
    disc = 1 - bulge - bar - arms
    shape = {"q": q, "phi": galaxies.phi}
    pitch = draws.uniform("spiral/pitch", low=8.0, high=35.0) * math.pi / 180
    hand = torch.where(draws.chance("spiral/hand", 0.5), 1.0, -1.0)
    turned = draws.uniform("spiral/bar_phi", high=math.pi)
    red, yellow = part(draws, "bulge", "early", galaxies, bulge, view), part(draws, "bar", "early", galaxies, bar, view)
    winding = components(
        part(draws, "arms", "star_forming", galaxies, arms - knots, view),
        **shape,
        radius=1.15 * radius,
        arms=draws.choice("spiral/number", torch.tensor([0.0, 0.1, 0.7, 0.1, 0.1])).float(),
        wind=hand / torch.tan(pitch),
        contrast=draws.uniform("spiral/contrast", low=0.6, high=1.0),
        phase=draws.uniform("spiral/phase", high=2 * math.pi),
    )
    return join(
        [
            components(red, radius=0.25 * radius, n=2.5, q=0.5 + 0.5 * q, phi=galaxies.phi),
            components(yellow, radius=0.45 * radius, n=0.6, q=0.3, phi=turned),
            components(part(draws, "disc", "disc", galaxies, disc, view), radius=radius, n=1.0, **shape),
            winding,
            _knots(draws, replace(galaxies, q=q), knots, view),
        ]
    )


def _knots(draws: Draws, galaxies: Galaxies, share: torch.Tensor, view: Instrument) -> Components:
    """Star-forming regions over the disc, ``share`` [B] of the light in all."""
    slots = 5
    x, y = around(draws, "knots", slots, 0.3, 1.6)
    cos, sin, radius = (v[:, None] for v in (torch.cos(galaxies.phi), torch.sin(galaxies.phi), galaxies.radius))
    major, minor = x * radius, y * radius * galaxies.q[:, None]
    flux = part(draws, "knots", "star_forming", galaxies, share / slots, view)
    brightness = draws.uniform("knots/brightness", slots, low=0.2, high=1.8)[..., None]
    return components(
        flux[:, None] * brightness,
        x=major * cos - minor * sin,
        y=major * sin + minor * cos,
        radius=(0.12 * radius).clamp(min=0.1),
    )


def edge_on(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A disc seen from the side, with a bulge."""
    radius = (galaxies.radius * draws.uniform("edge/size", low=0.8, high=2.2)).clamp(0.6, 5.0)
    bulge = draws.uniform("edge/bulge", low=0.05, high=0.5)
    mix = draws.uniform("edge/mix")
    disc = part(draws, "disc", "disc", galaxies, (1 - bulge) * mix, view)
    blue = part(draws, "blue", "star_forming", galaxies, (1 - bulge) * (1 - mix), view)
    red = part(draws, "bulge", "early", galaxies, bulge, view)
    thickness = draws.uniform("edge/q", low=0.08, high=0.28)
    return join(
        [
            components(red, radius=0.2 * radius, n=2.5, q=0.75, phi=galaxies.phi),
            components(disc + blue, radius=radius, n=1.0, q=thickness, phi=galaxies.phi),
        ]
    )


def irregular(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A nearby blue galaxy without a bulge: off-centre body and bright knots (Magellanic type)."""
    close = close_by(draws, galaxies, view)
    close = replace(close, radius=0.6 * close.radius, magnitude_r=close.magnitude_r + 1.5)
    knots = draws.uniform("irregular/knots", low=0.1, high=0.6)
    blue = draws.uniform("irregular/blue", low=0.2, high=1.0) * (1 - knots)
    q = draws.uniform("irregular/q", low=0.3, high=0.95)
    flux = part(draws, "irregular/blue", "star_forming", close, blue, view)
    flux = flux + part(draws, "irregular/disc", "disc", close, 1 - knots - blue, view)
    body = components(
        flux,
        x=0.3 * close.radius * draws.normal("irregular/x"),
        y=0.3 * close.radius * draws.normal("irregular/y"),
        radius=close.radius,
        n=0.8,
        q=q,
        phi=close.phi,
    )
    return join([body, _knots(draws, replace(close, q=q), knots, view)])
