"""Non-lenses: galaxies that look like lenses, made from the same central galaxies.

One function a class, ``(draws, galaxies, view) -> Components`` with the central object at the origin;
``NEGATIVES`` lists them. A new class is one function and one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mlensing.simulate.draws import Draws
from mlensing.simulate.instrument import Instrument
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, around, components, early_type, flux_of, galaxy_flux, join

Builder = Callable[[Draws, Galaxies, Instrument], Components]


def elliptical(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """An early-type galaxy with nothing but the field around it."""
    return early_type(draws, galaxies, view)


def companions(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """An early-type galaxy with blue galaxies at arc-like radii and of arc-like brightness, but no counter-images."""
    slots = 4
    x, y = around(draws, "companions", slots, 0.7, galaxies.theta_E.clamp(min=1.2)[:, None] * 1.6)
    magnitude = (view.depth[:, None] - 1.6 + 1.1 * torch.log(draws.uniform("companions/bright", slots))).clamp(min=18.5)
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


def spiral(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Bulge, disc and logarithmic arms (Davis+2012 for pitch angles), brightness as the early types'."""
    z = galaxies.z * 0.8
    radius = (galaxies.radius * draws.uniform("spiral/size", low=0.7, high=1.8)).clamp(0.5, 8.0)
    q = draws.uniform("spiral/q", low=0.35, high=1.0)
    bulge = draws.uniform("spiral/bulge", low=0.08, high=0.5)
    arms = draws.uniform("spiral/arms", low=0.15, high=0.5) * (1 - bulge)
    shape = {"radius": radius, "q": q, "phi": galaxies.phi}
    pitch = draws.uniform("spiral/pitch", low=8.0, high=35.0) * math.pi / 180
    hand = torch.where(draws.chance("spiral/hand", 0.5), 1.0, -1.0)
    red = _share(draws, "bulge", "early", galaxies.magnitude_r, z, bulge, view.bands)
    disc = _share(draws, "disc", "disc", galaxies.magnitude_r, z, 1 - bulge - arms, view.bands)
    blue = _share(draws, "arms", "star_forming", galaxies.magnitude_r, z, arms, view.bands)
    return join(
        [
            components(red, radius=0.25 * radius, n=2.5, q=(0.5 + 0.5 * q), phi=galaxies.phi),
            components(disc, n=1.0, **shape),
            components(
                blue,
                **(shape | {"radius": 1.15 * radius}),
                arms=draws.choice("spiral/number", torch.tensor([0.0, 0.1, 0.7, 0.1, 0.1])).float(),
                wind=hand / torch.tan(pitch),
                contrast=draws.uniform("spiral/contrast", low=0.6, high=1.0),
                phase=draws.uniform("spiral/phase", high=2 * math.pi),
            ),
        ]
    )


def ring(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A bulge, a faint disc and a ring, whole or lopsided: the classic impostor of an Einstein ring."""
    z = galaxies.z * 0.8
    radius = draws.uniform("ring/radius", low=0.7, high=3.2)
    q = draws.uniform("ring/q", low=0.4, high=1.0)
    light = draws.uniform("ring/share", low=0.1, high=0.55)
    faint = draws.uniform("ring/disc", low=0.05, high=0.5) * (1 - light)
    core = _share(draws, "bulge", "early", galaxies.magnitude_r, z, 1 - light - faint, view.bands)
    disc = _share(draws, "disc", "disc", galaxies.magnitude_r, z, faint, view.bands)
    blue = _share(draws, "ring", "star_forming", galaxies.magnitude_r, z, light, view.bands)
    tan = _share(draws, "ring/tan", "disc", galaxies.magnitude_r, z, light, view.bands)
    is_tan = draws.chance("ring/is_tan", 0.35)[:, None]
    return join(
        [
            components(core, radius=(0.3 * radius).clamp(min=0.2), n=3.0, q=0.4 + 0.6 * q, phi=galaxies.phi),
            components(disc, radius=0.9 * radius, n=1.0, q=q, phi=galaxies.phi),
            components(
                torch.where(is_tan, tan, blue),
                radius=radius,
                q=q,
                phi=galaxies.phi,
                ring=draws.uniform("ring/width", low=0.08, high=0.28),
                arms=draws.choice("ring/lumps", torch.tensor([0.3, 0.3, 0.3, 0.1])).float(),
                contrast=draws.uniform("ring/contrast", low=0.0, high=0.9),
                phase=draws.uniform("ring/phase", high=2 * math.pi),
            ),
        ]
    )


def edge_on(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A disc seen from the side, with a bulge."""
    z = galaxies.z * 0.8
    radius = (galaxies.radius * draws.uniform("edge/size", low=0.8, high=2.2)).clamp(0.6, 5.0)
    bulge = draws.uniform("edge/bulge", low=0.05, high=0.5)
    red = _share(draws, "bulge", "early", galaxies.magnitude_r, z, bulge, view.bands)
    disc = _share(draws, "disc", "disc", galaxies.magnitude_r, z, 1 - bulge, view.bands)
    blue = _share(draws, "blue", "star_forming", galaxies.magnitude_r, z, 1 - bulge, view.bands)
    mix = draws.uniform("edge/mix")[:, None]
    q = draws.uniform("edge/q", low=0.08, high=0.28)
    return join(
        [
            components(red, radius=0.2 * radius, n=2.5, q=0.75, phi=galaxies.phi),
            components(mix * disc + (1 - mix) * blue, radius=radius, n=1.0, q=q, phi=galaxies.phi),
        ]
    )


def merger(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Two nuclei within 3 arcsec and a curved tidal tail."""
    x, y = around(draws, "merger", 1, 0.5, 3.0)
    fainter = galaxies.magnitude_r + draws.uniform("merger/fainter", low=0.0, high=2.0)
    second = galaxy_flux(draws, "merger/second", "disc", fainter, galaxies.z, view.bands)
    blue = galaxy_flux(draws, "merger/blue", "star_forming", fainter, galaxies.z, view.bands)
    mix = draws.uniform("merger/mix")[:, None]
    tail = galaxy_flux(draws, "merger/tail", "star_forming", fainter + 0.7, galaxies.z, view.bands)
    return join(
        [
            early_type(draws, galaxies, view),
            components(
                mix * second + (1 - mix) * blue,
                x=x[:, 0],
                y=y[:, 0],
                radius=galaxies.radius * draws.uniform("merger/size", low=0.4, high=1.3),
                n=1.3,
                q=draws.uniform("merger/q", low=0.25, high=0.9),
                phi=draws.uniform("merger/phi", high=math.pi),
            ),
            components(
                tail,
                active=draws.chance("merger/has_tail", 0.6),
                x=x[:, 0],
                y=y[:, 0],
                radius=draws.uniform("merger/tail_radius", low=1.0, high=3.0),
                q=draws.uniform("merger/tail_q", low=0.5, high=1.0),
                phi=draws.uniform("merger/tail_phi", high=math.pi),
                ring=draws.uniform("merger/tail_width", low=0.1, high=0.25),
                arms=1.0,
                contrast=1.0,
                phase=draws.uniform("merger/tail_phase", high=2 * math.pi),
            ),
        ]
    )


def field(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Whatever a blind cutout holds: a faint galaxy or two, a star, or nothing."""
    faint = (view.depth - 0.5 + torch.log10(draws.uniform("field/magnitude")) / 0.3).clamp(min=17.5)
    z = draws.uniform("field/z", low=0.1, high=1.5)
    kinds = ("early", "disc", "star_forming")
    fluxes = torch.stack([galaxy_flux(draws, f"field/{k}", k, faint, z, view.bands) for k in kinds])
    kind = draws.choice("field/kind", torch.tensor([0.3, 0.4, 0.3]))
    galaxy = fluxes[kind, torch.arange(len(draws), device=kind.device)]
    bright = draws.uniform("field/star", low=15.0, high=23.0)[:, None]
    slope = torch.linspace(1.0, -1.0, view.bands.shape[1], device=z.device)
    star_flux = flux_of(bright + draws.uniform("field/star_colour", low=-0.5, high=1.2)[:, None] * slope)
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
    main = components(
        torch.where(star[:, None], star_flux, galaxy),
        active=draws.chance("field/occupied", 0.85),
        radius=torch.where(star, 0.03, 0.5 * 10 ** (0.2 * draws.normal("field/size"))),
        n=torch.where(kind == 0, 3.5, 1.2),
        q=torch.where(star, 1.0, draws.uniform("field/q", low=0.3, high=1.0)),
        phi=draws.uniform("field/phi", high=math.pi),
    )
    return join([main, beside])


def nearby(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """A nearby spiral that fills the cutout."""
    close = replace(
        galaxies,
        z=torch.full_like(galaxies.z, 0.05),
        magnitude_r=draws.uniform("nearby/magnitude", low=14.0, high=17.5),
        radius=draws.uniform("nearby/radius", low=1.5, high=5.0),
    )
    return spiral(draws, close, view)


def _share(draws: Draws, name: str, kind: str, magnitude: Tensor, z: Tensor, share: Tensor, bands: Tensor) -> Tensor:
    return galaxy_flux(draws, name, kind, magnitude, z, bands) * share[:, None]


NEGATIVES: dict[str, Builder] = {
    "elliptical": elliptical,
    "companions": companions,
    "spiral": spiral,
    "ring": ring,
    "edge_on": edge_on,
    "merger": merger,
    "field": field,
    "nearby": nearby,
}
