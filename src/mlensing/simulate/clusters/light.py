"""What shines in a cluster field: the red sequence in front, and galaxies behind, of which some make arcs.

All as ``scene.Components`` of one sample; positions of what is behind are in the source plane.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlensing.simulate import luminosity
from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.clusters.population import Cluster, source_efficiency
from mlensing.simulate.colours import relative_magnitude
from mlensing.simulate.draws import Draws
from mlensing.simulate.scene import Components, components, flux_of, galaxy_flux, join, neighbours

SEQUENCE_SLOPE, SEQUENCE_SCATTER = 0.02, 0.04
"""Share of its colours that a member loses per magnitude, and their scatter [mag]: the red sequence (Bower+1992)."""

ENVELOPE = (0.35, 3.5)
"""Share of the BCG's light that is in its envelope, and the envelope's radius over the galaxy's."""

BACKGROUND = 900  # slots
PER_ARCMIN2 = 30.0  # galaxies brighter than r = 25; counts rise as 10^(0.3 m)
BELOW_DEPTH = 1.5  # magnitudes below the depth that background galaxies are drawn to, since lensing brings them up
ARCS = 4  # slots of sources behind the middle of the cluster
CLUMPS = 3
NEAR_CAUSTIC = 0.3  # theta_E in which they lie
FOREGROUND = 3  # patches of ``scene.neighbours``


def cluster_light(draws: Draws, cluster: Cluster, view: Instrument, *, size: int) -> Components:
    """BCG with its envelope, members on the red sequence, and what lies in front."""
    flux = _sequence(draws, cluster, view)
    share = torch.ones_like(cluster.radius)
    share[0] = 1 - ENVELOPE[0]
    places = {name: getattr(cluster, name)[None] for name in ("x", "y", "q", "phi")}
    members = components(flux * share[:, None][None], radius=cluster.radius[None], n=4.0, **places)
    wide = {name: value[:, :1] for name, value in places.items()} | {"q": (0.6 * cluster.q[:1] + 0.25)[None]}
    envelope = components(flux[:, :1] * ENVELOPE[0], radius=ENVELOPE[1] * cluster.radius[None, :1], n=1.5, **wide)
    patches = [Draws(draws.seed, draws.index, f"foreground {k}/") for k in range(FOREGROUND)]
    return join([members, envelope, *(neighbours(patch, view, size=size) for patch in patches)])


def _sequence(draws: Draws, cluster: Cluster, view: Instrument) -> Tensor:
    """Flux [1, K, bands] of members: fainter ones are bluer."""
    offset = relative_magnitude("early", torch.full_like(cluster.x, cluster.z)[None], view.bands)
    offset = offset * (1 - SEQUENCE_SLOPE * cluster.fainter)[None, :, None]
    noise = SEQUENCE_SCATTER * draws.normal("member/colour", *offset.shape[1:])
    return flux_of(cluster.magnitude[None, :, None] + offset + noise)


def background(draws: Draws, cluster: Cluster, view: Instrument, *, half_width: float) -> tuple[Components, Tensor]:
    """Galaxies behind the cluster, and some before it, all over the source plane.

    Arguments:
        half_width: of the frame [arcsec]; deflections only bring rays inwards.

    Returns:
        Components with source-plane positions, and the lensing efficiency [M] of each.
    """
    faintest = view.depth[:, None] + BELOW_DEPTH
    expected = PER_ARCMIN2 * 10 ** (0.3 * (faintest - 25.0)) * (2 * half_width / 60.0) ** 2
    # more galaxies than slots: the faintest are left out
    faintest = faintest + torch.log10((BACKGROUND / expected).clamp(max=1.0)) / 0.3
    active = draws.chance("behind/active", (expected / BACKGROUND).clamp(max=1.0), BACKGROUND)
    magnitude = (faintest + torch.log10(draws.uniform("behind/magnitude", BACKGROUND)) / 0.3).clamp(min=19.0)
    z = _redshift(draws, "behind", BACKGROUND)
    kind = draws.choice("behind/kind", torch.tensor([0.75, 0.25]), BACKGROUND)
    blue, red = (galaxy_flux(draws, f"behind/{k}", k, magnitude, z, view.bands) for k in ("star_forming", "disc"))
    made = components(
        torch.where(kind[..., None] == 0, blue, red),
        active=active,
        x=half_width * draws.uniform("behind/x", BACKGROUND, low=-1.0, high=1.0),
        y=half_width * draws.uniform("behind/y", BACKGROUND, low=-1.0, high=1.0),
        radius=_radius(draws, "behind", z, magnitude),
        n=draws.uniform("behind/n", BACKGROUND, low=0.6, high=2.0),
        q=draws.uniform("behind/q", BACKGROUND, low=0.3, high=1.0),
        phi=draws.uniform("behind/phi", BACKGROUND, high=math.pi),
    )
    return made, source_efficiency(cluster, z[active])


def arc_sources(draws: Draws, cluster: Cluster, view: Instrument, *, theta_E: float) -> tuple[Components, Tensor]:
    """Bright blue galaxies behind the middle of the cluster, where a lens makes arcs of them: a disc and clumps each.

    Where there is no lens they are there as well, so that blue galaxies near a BCG are not the mark of one.

    Returns:
        Components, the discs first, and the lensing efficiency [M] of each.
    """
    z = (cluster.z + 0.25 + _redshift(draws, "arc", ARCS)).clamp(max=3.6)
    ratio = source_efficiency(cluster, z[0])[None].float()
    r = NEAR_CAUSTIC * theta_E * ratio * draws.uniform("arc/distance", ARCS).sqrt()
    angle = draws.uniform("arc/azimuth", ARCS, high=2 * math.pi)
    x, y = cluster.x[0] + r * torch.cos(angle), cluster.y[0] + r * torch.sin(angle)
    magnitude = (view.depth[:, None] - draws.uniform("arc/brighter", ARCS, low=0.6, high=3.0)).clamp(min=21.5)
    flux = galaxy_flux(draws, "arc", "star_forming", magnitude, z, view.bands)
    radius = _radius(draws, "arc", z, magnitude)
    active = draws.chance("arc/active", 0.6, ARCS)
    active[:, 0] = True
    in_clumps = draws.uniform("arc/clumpy", ARCS, low=0.0, high=0.5)
    disc = components(
        flux * (1 - in_clumps)[..., None],
        active=active,
        x=x,
        y=y,
        radius=radius,
        q=draws.uniform("arc/q", ARCS, low=0.4, high=1.0),
        phi=draws.uniform("arc/phi", ARCS, high=math.pi),
    )
    parts, every = [disc], ratio[active]
    for number in range(CLUMPS):
        shift = 0.7 * radius[..., None] * draws.normal(f"arc/clump {number}", ARCS, 2)
        share = (in_clumps / CLUMPS)[..., None]
        place = {"x": x + shift[..., 0], "y": y + shift[..., 1]}
        parts.append(components(flux * share, active=active, radius=0.25 * radius, **place))
    return join(parts), every.repeat(1 + CLUMPS).double()


def _redshift(draws: Draws, name: str, count: int) -> Tensor:
    """[1, count], a gamma distribution of mean 1.2, as faint galaxies have it."""
    pair = draws.uniform(f"{name}/z", count, 2).log().sum(-1)
    return (0.15 - 0.52 * pair).clamp(max=3.6)


def _radius(draws: Draws, name: str, z: Tensor, magnitude: Tensor) -> Tensor:
    median = luminosity.radius(z, magnitude)
    return (median * 10 ** (0.18 * draws.normal(f"{name}/size", z.shape[1]))).clamp(0.06, 1.2)
