"""The lens equation solved, against lenstronomy's solver and its magnifications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.Util.param_util import phi_q2_ellipticity
from numpy.typing import NDArray

from mlensing.simulate import KINDS, Mixture, Simulator
from mlensing.simulate.draws import Draws
from mlensing.simulate.mixture import LENSED
from mlensing.simulate.render.images import find_images, magnification, multiply_imaged
from mlensing.simulate.render.rays import Deflector
from mlensing.simulate.scene import Components, components

Array = NDArray[np.float64]
COUNT = 60
BRIGHT = 0.05  # |magnification| of images that must be found
MODEL = LensModel(["SIE", "SHEAR"])
CONFIG = Path(__file__).parents[3] / "configs" / "release_sky.yaml"


@pytest.fixture(scope="module")
def systems() -> tuple[Components, Deflector]:
    """Sources within 0.55 theta_E behind flattened, sheared deflectors, as the simulator has them."""
    draws = Draws(23, torch.arange(COUNT))
    theta_E = draws.uniform("theta_E", low=0.5, high=5.0)
    lens = Deflector(
        x=torch.zeros(COUNT),
        y=torch.zeros(COUNT),
        theta_E=theta_E,
        q=draws.uniform("q", low=0.45, high=0.99),
        phi=draws.uniform("phi", low=-3.0, high=3.0),
        gamma1=0.05 * draws.normal("gamma1"),
        gamma2=0.05 * draws.normal("gamma2"),
    )
    beta, angle = 0.55 * theta_E * draws.uniform("beta").sqrt(), draws.uniform("angle", high=6.283)
    return components(torch.ones(COUNT, 1), x=beta * angle.cos(), y=beta * angle.sin(), radius=0.3), lens


def theirs(lens: Deflector, row: int) -> list[dict[str, Any]]:
    e1, e2 = phi_q2_ellipticity(float(lens.phi[row]), float(lens.q[row]))
    sie = {"theta_E": float(lens.theta_E[row]), "e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0}
    return [sie, {"gamma1": float(lens.gamma1[row]), "gamma2": float(lens.gamma2[row])}]


def their_images(source: Components, lens: Deflector, row: int) -> Array:
    """x, y and magnification [images, 3] of the images that are bright; a singular lens has no central one."""
    theta_E, arguments = float(lens.theta_E[row]), theirs(lens, row)
    x, y = LensEquationSolver(MODEL).image_position_from_source(
        float(source.x[row]), float(source.y[row]), arguments, min_distance=theta_E / 30, search_window=5.2 * theta_E
    )
    found = np.stack([x, y, MODEL.magnification(x, y, arguments)], 1)
    return found[(np.abs(found[:, 2]) > BRIGHT) & (np.hypot(x, y) > 0.02 * theta_E)]


def our_images(source: Components, lens: Deflector) -> tuple[Array, Array]:
    """Positions on the sky with magnification [rows, slots, 3], NaN for none, and the counts."""
    along, across, count = find_images(source, lens)
    cos, sin = lens.phi.cos()[:, None], lens.phi.sin()[:, None]
    power = magnification(source, lens, along, across)
    found = torch.stack([along * cos - across * sin, along * sin + across * cos, power], 2)
    return found.double().numpy(), count.numpy()


def test_images_are_where_lenstronomy_finds_them(systems: tuple[Components, Deflector]) -> None:
    source, lens = systems
    found, count = our_images(source, lens)
    numbers = set()
    for row in range(COUNT):
        expected, theta_E = their_images(source, lens, row), float(lens.theta_E[row])
        for image in expected:
            assert np.nanmin(np.hypot(*(found[row, :, :2] - image[:2]).T)) < 1e-3 * theta_E, row
        bright = np.abs(found[row, :, 2]) > BRIGHT
        assert bright.sum() == len(expected), row
        assert count[row] == (~np.isnan(found[row, :, 0])).sum() >= len(expected) >= 2
        numbers.add(len(expected))
    assert {2, 4} <= numbers


def test_magnification_is_lenstronomys(systems: tuple[Components, Deflector]) -> None:
    source, lens = systems
    found, _ = our_images(source, lens)
    for row in range(COUNT):
        real = found[row][~np.isnan(found[row, :, 0])]
        expected = MODEL.magnification(real[:, 0], real[:, 1], theirs(lens, row))
        modest = np.abs(expected) < 20  # beyond, single precision of the position shows
        np.testing.assert_allclose(real[modest, 2], expected[modest], rtol=5e-3)


def test_a_source_on_the_far_side_has_one_image() -> None:
    one = torch.ones(1)
    sphere = Deflector(x=0 * one, y=0 * one, theta_E=one, q=one, phi=0 * one, gamma1=0 * one, gamma2=0 * one)
    x, y, count = find_images(components(torch.ones(1, 1), x=1.4 * one, radius=0.3), sphere)
    assert count.tolist() == [1]
    assert x[0, 0].item() == pytest.approx(2.4, abs=1e-3) and y[0, 0].item() == pytest.approx(0.0, abs=1e-3)


def test_every_simulated_lens_is_multiply_imaged() -> None:
    simulator = Simulator(Mixture.load(CONFIG), seed=12)
    for number in range(4):
        block = simulator.block(number)
        lensed = block["kind"] < len(LENSED)
        assert KINDS[: len(LENSED)] == LENSED and lensed.any()
        assert block["images"][lensed].min() >= 2, number


def test_a_source_outside_the_cut_is_brought_in() -> None:
    zero, far = torch.zeros(2), torch.tensor([0.2, 1.6])
    lens = Deflector(x=zero, y=zero, theta_E=zero + 1, q=zero + 0.7, phi=zero, gamma1=zero, gamma2=zero)
    source = components(torch.ones(2, 1), x=far, y=zero, radius=zero + 0.1)
    assert find_images(source, lens)[2].tolist()[1] == 1
    moved, *_, count = multiply_imaged(source, lens)
    assert count.min() >= 2 and moved.x[0] == far[0] and 0 < moved.x[1] < far[1]
