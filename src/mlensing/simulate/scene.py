"""What lies in a cutout: a flat list of luminous components, and for lenses a deflector and its sources.

Positions in arcsec from the cutout's centre; fluxes [component, band] at AB zero point 30, whatever the survey.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlensing.simulate.camera.instrument import ZERO_POINT, Instrument
from mlensing.simulate.colours import relative_magnitude
from mlensing.simulate.draws import Draws
from mlensing.simulate.population import Galaxies

OLDER = {"disc": "early", "star_forming": "disc"}
"""What the stars of a type turn into."""


@dataclass
class Components:
    """Luminous components of a whole block; every field [M], ``flux`` [M, bands].

    Attributes:
        owner: which sample of the block it belongs to.
        x, y: centre [arcsec].
        radius: product-averaged half-light radius, or the ring's radius [arcsec].
        n, q, phi: Sersic index, axis ratio, position angle [radian].
        flux: total flux per band.
        ring: relative width of a ring; 0 for a Sersic profile.
        arms: number of modulations around the centre; 0 for none.
        wind: radians of azimuth per e-fold of radius (cotangent of the pitch angle).
        contrast: depth of the modulation, 0..1.
        phase: azimuth of its maximum [radian].
    """

    owner: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    n: Tensor
    q: Tensor
    phi: Tensor
    flux: Tensor
    ring: Tensor
    arms: Tensor
    wind: Tensor
    contrast: Tensor
    phase: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, rows: Tensor | slice) -> Components:
        return Components(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    def owned(self, first: int, last: int) -> Components:
        """Those of the samples ``first`` to ``last`` - 1, which are counted from 0."""
        some = self[((self.owner >= first) & (self.owner < last)).nonzero()[:, 0]]
        return dataclasses.replace(some, owner=some.owner - first)

    def moved(self, owners: Tensor, dx: Tensor, dy: Tensor) -> Components:
        """With local owner k renamed to ``owners[k]`` and shifted by its dx, dy [arcsec]."""
        x, y = self.x + dx[self.owner], self.y + dy[self.owner]
        return dataclasses.replace(self, owner=owners[self.owner], x=x, y=y)


def join(parts: Sequence[Components]) -> Components:
    """All components of all parts, in order."""
    fields = [f.name for f in dataclasses.fields(Components)]
    return Components(*(torch.cat([getattr(p, name) for p in parts]) for name in fields))


def components(flux: Tensor, *, active: Tensor | None = None, **fields: Tensor | float) -> Components:
    """Components from [B] or [B, K] fields and a flux [B, (K,) bands]; those not ``active`` are left out.

    Fields not given are 0, except ``n`` and ``q``, which are 1; they broadcast against the flux.
    """
    if flux.dim() == 2:
        flux = flux[:, None]
        fields = {k: v[:, None] if isinstance(v, Tensor) and v.dim() == 1 else v for k, v in fields.items()}
        active = None if active is None else active[:, None]
    shape = flux.shape[:2]
    keep = torch.ones(shape, dtype=torch.bool, device=flux.device) if active is None else active.expand(shape)
    values = {f.name: _spread(fields.get(f.name), f.name, shape, flux)[keep] for f in _scalars()}
    owner = torch.arange(shape[0], device=flux.device)[:, None].expand(shape)[keep]
    return Components(owner=owner, flux=flux[keep], **values)


def _scalars() -> list[dataclasses.Field[Tensor]]:
    return [f for f in dataclasses.fields(Components) if f.name not in ("owner", "flux")]


def _spread(value: Tensor | float | None, name: str, shape: torch.Size, like: Tensor) -> Tensor:
    if value is None:
        value = 1.0 if name in ("n", "q") else 0.0
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(shape)


def flux_of(magnitude: Tensor) -> Tensor:
    """Flux at zero point 30 of AB magnitudes, any shape."""
    return torch.exp((ZERO_POINT - magnitude) * (0.4 * math.log(10.0)))


def galaxy_flux(draws: Draws, name: str, kind: str, magnitude_r: Tensor, z: Tensor, bands: Tensor) -> Tensor:
    """Flux per band of galaxies of one type, with a scatter of colour per object.

    Arguments:
        kind: as in ``colours.relative_magnitude``.
        magnitude_r, z: [B] or [B, K].
        bands: [B, bands], as ``Instrument.bands``.

    Returns:
        [B, (K,) bands].
    """
    offset = relative_magnitude(kind, z, bands)
    spread = {"early": 0.05, "disc": 0.10, "star_forming": 0.12}[kind]
    noise = spread * draws.normal(f"{name}/colour", *offset.shape[1:])
    return flux_of(magnitude_r[..., None] + offset + noise)


def part(draws: Draws, name: str, kind: str, galaxies: Galaxies, share: Tensor, view: Instrument) -> Tensor:
    """Flux [B, bands] of the ``share`` [B] of each galaxy's light that has the colour of a type, or an older one.

    Four galaxies in ten are old throughout, so that red centres and haloes are not the privilege of early types.
    """
    light = galaxy_flux(draws, name, kind, galaxies.magnitude_r, galaxies.z, view.bands)
    if kind in OLDER:
        old = galaxy_flux(draws, f"{name}/old", OLDER[kind], galaxies.magnitude_r, galaxies.z, view.bands)
        age = torch.where(draws.chance("old", 0.4), 1.0, draws.uniform("age") ** 0.6)
        light = torch.lerp(light, old, age[:, None])
    return light * share[:, None]


def early_type(draws: Draws, galaxies: Galaxies, view: Instrument) -> Components:
    """The central early-type galaxy of each sample."""
    flux = galaxy_flux(draws, "central", "early", galaxies.magnitude_r, galaxies.z, view.bands)
    g = galaxies
    return components(flux, radius=g.radius, n=g.sersic_n, q=g.q, phi=g.phi)


def around(draws: Draws, name: str, count: int, low: float | Tensor, high: float | Tensor) -> tuple[Tensor, Tensor]:
    """Positions x, y [B, count] uniform in the area of a ring from ``low`` to ``high`` [arcsec]."""
    u = draws.uniform(f"{name}/distance", count)
    radius = torch.sqrt(low**2 + u * (high**2 - low**2))
    angle = draws.uniform(f"{name}/azimuth", count, high=2 * math.pi)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def neighbours(draws: Draws, view: Instrument, *, size: int) -> Components:
    """Field galaxies and stars over a frame of ``size`` pixels and a little more: counts as 10^(0.3 m) to the depth."""
    slots = 10
    half_width = 0.575 * size * view.pixel_scale[:, None]
    expected = 30.0 * 10 ** (0.3 * (view.depth.clamp(max=26.5) - 25.0))[:, None] * (2 * half_width / 60.0) ** 2
    crowding = torch.exp(0.6 * draws.normal("neighbours/crowding"))[:, None]
    active = draws.chance("neighbours/active", (expected * crowding / slots).clamp(max=0.9), slots)
    magnitude = view.depth[:, None] + torch.log10(draws.uniform("neighbours/magnitude", slots)) / 0.3
    magnitude = magnitude.clamp(min=17.0)
    z = draws.uniform("neighbours/z", slots, low=0.1, high=1.2)
    kinds = ("early", "disc", "star_forming")
    fluxes = torch.stack([galaxy_flux(draws, f"neighbours/{k}", k, magnitude, z, view.bands) for k in kinds])
    kind = draws.choice("neighbours/kind", torch.tensor([0.3, 0.4, 0.3]), slots)
    flux = torch.gather(fluxes, 0, kind[None, ..., None].expand(1, *fluxes.shape[1:]))[0]
    star = draws.chance("neighbours/star", 0.12, slots)
    extent = 0.45 * 10 ** (-0.1 * (magnitude - 22.0) + 0.15 * draws.normal("neighbours/size", slots))
    return components(
        flux,
        active=active,
        x=half_width * draws.uniform("neighbours/x", slots, low=-1.0, high=1.0),
        y=half_width * draws.uniform("neighbours/y", slots, low=-1.0, high=1.0),
        radius=torch.where(star, 0.15 * view.pixel_scale[:, None], extent.clamp(0.1, 2.5)),
        n=torch.where(star, 0.5, torch.where(kind == 0, 3.5, 1.2)),
        q=torch.where(star, 1.0, draws.uniform("neighbours/q", slots, low=0.35, high=1.0)),
        phi=draws.uniform("neighbours/phi", slots, high=math.pi),
    )


@dataclass
class Members:
    """Where the group members about each central galaxy are; every field [B, K].

    Attributes:
        x, y: from the central galaxy [arcsec].
        fainter: r magnitudes fainter than it.
        active: whether there is one.
    """

    x: Tensor
    y: Tensor
    fainter: Tensor
    active: Tensor


def draw_members(draws: Draws, galaxies: Galaxies, view: Instrument, *, probability: float, size: int) -> Members:
    """Members of a share ``probability`` of the samples, of more where theta_E is that of a group."""
    slots = 4
    rich = (0.25 * (galaxies.theta_E - 1.5)).clamp(0.0, 0.5)
    in_group = draws.chance("group", probability + rich)[:, None]
    x, y = around(draws, "group", slots, 1.5, 0.45 * size * view.pixel_scale[:, None])
    fainter = draws.uniform("group/fainter", slots, low=-0.2, high=3.0)
    return Members(x, y, fainter, in_group & draws.chance("group/active", 0.6, slots))


def group_members(draws: Draws, galaxies: Galaxies, members: Members, view: Instrument) -> Components:
    """Light of the members: early types at the central galaxy's redshift."""
    magnitude = galaxies.magnitude_r[:, None] + members.fainter
    flux = galaxy_flux(draws, "group", "early", magnitude, galaxies.z[:, None].expand_as(magnitude), view.bands)
    slots = magnitude.shape[1]
    return components(
        flux,
        active=members.active,
        x=members.x,
        y=members.y,
        radius=(galaxies.radius[:, None] * 10 ** (-0.12 * members.fainter)).clamp(min=0.12),
        n=3.5,
        q=draws.uniform("group/q", slots, low=0.5, high=1.0),
        phi=draws.uniform("group/phi", slots, high=math.pi),
    )


def stray_light(draws: Draws, view: Instrument, *, size: int, probability: float = 0.03) -> Components:
    """Haloes of bright stars just outside the frame: a broad glow, blue to yellow, in lenses and non-lenses alike."""
    angle = draws.uniform("halo/angle", high=2 * math.pi)
    distance = 0.5 * size * view.pixel_scale * draws.uniform("halo/distance", low=1.3, high=2.5)
    magnitude = draws.uniform("halo/magnitude", low=13.0, high=17.0)
    slope = torch.linspace(1.0, -1.0, view.bands.shape[1], device=view.fwhm.device)
    tint = draws.uniform("halo/colour", low=0.0, high=0.8)[:, None] * slope
    tint = tint + 0.15 * draws.normal("halo/tint", view.bands.shape[1])
    return components(
        flux_of(magnitude[:, None] + tint),
        active=draws.chance("halo", probability),
        x=distance * torch.cos(angle),
        y=distance * torch.sin(angle),
        radius=torch.full_like(distance, 5.0),
        n=2.0,
    )
