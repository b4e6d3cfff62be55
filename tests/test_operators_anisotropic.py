"""Operators with dx != dy, against polynomials and against the potentials of known lenses."""

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.gnn.physics_ops import poisson_residual
from mlensing.physics import (
    divergence,
    gradient,
    interior_mask,
    laplacian,
    pixel_grid,
    sie_convergence,
    sie_deflection,
    sie_potential,
)
from mlensing.units import ARCSEC

DX, DY = 0.1, 0.25
SIE = {"x0": 0.013, "y0": -0.021, "q": 0.7, "phi": 0.4, "theta_E": 1.3}


def grid(height, width, *, dx=DX, dy=DY):
    return pixel_grid(height, width, dx=dx, dy=dy, dtype=torch.float64)


def inner(field, border=1):
    return field[..., border:-border, border:-border]


def test_gradient_of_a_quadratic_is_exact_on_each_axis():
    x, y = grid(12, 20)
    along_x, along_y = gradient(x**2 + 3 * y**2 + 5 * x * y, dx=DX, dy=DY)
    torch.testing.assert_close(inner(along_x), inner(2 * x + 5 * y))
    torch.testing.assert_close(inner(along_y), inner(6 * y + 5 * x))


@pytest.mark.parametrize(("order", "power"), [(2, 3), (4, 5)])
def test_laplacian_of_a_polynomial_is_exact_up_to_its_order(order, power):
    x, y = grid(12, 20)
    result = laplacian(x**power + 2 * y**power, dx=DX, dy=DY, order=order)
    expected = power * (power - 1) * (x ** (power - 2) + 2 * y ** (power - 2))
    torch.testing.assert_close(inner(result, 2), inner(expected, 2))


def test_swapped_or_averaged_spacings_are_wrong():
    x, y = grid(12, 20)
    psi = x**2 + 3 * y**2
    right = inner(laplacian(psi, dx=DX, dy=DY))
    torch.testing.assert_close(right, torch.full_like(right, 8.0))
    mean = (DX + DY) / 2
    for dx, dy in ((DY, DX), (mean, mean)):
        assert (inner(laplacian(psi, dx=dx, dy=dy)) - 8).abs().min() > 1


def test_spacings_are_required_and_named():
    psi = torch.zeros(5, 5)
    for call in (gradient, laplacian):
        with pytest.raises(TypeError):
            call(psi)
        with pytest.raises(TypeError):
            call(psi, 0.1, 0.1)
    with pytest.raises(TypeError):
        poisson_residual(psi, psi, dx=0.1)


def test_one_spacing_a_sample():
    dx, dy = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.15], dtype=torch.float64)
    x, y = pixel_grid(9, 11, dx=dx, dy=dy, dtype=torch.float64)
    batch = laplacian(x**2 * y, dx=dx, dy=dy)
    single = torch.stack([laplacian(x[i] ** 2 * y[i], dx=float(dx[i]), dy=float(dy[i])) for i in range(2)])
    torch.testing.assert_close(batch, single)
    channels = gradient((x * y)[:, None], dx=dx[:, None], dy=dy[:, None])
    torch.testing.assert_close(inner(channels[0][:, 0]), inner(y))


@pytest.mark.parametrize(
    ("boundary", "expected"), [("reflect", [2.0, -2.0]), ("zero", [1.0, -4.0]), ("periodic", [4.0, -4.0])]
)
def test_what_lies_beyond_the_border(boundary, expected):
    psi = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64).expand(3, 4)
    ends = laplacian(psi, dx=1.0, dy=1.0, boundary=boundary)[1, [0, -1]]
    assert ends.tolist() == expected


def test_periodic_operators_on_a_wave():
    n, angle = 32, 2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32
    psi = torch.sin(angle)[None, :] + torch.cos(angle)[:, None]
    result = laplacian(psi, dx=DX, dy=DX, boundary="periodic")
    exact = (2 * torch.cos(torch.tensor(2 * torch.pi / n, dtype=torch.float64)) - 2) / DX**2
    torch.testing.assert_close(result, exact * psi)


def test_gradient_and_divergence_of_an_sie():
    x, y = grid(81, 161, dx=0.05, dy=0.1)
    use = interior_mask(81, 161, dx=0.05, dy=0.1, border=2, core=12.0)
    ax, ay = sie_deflection(x, y, **SIE)
    numeric = gradient(sie_potential(x, y, **SIE), dx=0.05, dy=0.1)
    assert max((numeric[0] - ax)[use].abs().max(), (numeric[1] - ay)[use].abs().max()) < 1e-2
    residual = divergence(ax, ay, dx=0.05, dy=0.1) - 2 * sie_convergence(x, y, **SIE)
    assert residual[use].abs().mean() < 1e-3


@pytest.mark.parametrize(("scale", "expected"), [(0.05, 2.0e-5), (0.1, 8.1e-5), (0.2, 3.3e-4), (0.4, 1.4e-3)])
def test_laplacian_error_falls_with_the_square_of_the_pixel(scale, expected):
    residual, far = sie_residual(scale)
    assert residual[far].abs().mean() <= expected


def test_fourth_order_is_closer():
    (second, far), (fourth, _) = sie_residual(0.1), sie_residual(0.1, order=4)
    far = far & interior_mask(*far.shape, dx=0.1, dy=0.1, border=2)
    assert fourth[far].abs().mean() < second[far].abs().mean() / 4


def sie_residual(scale, order=2):
    """Residual of an SIE of theta_E = 1" (it grows in proportion) on a field of 12.8", and where r > 1"."""
    n = round(12.8 / scale)
    x, y = grid(n, n, dx=scale, dy=scale)
    lens = SIE | {"theta_E": 1.0}
    psi, kappa = sie_potential(x, y, **lens), sie_convergence(x, y, **lens)
    residual = poisson_residual(psi, kappa, dx=scale, dy=scale, order=order)
    return residual, interior_mask(n, n, dx=scale, dy=scale) & (torch.hypot(x, y) > 1)


def test_radians_and_arcsec_give_the_same_residual():
    x, y = grid(40, 50)
    psi, kappa = sie_potential(x, y, **SIE), sie_convergence(x, y, **SIE)
    arcsec = poisson_residual(psi, kappa, dx=DX, dy=DY)
    radian = poisson_residual(psi * ARCSEC**2, kappa, dx=DX * ARCSEC, dy=DY * ARCSEC)
    torch.testing.assert_close(radian, arcsec, rtol=1e-9, atol=1e-9)
    mixed = poisson_residual(psi, kappa, dx=DX * ARCSEC, dy=DY * ARCSEC)
    use = interior_mask(40, 50, dx=DX, dy=DY, core=10.0)
    assert (mixed / (2 * kappa))[use].median().item() == pytest.approx(ARCSEC**-2, rel=0.05)


def test_an_exact_isothermal_sphere_has_no_residual_and_needs_no_gauge():
    x, y = grid(64, 64, dx=0.1, dy=0.1)
    sphere = {"x0": 0.0, "y0": 0.0, "q": 1.0, "phi": 0.0, "theta_E": 1.2}
    psi, kappa = sie_potential(x, y, **sphere), sie_convergence(x, y, **sphere)
    use = interior_mask(64, 64, dx=0.1, dy=0.1)
    exact = poisson_residual(psi, kappa, dx=0.1, dy=0.1)[use].abs().mean()
    gauged = poisson_residual(psi, kappa - kappa.mean(), dx=0.1, dy=0.1)[use].abs().mean()
    assert exact < 0.012
    assert gauged > 20 * exact


def test_the_operators_are_differentiable():
    psi = torch.randn(2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: laplacian(p, dx=DX, dy=DY), psi)
    assert torch.autograd.gradcheck(lambda p: gradient(p, dx=DX, dy=DY, boundary="periodic"), psi)


@pytest.mark.parametrize("spacing", [0.0, -0.1, float("nan"), float("inf")])
def test_impossible_spacings_are_refused(spacing):
    with pytest.raises(ConfigError, match="dy"):
        laplacian(torch.zeros(5, 5), dx=0.1, dy=spacing)


def test_mistakes_are_named():
    psi = torch.zeros(2, 5, 5)
    with pytest.raises(ConfigError, match="one shape"):
        poisson_residual(psi, psi[:, None], dx=DX, dy=DY)
    with pytest.raises(ConfigError, match="boundary"):
        laplacian(psi, dx=DX, dy=DY, boundary="mirror")
    with pytest.raises(ConfigError, match="order"):
        laplacian(psi, dx=DX, dy=DY, order=3)
    with pytest.raises(ConfigError, match="too small"):
        laplacian(torch.zeros(2, 5), dx=DX, dy=DY, order=4)
