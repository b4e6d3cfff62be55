"""Non-lenses: what looks like a lens and is none, made from the same central galaxies.

One function a class, ``(draws, galaxies, view) -> Components`` with the central object at the origin;
``NEGATIVES`` lists them. A new class is one function in the file of its family and one line here.
"""

from collections.abc import Callable

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.negatives.discs import edge_on, irregular, nearby, spiral
from mlensing.simulate.negatives.early import elliptical, shells
from mlensing.simulate.negatives.field import cosmic_ray, empty, field, star, trail
from mlensing.simulate.negatives.groups import alignment, blue_companions, compact_group, companions
from mlensing.simulate.negatives.mergers import merger
from mlensing.simulate.negatives.rings import nearby_ring, polar_ring, ring
from mlensing.simulate.population import Galaxies
from mlensing.simulate.scene import Components, join

Builder = Callable[[Draws, Galaxies, Instrument], Components]

ACCOMPANIED = 0.6
"""Share of galaxies beside which blue light lies at arc-like radii: without it, such light would mean a lens."""


def accompanied(build: Builder) -> Builder:
    """The class with blue companions beside ``ACCOMPANIED`` of its galaxies."""

    def both(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
        beside = blue_companions(draws, galaxies, view, probability=ACCOMPANIED)
        return join([build(draws, galaxies, view), beside])

    return both


NEGATIVES: dict[str, Builder] = {
    "elliptical": accompanied(elliptical),
    "shells": accompanied(shells),
    "companions": companions,
    "alignment": alignment,
    "compact_group": compact_group,
    "spiral": accompanied(spiral),
    "ring": accompanied(ring),
    "polar_ring": accompanied(polar_ring),
    "edge_on": accompanied(edge_on),
    "merger": accompanied(merger),
    "field": field,
    "star": star,
    "trail": trail,
    "cosmic_ray": cosmic_ray,
    "empty": empty,
    "nearby": nearby,
    "nearby_ring": nearby_ring,
    "irregular": irregular,
}

MASSLESS = ("field", "star", "trail", "empty")
"""Classes without a central galaxy that could deflect light."""

ZOOMED = ("nearby", "nearby_ring", "irregular")
"""Classes in frames scaled to the galaxy's size, as image servers cut them."""
