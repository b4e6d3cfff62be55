"""Early-type galaxies alone: smooth, or with the shells of an old merger."""

from __future__ import annotations

import math

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, components, early_type, galaxy_flux, join


def elliptical(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """An early-type galaxy with nothing but the field around it."""
    return early_type(draws, galaxies, view)


def shells(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """An early-type galaxy with partial shells about its major axis, in its own colour (Malin & Carter 1983)."""
    slots = 4
    magnitude = galaxies.magnitude_r[:, None] + draws.uniform("shells/fainter", slots, low=2.2, high=4.5)
    own_z = galaxies.z[:, None].expand_as(magnitude)
    side = math.pi * draws.chance("shells/side", 0.5, slots)
    arcs = components(
        galaxy_flux(draws, "shells", "early", magnitude, own_z, view.bands),
        active=draws.chance("shells/active", 0.7, slots),
        radius=galaxies.radius[:, None].clamp(min=0.5) * draws.uniform("shells/radius", slots, low=1.3, high=4.0),
        q=draws.uniform("shells/q", slots, low=0.6, high=1.0),
        phi=galaxies.phi[:, None].expand(-1, slots),
        ring=draws.uniform("shells/width", slots, low=0.05, high=0.15),
        arms=1.0,
        contrast=1.0,
        phase=side + 0.3 * draws.normal("shells/phase", slots),
    )
    return join([early_type(draws, galaxies, view), arcs])
