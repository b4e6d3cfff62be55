"""Scars lie where they were drawn, and nowhere else."""

from __future__ import annotations

import torch

from mlensing.simulate import KINDS, Mixture, Simulator
from mlensing.simulate.camera.artefacts import HOLES, RAYS, scarred
from mlensing.simulate.draws import Draws

COUNT = 4000
DRAWS = Draws(5, torch.arange(COUNT))
SKY = torch.full((COUNT, 3, 16, 16), 2.0)
NOISE = torch.ones(COUNT, 3)
BANDS = torch.tensor([1, 2, 3]).expand(COUNT, 3)


def test_few_samples_are_scarred_and_the_rest_left_alone() -> None:
    made = scarred(SKY, DRAWS, noise=NOISE, struck=torch.zeros(COUNT, dtype=torch.bool), bands=BANDS)
    touched = (made != SKY).flatten(1).any(1)
    assert 0.7 * (RAYS + HOLES) < touched.float().mean() < 1.2 * (RAYS + HOLES)
    assert (SKY == 2).all(), "the input is left alone"


def test_a_ray_is_bright_thin_and_of_one_band() -> None:
    struck = torch.arange(COUNT) < 200
    made = scarred(SKY, DRAWS, noise=NOISE, struck=struck, bands=BANDS)[:200] - 2
    holes = (made == -2).flatten(1).any(1)
    rays = made[~holes]
    bands = (rays > 5).flatten(2).any(2).sum(1)
    assert (bands <= 1).all() and (bands == 1).float().mean() > 0.9
    assert (rays.amax(1) > 0.2 * rays.amax((1, 2, 3))[:, None, None]).flatten(1).sum(1).float().median() < 40


def test_holes_are_zero_in_all_bands() -> None:
    made = scarred(SKY, DRAWS, noise=NOISE, struck=torch.zeros(COUNT, dtype=torch.bool), bands=BANDS)
    empty = made == 0
    torn = empty.flatten(1).any(1)
    assert torn.sum() > 0 and torch.equal(empty.all(1), empty.any(1))
    assert empty[torn].float().mean((1, 2, 3)).max() < 0.3


def test_scars_depend_on_the_sample_alone() -> None:
    rows = torch.arange(100, 300)
    struck = torch.zeros(COUNT, dtype=torch.bool)
    every = scarred(SKY, DRAWS, noise=NOISE, struck=struck, bands=BANDS)[rows]
    some = scarred(SKY[rows], Draws(5, rows), noise=NOISE[rows], struck=struck[rows], bands=BANDS[rows])
    assert torch.equal(every, some)


def test_stars_saturate() -> None:
    sky = Mixture(surveys={"des": 1}, classes={"star": 1, "field": 1}, size=32)
    simulator = Simulator(sky, seed=1)
    block = simulator.block(0)
    stars = block["image"][block["kind"] == KINDS.index("star")].amax((2, 3))
    view = simulator._instruments
    limit = view.full_well[0] / (view.gain[0] * view.exposure[0])
    assert (stars < 2.2 * limit).all(), "exposure times vary by a quarter"
    assert (stars[:, 1] > 0.4 * limit[1]).float().mean() > 0.2
