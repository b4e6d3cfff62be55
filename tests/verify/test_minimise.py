"""The parts of a fit against what they must equal: images, brightness, derivatives, a minimum that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from scipy.optimize import nnls
from scipy.signal import fftconvolve
from torch import Tensor

from mlensing.verify.hypotheses import HYPOTHESES, LENS
from mlensing.verify.linear import project
from mlensing.verify.minimise import Exposures, components_of, fitted, minimise, normal_equations, prior_cost
from mlensing.verify.psf import round_psf
from mlensing.verify.render import Grid, blurred, deflected, shape_of, transfer_of

SIZE, SCALE, THETA = 31, 0.25, HYPOTHESES[LENS].index("log_theta_E")
TRUTH = [0.05, -0.03, math.log(0.9), math.log(3.0), 0.15, 0.1, math.log(3.0), 0.0, 0.1, 0.0]
TRUTH += [0.12, -0.15, math.log(0.25), 0.0, 0.1, -0.2]
TRUTH += [math.log(1.4), 0.1, 0.05, 0.03, -0.02]
FLUX = (500.0, 100.0, 60.0)
"""Of the central galaxy, its halo and the source: arcs of S/N near 100."""


@pytest.fixture(scope="module")
def truth() -> Tensor:
    return torch.tensor([TRUTH])


@pytest.fixture(scope="module")
def exposures(truth: Tensor) -> Exposures:
    psf = torch.from_numpy(round_psf(0.7, (SCALE, SCALE), 7))[None, None]
    grid = Grid(SIZE, torch.full((1, 2), SCALE))
    empty = torch.zeros(1, 1, SIZE, SIZE)
    bare = Exposures(empty, torch.ones_like(empty), transfer_of(psf, SIZE), grid)
    images = components_of(HYPOTHESES[LENS], bare, truth)
    noise = torch.randn(empty.shape, generator=torch.Generator().manual_seed(1))
    data = (images * torch.tensor(FLUX)[:, None, None]).sum(2) + noise + 0.4
    return Exposures(data, bare.weight, bare.transfer, grid)


def test_brightness_is_that_of_non_negative_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 2, 3, 40, generator=generator)
    weight = 0.5 + torch.rand(5, 2, 40, generator=generator)
    flux = torch.tensor([[2.0, -1.0, 1.0], [1.0, 2.0, 0.5]])[:, :, None]
    data = (images * flux).sum(2) + 0.1 * torch.randn(5, 2, 40, generator=generator) - 0.3
    found = project(images, data, weight)
    for row in range(5):
        for band in range(2):
            w = weight[row, band].double().numpy()
            columns = [*images[row, band].double().numpy(), np.ones(40), -np.ones(40)]
            best, _ = nnls(np.stack(columns, 1) * w[:, None], data[row, band].double().numpy() * w)
            expected = [*best[:3], best[3] - best[4]]
            assert found.flux[row, band].tolist() == pytest.approx(expected, abs=1e-3)


def test_blurring_is_convolution() -> None:
    generator = np.random.default_rng(0)
    image, psf = generator.random((15, 15)), generator.random((2, 7, 7))
    ours = blurred(torch.from_numpy(image)[None, None], transfer_of(torch.from_numpy(psf)[None], 15))
    for band in range(2):
        assert ours[0, band, 0].numpy() == pytest.approx(fftconvolve(image, psf[band], mode="same"), abs=1e-9)


def test_rays_are_those_of_lenstronomy(truth: Tensor) -> None:
    mass = truth[:, list(HYPOTHESES[LENS].components[-1].positions[6:])].double()
    x, y = Grid(9, torch.full((1, 2), 0.5, dtype=torch.float64)).samples(9, 1)
    ours = deflected(mass, x, y)
    q, phi = shape_of(mass[0, 1], mass[0, 2])
    flat = float((1 - q) / (1 + q))
    e1, e2 = flat * math.cos(2 * phi), flat * math.sin(2 * phi)
    sie = {"theta_E": math.exp(TRUTH[THETA]), "e1": e1, "e2": e2, "center_x": TRUTH[0], "center_y": TRUTH[1]}
    shear = {"gamma1": TRUTH[-2], "gamma2": TRUTH[-1], "ra_0": TRUTH[0], "dec_0": TRUTH[1]}
    theirs = LensModel(["SIE", "SHEAR"]).ray_shooting(x.flatten().numpy(), y.flatten().numpy(), [sie, shear])
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.flatten().numpy() == pytest.approx(other, abs=1e-5)


def test_slopes_are_those_of_finite_differences(exposures: Exposures, truth: Tensor) -> None:
    """In float64, where differences are clean; first at the truth moved a little."""
    hypothesis, point = HYPOTHESES[LENS], truth.double() + 0.02
    exact = Exposures(
        exposures.data.double(),
        exposures.weight.double(),
        exposures.transfer.to(torch.complex128),
        Grid(SIZE, exposures.grid.scale.double()),
    )
    slope = normal_equations(hypothesis, exact, point).gradient[0]
    for k in range(point.shape[1]):
        costs = []
        for step in (1e-5, -1e-5):
            moved = point.clone()
            moved[0, k] += step
            costs.append(float(fitted(hypothesis, exact, moved).chi2 + prior_cost(hypothesis, moved)))
        assert float(slope[k]) == pytest.approx(-(costs[0] - costs[1]) / 4e-5, rel=2e-3, abs=0.05)


def test_a_minimum_is_found_and_its_width_is_honest(exposures: Exposures, truth: Tensor) -> None:
    start = truth.clone()
    start[0, THETA] += 0.1
    start[0, 10:12] += 0.1
    found = minimise(HYPOTHESES[LENS], exposures, start, steps=30)
    sigma = torch.linalg.inv(found.hessian)[0, THETA, THETA].sqrt()
    assert bool(found.converged[0])
    assert float(sigma) < 0.02
    assert abs(float(found.parameters[0, THETA]) - TRUTH[THETA]) < 4 * float(sigma)
    used = exposures.data[0].numel() - 20
    assert float(found.cost[0]) == pytest.approx(used, abs=4 * math.sqrt(2 * used))


def test_rows_do_not_change_each_other(exposures: Exposures, truth: Tensor) -> None:
    starts = torch.cat([truth, truth + 0.05])
    together = minimise(HYPOTHESES[LENS], exposures[torch.tensor([0, 0])], starts, steps=3)
    alone = minimise(HYPOTHESES[LENS], exposures, starts[1:], steps=3)
    assert together.parameters[1].tolist() == pytest.approx(alone.parameters[0].tolist(), abs=1e-3)
