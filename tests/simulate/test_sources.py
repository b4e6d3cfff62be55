"""Sources: clumps share the flux of their galaxy, and quasars shine where and as bright as the lens equation says."""

from __future__ import annotations

import pytest
import torch

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.lenses import draw_deflector
from mlensing.simulate.population import Galaxies, draw_deflectors
from mlensing.simulate.render.images import find_images, magnification
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.scene import Components, flux_of
from mlensing.simulate.sources import (
    CLUMPS,
    GROUP_DISC,
    QUASARS,
    REFERENCE_MAGNITUDE,
    SOURCE_DISC,
    draw_sources,
    lensed_quasars,
)
from mlensing.survey import Survey

COUNT = 2000
DRAWS = Draws(31, torch.arange(COUNT))


@pytest.fixture(scope="module")
def galaxies() -> Galaxies:
    limits = torch.full((COUNT,), 0.6), torch.full((COUNT,), 4.0)
    return draw_deflectors(DRAWS, theta_E=limits, wide_share=0.5, faintest=torch.full((COUNT,), torch.inf))


@pytest.fixture(scope="module")
def sources(galaxies: Galaxies) -> Components:
    table = Instrument.of([Survey.load("lsst")], [["g", "r", "i"]], torch.device("cpu"))
    return draw_sources(DRAWS, galaxies, table.bands.expand(COUNT, -1))


def test_discs_come_first_near_the_axis(sources: Components, galaxies: Galaxies) -> None:
    discs = sources[:COUNT]
    assert torch.equal(discs.owner, torch.arange(COUNT))
    off = torch.hypot(discs.x, discs.y) / galaxies.theta_E
    alone, group = off[galaxies.group == 0], off[galaxies.group == 1]
    assert alone.max() <= SOURCE_DISC * 1.0001 and alone.median().item() == pytest.approx(SOURCE_DISC / 2, rel=0.1)
    assert SOURCE_DISC < group.max() <= (SOURCE_DISC + GROUP_DISC) * 1.0001


def test_bulges_and_clumps_share_the_flux(sources: Components) -> None:
    """The r band holds the reference magnitude, give or take the scatter of colours, however it is shared out."""
    total = torch.zeros(COUNT).index_add(0, sources.owner, sources.flux[:, 1])
    off = 2.5 * torch.log10(total / flux_of(torch.tensor(REFERENCE_MAGNITUDE)))
    assert off.abs().max() < 0.6 and off.abs().median() < 0.15
    parts = torch.bincount(sources.owner, minlength=COUNT)
    assert parts.min() == 1 and parts.max() <= 2 + CLUMPS
    many, plain = off[parts >= 3], off[parts == 1]
    assert abs(many.mean() - plain.mean()) < 0.05


def test_clumps_are_small_and_within_their_galaxy(sources: Components) -> None:
    clumps = sources[COUNT:]
    clumps = clumps[(clumps.n == 1.0).nonzero()[:, 0]]
    disc = sources[clumps.owner]
    assert 0.8 * COUNT < len(clumps) < CLUMPS * COUNT
    torch.testing.assert_close(clumps.radius, 0.25 * disc.radius)
    off = torch.hypot(clumps.x - disc.x, clumps.y - disc.y) / disc.radius
    assert off.median().item() == pytest.approx(0.7 * 1.177, rel=0.1) and off.max() < 4
    share = torch.zeros(COUNT).index_add(0, clumps.owner, clumps.flux[:, 1])
    whole = torch.zeros(COUNT).index_add(0, sources.owner, sources.flux[:, 1])
    clumpy = share > 0
    assert clumpy.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert (share / whole)[clumpy].min() > 0.02 and (share / whole)[clumpy].max() < 0.7


def moved(lens: Deflector, x: float, y: float) -> Deflector:
    lens.x, lens.y = torch.full((COUNT,), x), torch.full((COUNT,), y)
    return lens


def test_quasars_are_points_at_the_images_of_the_disc(sources: Components, galaxies: Galaxies) -> None:
    lens, discs = moved(draw_deflector(DRAWS, galaxies), 0.3, -0.2), sources[:COUNT]
    along, across, count = find_images(discs, lens)
    points = lensed_quasars(DRAWS, discs, lens, along, across)
    seen = torch.bincount(points.owner, minlength=COUNT)
    hosts = seen > 0
    assert hosts.float().mean().item() == pytest.approx(QUASARS, abs=0.02)
    assert torch.equal(seen[hosts].float(), count[hosts])
    assert (points.radius <= 0.01 + 1e-6).all()
    power = magnification(discs, lens, along, across).abs().clamp(max=50.0)
    cos, sin = lens.phi.cos()[:, None], lens.phi.sin()[:, None]
    x, y = 0.3 + along * cos - across * sin, -0.2 + along * sin + across * cos
    for row in hosts.nonzero()[:, 0].tolist():
        mine, there = points.owner == row, ~along[row].isnan()
        torch.testing.assert_close(points.x[mine], x[row, there])
        torch.testing.assert_close(points.y[mine], y[row, there])
        ratio = points.flux[mine] / points.flux[mine][:1]
        torch.testing.assert_close(ratio, (power[row, there] / power[row, there][0])[:, None].expand_as(ratio))


def test_no_images_no_quasars(sources: Components, galaxies: Galaxies) -> None:
    nowhere = torch.full((COUNT, 5), torch.nan)
    assert len(lensed_quasars(DRAWS, sources[:COUNT], draw_deflector(DRAWS, galaxies), nowhere, nowhere)) == 0
