"""The singular isothermal ellipsoid against lenstronomy, and the images it makes."""

import numpy as np
import pytest
import torch
from caustics import func
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.Util.param_util import phi_q2_ellipticity

from mlensing.physics import (
    pixel_grid,
    shear_deflection,
    shear_potential,
    sie_convergence,
    sie_deflection,
    sie_potential,
)

CASES = [(1.2, 0.7, 0.3, 0.0, 0.0), (0.6, 0.45, 1.9, 0.11, -0.07), (2.1, 0.95, -0.8, -0.05, 0.2)]
GAMMA1, GAMMA2 = 0.04, -0.03


def ours(case):
    theta_E, q, phi, x0, y0 = case
    return {"theta_E": theta_E, "q": q, "phi": phi, "x0": x0, "y0": y0}


def theirs(case):
    theta_E, q, phi, x0, y0 = case
    e1, e2 = phi_q2_ellipticity(phi, q)
    return {"theta_E": theta_E, "e1": e1, "e2": e2, "center_x": x0, "center_y": y0}


def grid():
    return pixel_grid(60, 80, dx=0.1, dy=0.07, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_agreement_with_lenstronomy(case):
    (x, y), model = grid(), LensModel(["SIE"])
    args = x.numpy().ravel(), y.numpy().ravel(), [theirs(case)]
    alpha = np.stack([a.numpy().ravel() for a in sie_deflection(x, y, **ours(case))])
    np.testing.assert_allclose(alpha, np.stack(model.alpha(*args)), rtol=0, atol=1.6e-8)
    psi = sie_potential(x, y, **ours(case)).numpy().ravel()
    np.testing.assert_allclose(psi, model.potential(*args), rtol=0, atol=8e-10)
    kappa = sie_convergence(x, y, **ours(case)).numpy().ravel()
    np.testing.assert_allclose(kappa, model.kappa(*args), rtol=1.7e-4)


def test_shear_agrees_with_lenstronomy():
    (x, y), model = grid(), LensModel(["SHEAR"])
    args = x.numpy().ravel(), y.numpy().ravel(), [{"gamma1": GAMMA1, "gamma2": GAMMA2}]
    alpha = np.stack([a.numpy().ravel() for a in shear_deflection(x, y, gamma1=GAMMA1, gamma2=GAMMA2)])
    np.testing.assert_allclose(alpha, np.stack(model.alpha(*args)), rtol=0, atol=1e-14)
    psi = shear_potential(x, y, gamma1=GAMMA1, gamma2=GAMMA2).numpy().ravel()
    np.testing.assert_allclose(psi, model.potential(*args), rtol=0, atol=1e-14)


def test_a_round_lens_is_the_isothermal_sphere():
    x, y = grid()
    lens = {"x0": 0.02, "y0": 0.01, "q": 1.0, "phi": 0.7, "theta_E": 1.5}
    r = torch.hypot(x - 0.02, y - 0.01)
    ax, ay = sie_deflection(x, y, **lens)
    torch.testing.assert_close(torch.hypot(ax, ay), torch.full_like(r, 1.5), rtol=0, atol=1.6e-8)
    torch.testing.assert_close(sie_potential(x, y, **lens), 1.5 * r, rtol=0, atol=1e-7)
    torch.testing.assert_close(sie_convergence(x, y, **lens), 0.75 / r)


def test_theta_E_is_product_averaged_and_encloses_mean_convergence_one():
    x, y = pixel_grid(1200, 1200, dx=0.005, dy=0.005, dtype=torch.float64)
    q, phi = 0.6, 0.5
    along, across = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    ellipse = q * along**2 + across**2 / q < 1.2**2
    kappa = sie_convergence(x, y, x0=0.0, y0=0.0, q=q, phi=phi, theta_E=1.2)
    assert kappa[ellipse].mean().item() == pytest.approx(1.0, abs=2e-3)
    assert ellipse.sum().item() * 0.005**2 == pytest.approx(np.pi * 1.2**2, rel=1e-3)


def test_mass_lies_along_the_position_angle():
    along = torch.tensor([1.0, -1.0], dtype=torch.float64) / 2**0.5
    lens = {"x0": 0.0, "y0": 0.0, "q": 0.5, "phi": torch.pi / 4, "theta_E": 1.0}
    on, off = sie_convergence(along.abs(), along.abs(), **lens)[0], sie_convergence(along, -along, **lens)[0]
    assert on > 1.9 * off


@pytest.fixture
def double():
    """caustics' root finder makes tensors of the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def images(case, source):
    """Where our deflection forms images of a point, by caustics' triangle search."""

    def raytrace(x, y):
        ax, ay = sie_deflection(x, y, **ours(case))
        gx, gy = shear_deflection(x, y, gamma1=GAMMA1, gamma2=GAMMA2)
        return x - ax - gx, y - ay - gy

    middle = torch.tensor(0.0, dtype=torch.float64)
    x, y = func.forward_raytrace(torch.tensor(source, dtype=torch.float64), raytrace, middle, middle, 6.0, 100, 1e-6)
    found = np.stack([x.numpy(), y.numpy()], axis=-1)
    centre = np.array([case[3], case[4]])
    return found[np.hypot(*(found - centre).T) > 1e-2]  # a singular lens has no central image


@pytest.mark.parametrize(("source", "count"), [((0.05, 0.02), 4), ((0.45, -0.3), 2)])
def test_images_are_where_lenstronomy_finds_them(double, source, count):
    case = (1.2, 0.7, 0.3, 0.0, 0.0)
    model = LensModel(["SIE", "SHEAR"])
    solver = LensEquationSolver(model)
    arguments = [theirs(case), {"gamma1": GAMMA1, "gamma2": GAMMA2}]
    expected = np.stack(
        solver.image_position_from_source(*source, arguments, min_distance=0.05, search_window=6.0), axis=-1
    )
    found = images(case, source)
    assert len(found) == len(expected) == count
    for image in expected:
        assert np.hypot(*(found - image).T).min() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("q", [0.3, 0.999999, 1.0])
def test_the_exact_centre_is_finite(dtype, q):
    x, y = pixel_grid(5, 5, dx=0.2, dy=0.2, dtype=dtype)
    x0 = torch.zeros((), dtype=dtype, requires_grad=True)
    lens = {"x0": x0, "y0": 0.0, "q": q, "phi": 0.3, "theta_E": 1.0}
    ax, ay = sie_deflection(x, y, **lens)
    psi, kappa = sie_potential(x, y, **lens), sie_convergence(x, y, **lens, core=0.05)
    assert ax.dtype == psi.dtype == kappa.dtype == dtype
    assert ax[2, 2] == ay[2, 2] == psi[2, 2] == 0
    assert kappa[2, 2].item() == pytest.approx(10.0)
    (ax.sum() + psi.sum() + kappa.sum()).backward()
    assert torch.isfinite(x0.grad)


def test_float32_follows_float64():
    x, y = grid()
    for case in CASES:
        exact = sie_deflection(x, y, **ours(case))[0]
        single = sie_deflection(x.float(), y.float(), **ours(case))[0]
        assert (single - exact).abs().max() < 2e-6


def test_parameters_broadcast_like_tensors():
    x, y = grid()
    theta_E = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    q = torch.tensor([[0.5], [0.9]], dtype=torch.float64)[..., None, None]
    kappa = sie_convergence(x, y, x0=0.0, y0=0.0, q=q, phi=0.2, theta_E=theta_E)
    assert kappa.shape == (2, 3, 60, 80)
    single = sie_convergence(x, y, x0=0.0, y0=0.0, q=0.9, phi=0.2, theta_E=2.0)
    torch.testing.assert_close(kappa[1, 2], single)
