"""Lenses of a simulated sky: imaged more than once, magnified, detectable, and with maps that belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.Util.param_util import phi_q2_ellipticity
from torch import Tensor

from mlensing.physics import gradient, interior_mask, pixel_grid, poisson_residual
from mlensing.simulate import KINDS, Mixture, Simulator
from mlensing.simulate.camera.instrument import Instrument
from mlensing.simulate.draws import Draws
from mlensing.simulate.lenses import (
    BRIGHTEST,
    FAINTEST_SIGNAL,
    draw_brightness,
    draw_deflector,
    matched_signal,
)
from mlensing.simulate.luminosity import counts
from mlensing.simulate.mixture import MassStructure
from mlensing.simulate.population import Galaxies, draw_deflectors
from mlensing.simulate.simulator import FRAMED, RESOLVED
from mlensing.simulate.sky import Block
from mlensing.simulate.sources import REFERENCE_MAGNITUDE, draw_sources
from mlensing.survey import Survey

SCALE = 0.2


@pytest.fixture(scope="module")
def block() -> Block:
    """LSST lenses at the paper's size, with maps, and a few samples of blank sky."""
    alone = MassStructure(satellites=False)  # tests/simulate/test_maps.py has satellites
    mixture = Mixture(surveys={"lsst": 1}, classes={"lens": 0.9, "field": 0.1}, wide_share=0.3, mass=alone)
    return Simulator(mixture, seed=8).block(0, maps=True)


@pytest.fixture(scope="module")
def lenses(block: Block) -> Tensor:
    return (block["label"] == 1).nonzero()[:, 0]


def test_arcs_are_magnified_and_bright_enough(block: Block, lenses: Tensor) -> None:
    assert block["magnification"][lenses].min() >= 2.5
    assert block["arc_signal"][lenses].min() >= 30.0
    assert block["source_magnitude"][lenses].min() >= BRIGHTEST - 1e-3
    fwhm = min(Survey.load("lsst").bands[band].psf_fwhm for band in "gri")
    assert block["theta_E"][lenses].min() >= RESOLVED * fwhm - 1e-4
    assert block["theta_E"][lenses].max() <= FRAMED * 32 * SCALE + 1e-4


@pytest.mark.parametrize("survey", ["hst", "euclid", "sdss"])
def test_no_arc_lies_outside_a_small_frame(survey: str) -> None:
    mixture = Mixture(surveys={survey: 1}, classes={"lens": 1}, size=32, wide_share=1.0)
    made = Simulator(mixture, seed=3).block(0)
    assert made["magnification"].median() > 3 and made["magnification"].min() > 1.2
    assert made["arc_signal"].min() >= mixture.arc_signal * (1 - 1e-5)


def test_truth_of_what_is_no_lens_is_not_made_up(block: Block) -> None:
    blank = block["label"] == 0
    assert blank.any() and (block["kind"][blank] == KINDS.index("field")).all()
    for name in ("magnification", "arc_signal", "source_magnitude", "images"):
        assert block[name][blank].isnan().all()
    for name in ("theta_E", "kappa", "psi", "alpha"):
        assert (block[name][blank] == 0).all()


def deflectors(draws: Draws) -> Galaxies:
    low, high, any_magnitude = (torch.full((len(draws),), value) for value in (0.6, 4.0, torch.inf))
    return draw_deflectors(draws, theta_E=(low, high), wide_share=0.5, faintest=any_magnitude)


def test_each_source_has_at_least_two_images() -> None:
    count = 40
    draws = Draws(17, torch.arange(count))
    galaxies = deflectors(draws)
    table = Instrument.of([Survey.load("lsst")], [["g", "r", "i"]], torch.device("cpu"))
    source = draw_sources(draws, galaxies, table.bands.expand(count, -1))
    lens = draw_deflector(draws, galaxies)
    solver = LensEquationSolver(LensModel(["SIE", "SHEAR"]))
    for row in range(count):
        theta_E = float(lens.theta_E[row])
        e1, e2 = phi_q2_ellipticity(float(lens.phi[row]), float(lens.q[row]))
        sie = {"theta_E": theta_E, "e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0}
        shear = {"gamma1": float(lens.gamma1[row]), "gamma2": float(lens.gamma2[row])}
        place, window = (float(source.x[row]), float(source.y[row])), 5 * theta_E
        step = {"min_distance": theta_E / 25, "search_window": window}
        found, _ = solver.image_position_from_source(*place, [sie, shear], **step)
        assert len(found) >= 2, row


def test_shear_and_flattening_are_those_of_galaxies_and_groups() -> None:
    draws = Draws(17, torch.arange(4000))
    galaxies = deflectors(draws)
    lens = draw_deflector(draws, galaxies)
    assert (lens.q >= 0.45).all() and (lens.q <= 0.99).all()
    shear, small = torch.hypot(lens.gamma1, lens.gamma2), galaxies.theta_E < 1.5
    assert 0.03 < shear[small].median() < 0.06 < shear[galaxies.theta_E > 3].median() < 0.15


def test_psi_and_kappa_belong_together(block: Block, lenses: Tensor) -> None:
    """To twice the error that a 5-point Laplacian makes on an SIE of 1.2 arcsec at this scale (3.3e-4)."""
    residual = poisson_residual(block["psi"], block["kappa"], dx=SCALE, dy=SCALE)
    x, y = pixel_grid(64, 64, dx=SCALE, dy=SCALE)
    far = interior_mask(64, 64, dx=SCALE, dy=SCALE, border=2) & (torch.hypot(x, y) > 1.6)
    for row in lenses:
        assert residual[row][far].abs().mean() < 2 * 3.3e-4 * max(1.0, float(block["theta_E"][row]) / 1.2)


def test_alpha_is_the_gradient_of_psi(block: Block, lenses: Tensor) -> None:
    along = torch.stack(gradient(block["psi"], dx=SCALE, dy=SCALE), 1)
    x, y = pixel_grid(64, 64, dx=SCALE, dy=SCALE)
    far = interior_mask(64, 64, dx=SCALE, dy=SCALE, border=2) & (torch.hypot(x, y) > 1.6)
    for row in lenses:
        error = (along[row] - block["alpha"][row])[:, far].abs()
        assert error.mean() < 1e-3 * float(block["theta_E"][row]) and error.max() < 1e-2 * float(block["theta_E"][row])


def test_mean_convergence_inside_theta_E_is_one() -> None:
    mixture = Mixture(surveys={"lsst": 1}, classes={"lens": 1}, dither=0.0, mass=MassStructure(satellites=False))
    made = Simulator(mixture, seed=8).block(0, maps=True)
    x, y = pixel_grid(64, 64, dx=SCALE, dy=SCALE)
    for row in range(0, 64, 7):
        theta_E = float(made["theta_E"][row])
        inside = torch.hypot(x, y) < theta_E
        assert made["kappa"][row][inside].mean().item() == pytest.approx(1.0, abs=0.12)


def test_matched_signal_adds_pixels_in_quadrature() -> None:
    arcs, noise, zero = torch.full((1, 2, 4, 4), 3.0), torch.full((1, 2, 4, 4), 1.5), torch.zeros(1, 2, 4, 4)
    assert matched_signal(arcs, noise, zero).item() == pytest.approx(2 * 32**0.5)
    assert matched_signal(arcs, noise, zero + 100).item() < 0.1 * matched_signal(arcs, noise, zero).item()


def test_brightness_follows_counts_cut_at_detectability() -> None:
    draws, none = Draws(1, torch.arange(20_000)), torch.zeros(20_000, dtype=torch.bool)
    z_source = torch.full((20_000,), 1.2)
    magnitude = draw_brightness(draws, torch.full((20_000,), 30.0), z_source=z_source, minimum=30.0, faint=none)
    assert magnitude.max() <= 25.0 + 1e-4 and magnitude.min() >= BRIGHTEST - 1e-3
    expected = counts(np.array([1.2]), 24.0) / counts(np.array([1.2]), 25.0)
    assert (magnitude < 24.0).float().mean().item() == pytest.approx(float(expected[0]), rel=0.06)


def test_faint_lenses_have_arcs_below_the_cut() -> None:
    draws, signal = Draws(1, torch.arange(2000)), torch.full((2000,), 300.0)
    faint = torch.arange(2000) % 2 == 0
    magnitude = draw_brightness(draws, signal, z_source=torch.ones(2000), minimum=30.0, faint=faint)
    reached = signal * 10 ** (0.4 * (REFERENCE_MAGNITUDE - magnitude))
    assert reached[~faint].min() >= 29.99
    assert reached[faint].max() <= 30.01 and reached[faint].min() >= 0.999 * FAINTEST_SIGNAL
    assert reached[faint].min() < 1.1 * FAINTEST_SIGNAL, "down to the faintest"
