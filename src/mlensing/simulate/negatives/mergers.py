"""Galaxies in collision."""

from __future__ import annotations

import math

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, around, components, early_type, galaxy_flux, join


def merger(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """Two nuclei within 3 arcsec and up to two curved tidal tails (Toomre & Toomre 1972)."""
    x, y = around(draws, "merger", 1, 0.5, 3.0)
    fainter = galaxies.magnitude_r + draws.uniform("merger/fainter", low=0.0, high=2.0)
    second = galaxy_flux(draws, "merger/second", "disc", fainter, galaxies.z, view.bands)
    blue = galaxy_flux(draws, "merger/blue", "star_forming", fainter, galaxies.z, view.bands)
    mix = draws.uniform("merger/mix")[:, None]
    nucleus = components(
        mix * second + (1 - mix) * blue,
        x=x[:, 0],
        y=y[:, 0],
        radius=galaxies.radius * draws.uniform("merger/size", low=0.4, high=1.3),
        n=1.3,
        q=draws.uniform("merger/q", low=0.25, high=0.9),
        phi=draws.uniform("merger/phi", high=math.pi),
    )
    slots = 2
    faint = fainter[:, None] + draws.uniform("merger/tail_fainter", slots, low=0.3, high=2.0)
    tails = components(
        galaxy_flux(draws, "merger/tail", "star_forming", faint, galaxies.z[:, None].expand_as(faint), view.bands),
        active=draws.chance("merger/has_tail", 0.5, slots),
        x=x.expand(-1, slots),
        y=y.expand(-1, slots),
        radius=draws.uniform("merger/tail_radius", slots, low=1.0, high=4.0),
        q=draws.uniform("merger/tail_q", slots, low=0.4, high=1.0),
        phi=draws.uniform("merger/tail_phi", slots, high=math.pi),
        ring=draws.uniform("merger/tail_width", slots, low=0.08, high=0.25),
        arms=1.0,
        contrast=1.0,
        phase=draws.uniform("merger/tail_phase", slots, high=2 * math.pi),
    )
    return join([early_type(draws, galaxies, view), nucleus, tails])
