"""An early-type galaxy and others near it on the sky, none of them an image of another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, around, components, early_type, galaxy_flux, join


def companions(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Blue galaxies at arc-like radii and of arc-like brightness about an early type, but no counter-images."""
    slots = 4
    x, y = around(draws, "companions", slots, 0.7, galaxies.theta_E.clamp(min=1.2)[:, None] * 1.6)
    magnitude = _arc_like(draws, "companions", slots, view)
    z = draws.uniform("companions/z", slots, low=0.3, high=2.5)
    blue = galaxy_flux(draws, "companions", "star_forming", magnitude, z, view.bands)
    own_z = galaxies.z[:, None].expand_as(magnitude)
    red = galaxy_flux(draws, "companions/red", "early", magnitude, own_z, view.bands)
    is_red = draws.chance("companions/is_red", 0.3, slots)[..., None]
    active = draws.chance("companions/active", 0.35, slots)
    active[:, 0] = True
    extra = components(
        torch.where(is_red, red, blue),
        active=active,
        x=x,
        y=y,
        radius=0.35 * 10 ** (0.2 * draws.normal("companions/size", slots)),
        n=draws.uniform("companions/n", slots, low=0.6, high=2.0),
        q=draws.uniform("companions/q", slots, low=0.2, high=1.0),
        phi=draws.uniform("companions/phi", slots, high=math.pi),
    )
    return join([early_type(draws, galaxies, view), extra])


def blue_companions(draws: Draws, galaxies: Galaxies, view: Instrument, *, probability: float) -> Components:
    """One to three blue galaxies at arc-like radii beside a share ``probability`` of the samples."""
    slots = 3
    x, y = around(draws, "beside", slots, 0.7, galaxies.theta_E.clamp(min=1.2)[:, None] * 1.6)
    magnitude = _arc_like(draws, "beside", slots, view)
    z = draws.uniform("beside/z", slots, low=0.3, high=2.5)
    active = draws.chance("beside/active", 0.5, slots)
    active[:, 0] = True
    return components(
        galaxy_flux(draws, "beside", "star_forming", magnitude, z, view.bands),
        active=active & draws.chance("beside", probability)[:, None],
        x=x,
        y=y,
        radius=0.35 * 10 ** (0.2 * draws.normal("beside/size", slots)),
        q=draws.uniform("beside/q", slots, low=0.2, high=1.0),
        phi=draws.uniform("beside/phi", slots, high=math.pi),
    )


def alignment(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Thin or lumpy blue galaxies on one side of an early type, 1.2 to 5 arcsec off: a chance alignment."""
    slots = 3
    towards = draws.uniform("alignment/towards", high=2 * math.pi)[:, None]
    azimuth = towards + 0.35 * draws.normal("alignment/azimuth", slots)
    distance = draws.uniform("alignment/distance", low=1.2, high=5.0)[:, None]
    distance = distance + 0.5 * draws.normal("alignment/spread", slots)
    magnitude = _arc_like(draws, "alignment", slots, view)
    z = draws.uniform("alignment/z", low=0.1, high=1.5)[:, None].expand_as(magnitude)
    active = draws.chance("alignment/active", 0.3, slots)
    active[:, 0] = True
    thin = components(
        galaxy_flux(draws, "alignment", "star_forming", magnitude, z, view.bands),
        active=active,
        x=distance * torch.cos(azimuth),
        y=distance * torch.sin(azimuth),
        radius=0.6 * 10 ** (0.2 * draws.normal("alignment/size", slots)),
        n=1.0,
        q=draws.uniform("alignment/q", slots, low=0.1, high=0.8),
        phi=draws.uniform("alignment/phi", slots, high=math.pi),
    )
    return join([early_type(draws, galaxies, view), thin])


def compact_group(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Three to six galaxies of one redshift within 7 arcsec, red for the most part (Hickson 1982)."""
    slots = 5
    x, y = around(draws, "compact", slots, 0.8, 7.0)
    magnitude = galaxies.magnitude_r[:, None] + draws.uniform("compact/fainter", slots, low=-0.3, high=2.2)
    own_z = galaxies.z[:, None].expand_as(magnitude)
    red = galaxy_flux(draws, "compact/red", "early", magnitude, own_z, view.bands)
    disc = galaxy_flux(draws, "compact/disc", "disc", magnitude, own_z, view.bands)
    is_disc = draws.chance("compact/is_disc", 0.3, slots)
    active = draws.chance("compact/active", 0.5, slots)
    active[:, :2] = True
    size = 10 ** (0.12 * (galaxies.magnitude_r[:, None] - magnitude) + 0.1 * draws.normal("compact/size", slots))
    members = components(
        torch.where(is_disc[..., None], disc, red),
        active=active,
        x=x,
        y=y,
        radius=(galaxies.radius[:, None] * size).clamp(0.15, 3.0),
        n=torch.where(is_disc, 1.0, 3.5),
        q=torch.where(is_disc, 0.25, 0.5) + 0.5 * draws.uniform("compact/q", slots),
        phi=draws.uniform("compact/phi", slots, high=math.pi),
    )
    return join([early_type(draws, galaxies, view), members])


def _arc_like(draws: Draws, name: str, slots: int, view: Instrument) -> Tensor:
    """r magnitudes [B, slots] as bright as arcs that are seen at the view's depth."""
    bright = torch.log(draws.uniform(f"{name}/bright", slots))
    return (view.depth[:, None] - 1.6 + 1.1 * bright).clamp(min=18.5)
