"""Impostors and surroundings: finite, luminous, where they should be."""

from __future__ import annotations

import pytest
import torch

from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.negatives import NEGATIVES
from mlensing.simulate.population import Galaxies, draw_deflectors
from mlensing.simulate.render.light import render_light
from mlensing.simulate.scene import (
    Components,
    around,
    components,
    draw_members,
    flux_of,
    group_members,
    join,
    neighbours,
    stray_light,
)
from mlensing.survey import Survey

COUNT = 256
DRAWS = Draws(2, torch.arange(COUNT))


@pytest.fixture(scope="module")
def view() -> Instrument:
    presets = [Survey.load("legacy"), Survey.load("euclid")]
    table = Instrument.of(presets, [preset.channel_bands() for preset in presets], torch.device("cpu"))
    return table[torch.arange(COUNT) % 2]


@pytest.fixture(scope="module")
def galaxies() -> Galaxies:
    limits = torch.full((COUNT,), 0.6), torch.full((COUNT,), 4.0)
    return draw_deflectors(DRAWS, theta_E=limits, wide_share=0.5, faintest=torch.full((COUNT,), torch.inf))


def assert_sound(made: Components) -> None:
    assert len(made) > 0
    for name, value in vars(made).items():
        assert len(value) == len(made) and torch.isfinite(value.float()).all(), name
    assert (made.flux >= 0).all() and (made.flux.sum(1) > 0).all() and (made.radius > 0).all()
    assert ((made.q > 0) & (made.q <= 1)).all()
    assert ((made.contrast >= 0) & (made.contrast <= 1)).all(), "light is never negative"


@pytest.mark.parametrize("name", sorted(set(NEGATIVES) - {"empty"}))
def test_every_class_builds_light(name: str, view: Instrument, galaxies: Galaxies) -> None:
    made = NEGATIVES[name](DRAWS, galaxies, view)
    assert_sound(made)
    owners = made.owner.unique()
    assert len(owners) == COUNT
    rows = (made.owner < 32).nonzero()[:, 0]
    image = render_light(made[rows], size=32, spacing=view.pixel_scale[:32])
    assert torch.isfinite(image).all() and (image >= -1e-6 * image.amax()).all()
    assert (image.sum((1, 2, 3))[owners[owners < 32]] > 0).all()


@pytest.mark.parametrize("name", NEGATIVES)
def test_a_class_of_some_is_that_class_of_all(name: str, view: Instrument, galaxies: Galaxies) -> None:
    rows = torch.arange(5, COUNT, 50)
    some = NEGATIVES[name](Draws(2, DRAWS.index[rows]), galaxies[rows], view[rows])
    every = NEGATIVES[name](DRAWS, galaxies, view)
    for local, row in enumerate(rows):
        assert torch.equal(some.flux[some.owner == local], every.flux[every.owner == row])
        assert torch.equal(some.x[some.owner == local], every.x[every.owner == row])


def test_companions_surround_the_galaxy_at_arc_like_radii(view: Instrument, galaxies: Galaxies) -> None:
    made = NEGATIVES["companions"](DRAWS, galaxies, view)
    off = torch.hypot(made.x, made.y)
    central = off == 0
    assert central.sum() == COUNT
    reach = 1.6 * galaxies.theta_E.clamp(min=1.2)[made.owner]
    assert ((off >= 0.699) & (off <= 1.001 * reach))[~central].all()


def test_spirals_are_as_bright_as_the_early_types(view: Instrument, galaxies: Galaxies) -> None:
    total = {}
    for name in ("elliptical", "spiral", "ring", "edge_on"):
        made = NEGATIVES[name](DRAWS, galaxies, view)
        total[name] = torch.zeros(COUNT).index_add(0, made.owner, made.flux[:, 1]).log().median()
    assert max(total.values()) - min(total.values()) < 0.7


def test_surroundings(view: Instrument, galaxies: Galaxies) -> None:
    around_it = neighbours(DRAWS, view, size=64)
    assert_sound(around_it)
    half_width = 0.5751 * 64 * view.pixel_scale[around_it.owner]
    assert (around_it.x.abs() <= half_width).all() and (around_it.y.abs() <= half_width).all()
    members = draw_members(DRAWS, galaxies, view, probability=0.3, size=64)
    light = group_members(DRAWS, galaxies, members, view)
    assert_sound(light)
    assert len(light) == members.active.sum() and torch.hypot(light.x, light.y).min() >= 1.499
    haloes = stray_light(DRAWS, view, size=64, probability=1.0)
    assert_sound(haloes)
    outside = torch.hypot(haloes.x, haloes.y) > 0.5 * 64 * view.pixel_scale[haloes.owner]
    assert len(haloes) == COUNT and outside.all()


def test_positions_are_uniform_in_area() -> None:
    draws = Draws(0, torch.arange(20_000))
    x, y = around(draws, "a", 1, 1.0, 3.0)
    square = x**2 + y**2
    assert square.min() >= 0.999 and square.max() <= 9.001
    assert square.mean().item() == pytest.approx(5.0, rel=0.01)
    assert abs(x.mean()) < 0.05 and abs(y.mean()) < 0.05


def test_components_broadcast_leave_out_and_join() -> None:
    active = torch.tensor([[True, False], [True, True]])
    made = components(torch.ones(2, 2, 3), active=active, x=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), radius=0.5)
    assert made.owner.tolist() == [0, 1, 1] and made.x.tolist() == [1.0, 3.0, 4.0]
    assert made.n.tolist() == [1.0] * 3 and made.ring.tolist() == [0.0] * 3
    moved = made.moved(torch.tensor([7, 9]), torch.tensor([0.5, 0.0]), torch.tensor([0.0, -1.0]))
    assert moved.owner.tolist() == [7, 9, 9]
    assert moved.x.tolist() == [1.5, 3.0, 4.0] and moved.y.tolist() == [0.0, -1.0, -1.0]
    assert len(join([made, moved])) == 6


def test_flux_at_zero_point_30() -> None:
    assert flux_of(torch.tensor([30.0, 25.0])).tolist() == pytest.approx([1.0, 100.0], rel=1e-5)
