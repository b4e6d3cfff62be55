"""Blind cutouts: faint galaxies, bright stars, trails, empty sky."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, around, components, early_type, flux_of, galaxy_flux, join


def field(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Whatever a blind cutout holds: a galaxy or two, or a star; half the galaxies are such as catalogues are cut for.

    Number counts alone, dN/dm ~ 10^(0.3 m), would put nearly all at the depth; people choose r of 19 to 23.
    """
    counted = (view.depth - 0.5 + torch.log10(draws.uniform("field/magnitude")) / 0.3).clamp(min=17.5)
    chosen = draws.uniform("field/chosen_magnitude", low=19.0, high=23.0).minimum(view.depth - 0.5)
    faint = torch.where(draws.chance("field/chosen", 0.5), chosen, counted)
    z = draws.uniform("field/z", low=0.1, high=1.5)
    kinds = ("early", "disc", "star_forming")
    fluxes = torch.stack([galaxy_flux(draws, f"field/{k}", k, faint, z, view.bands) for k in kinds])
    kind = draws.choice("field/kind", torch.tensor([0.3, 0.4, 0.3]))
    galaxy = fluxes[kind, torch.arange(len(draws), device=kind.device)]
    star_flux = flux_of(draws.uniform("field/star", low=17.0, high=23.0)[:, None] + _tint(draws, "field/star", view))
    star = draws.chance("field/is_star", 0.3)
    x, y = around(draws, "field/second", 2, 0.6, 2.5)
    magnitude, redshift = faint[:, None].expand_as(x), z[:, None].expand_as(x)
    second = galaxy_flux(draws, "field/second", "disc", magnitude, redshift, view.bands)
    brighter = 10 ** draws.uniform("field/second_brightness", 2, low=-0.4, high=0.3)[..., None]
    beside = components(
        second * brighter,
        active=draws.chance("field/has_second", 0.25, 2),
        x=x,
        y=y,
        radius=0.3,
        q=draws.uniform("field/second_q", 2, low=0.4, high=1.0),
        phi=draws.uniform("field/second_phi", 2, high=math.pi),
    )
    radius = 0.5 * 10 ** (0.1 * (23.0 - faint).clamp(min=0.0) + 0.2 * draws.normal("field/size"))
    main = components(
        torch.where(star[:, None], star_flux, galaxy),
        radius=torch.where(star, 0.03, radius),
        n=torch.where(kind == 0, 3.5, 1.2),
        q=torch.where(star, 1.0, draws.uniform("field/q", low=0.3, high=1.0)),
        phi=draws.uniform("field/phi", high=math.pi),
    )
    return join([main, beside])


def empty(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A piece of sky with nothing in its middle."""
    return components(galaxies.magnitude_r[:, None] * view.fwhm, active=torch.zeros_like(galaxies.z, dtype=torch.bool))


def star(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A bright star with halo, diffraction spikes and a bleeding column; the detector saturates it afterwards."""
    magnitude = draws.uniform("star/magnitude", low=13.0, high=19.0)
    flux = flux_of(magnitude[:, None] + _tint(draws, "star", view))
    reach = 4.0 * 10 ** (0.12 * (16.0 - magnitude)) * draws.uniform("star/reach", low=0.5, high=1.5)
    cross = draws.uniform("star/cross", high=math.pi / 2)[:, None] + torch.tensor([0.0, math.pi / 2]).to(flux.device)
    spikes = components(
        (0.012 * flux)[:, None].expand(-1, 2, -1),
        active=draws.chance("star/has_spikes", 0.8)[:, None],
        radius=reach[:, None],
        q=(0.5 * view.pixel_scale / reach)[:, None],
        phi=cross,
    )
    bleed = components(
        0.05 * flux,
        active=draws.chance("star/bleeds", 0.5) & (magnitude < 16.0),
        radius=2.0 * reach,
        n=0.5,
        q=0.25 * view.pixel_scale / reach,
        phi=torch.full_like(reach, math.pi / 2),
    )
    halo = components(0.03 * flux, radius=1.5 * reach, n=1.0)
    return join([components(flux, radius=0.03), spikes, bleed, halo])


def cosmic_ray(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Half of them beside an early type, half beside a faint galaxy; the detector adds the ray (``artefacts``)."""
    bright = draws.chance("ray/bright", 0.5)
    central, faint = early_type(draws, galaxies, view), field(draws, galaxies, view)
    return join([central[bright[central.owner]], faint[~bright[faint.owner]]])


def trail(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A satellite across the frame in one band, or an asteroid: a dash in every band, each at its own place."""
    bands = view.bands.shape[1]
    own = torch.eye(bands, device=view.fwhm.device)
    satellite = draws.chance("trail/satellite", 0.5)[:, None]
    only = own[draws.choice("trail/band", torch.ones(bands))][:, None] * torch.ones(bands, 1, device=own.device)
    phi = draws.uniform("trail/phi", high=math.pi)[:, None].expand(-1, bands)
    length = torch.where(satellite, 40.0, draws.uniform("trail/length", low=0.8, high=3.0)[:, None])
    step = length * draws.uniform("trail/step", low=0.5, high=3.0)[:, None] * torch.arange(bands, device=own.device)
    step = torch.where(satellite, 0.0, step - step.mean(1, keepdim=True))
    width = 0.7 * view.pixel_scale[:, None]
    signal = draws.uniform("trail/signal", low=0.5, high=4.0)[:, None]  # mag above the depth, per arcsec of length
    flux = flux_of(view.depth[:, None] - signal)[:, None] * length[..., None]
    return components(
        flux * torch.where(satellite[..., None], only / bands, own),
        x=step * torch.cos(phi),
        y=step * torch.sin(phi),
        radius=length.expand(-1, bands),
        n=0.5,
        q=(width / length).expand(-1, bands),
        phi=phi,
    )


def _tint(draws: Draws, name: str, view: Instrument) -> Tensor:
    """Magnitudes [B, bands] relative to the mean of a star's, from blue dwarfs to red ones."""
    slope = torch.linspace(1.0, -1.0, view.bands.shape[1], device=view.fwhm.device)
    return draws.uniform(f"{name}_colour", low=-0.2, high=1.2)[:, None] * slope
