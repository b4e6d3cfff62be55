"""The Sersic profile against lenstronomy, caustics, and its own integral."""

import numpy as np
import pytest
import torch
from caustics import func
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from scipy.special import gammaincinv

from mlensing.errors import ConfigError
from mlensing.physics import pixel_grid, sersic, sersic_b, sersic_total_flux

GALAXY = {"x0": 0.1, "y0": -0.05, "q": 0.6, "phi": 0.8, "radius": 0.7}


@pytest.mark.parametrize(("n", "tolerance"), [(0.5, 4e-4), (1.0, 3e-5), (2.5, 1e-6), (4.0, 1e-6), (8.0, 1e-6)])
def test_b_n_halves_the_light(n, tolerance):
    assert sersic_b(n).item() == pytest.approx(gammaincinv(2 * n, 0.5), rel=tolerance)


@pytest.mark.parametrize("n", [1.0, 2.0, 4.0])
def test_agreement_with_lenstronomy(n):
    x, y = pixel_grid(40, 50, dx=0.1, dy=0.08, dtype=torch.float64)
    e1, e2 = phi_q2_ellipticity(0.8, 0.6)
    galaxy = {
        "amp": 3.0,
        "R_sersic": 0.7,
        "n_sersic": n,
        "e1": e1,
        "e2": e2,
        "center_x": 0.1,
        "center_y": -0.05,
    }
    model = LightModel(["SERSIC_ELLIPSE"])
    expected = model.surface_brightness(x.numpy().ravel(), y.numpy().ravel(), [galaxy])
    light = sersic(x, y, **GALAXY, n=n, amplitude=3.0).numpy().ravel()
    shape = np.log(light / 3) / sersic_b(n).item()
    their_shape = np.log(expected / 3) / func.k_lenstronomy(n)  # their b_n is a straight line in n
    np.testing.assert_allclose(shape, their_shape, rtol=1e-9, atol=1e-9)


def test_agreement_with_caustics_at_equal_b_n():
    x, y = pixel_grid(40, 50, dx=0.1, dy=0.08, dtype=torch.float64)
    x0, y0, q, phi, radius, n = (torch.tensor(v, dtype=torch.float64) for v in (*GALAXY.values(), 3.0))
    expected = func.brightness_sersic(x0, y0, q, phi, n, radius / q.sqrt(), 3.0, x, y, sersic_b(n))
    torch.testing.assert_close(sersic(x, y, **GALAXY, n=3.0, amplitude=3.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0])
def test_total_flux_is_the_integral(n):
    x, y = pixel_grid(1000, 1000, dx=0.02, dy=0.025, dtype=torch.float64)
    light = sersic(x, y, **GALAXY, n=n, total_flux=5.0)
    assert light.sum().item() * 0.02 * 0.025 == pytest.approx(5.0, rel=2e-3)


def test_the_ellipse_of_the_half_light_radius_holds_half():
    x, y = pixel_grid(1000, 1000, dx=0.02, dy=0.025, dtype=torch.float64)
    along = (x - 0.1) * np.cos(0.8) + (y + 0.05) * np.sin(0.8)
    across = (y + 0.05) * np.cos(0.8) - (x - 0.1) * np.sin(0.8)
    inside = 0.6 * along**2 + across**2 / 0.6 < 0.7**2
    light = sersic(x, y, **GALAXY, n=1.5, total_flux=1.0)
    assert (light[inside].sum() * 0.02 * 0.025).item() == pytest.approx(0.5, rel=5e-3)


def test_amplitude_and_flux_are_inverse():
    n = torch.tensor([0.7, 4.0], dtype=torch.float64)
    flux = sersic_total_flux(2.0, radius=1.3, n=n)
    x, y = torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    light = sersic(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, radius=1.3, n=n, total_flux=flux)
    torch.testing.assert_close(light, torch.full_like(n, 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_centre_has_a_value_and_a_gradient(dtype):
    x = torch.zeros(1, dtype=dtype, requires_grad=True)
    light = sersic(x, x, x0=0.0, y0=0.0, q=0.5, phi=0.0, radius=1.0, n=4.0, amplitude=1.0)
    assert light.dtype == dtype
    assert light.item() == pytest.approx(np.exp(7.66925), rel=1e-3)
    light.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("strength", [{}, {"amplitude": 1.0, "total_flux": 1.0}])
def test_one_of_flux_and_amplitude(strength):
    with pytest.raises(ConfigError, match="exactly one"):
        sersic(torch.zeros(1), torch.zeros(1), **GALAXY, n=1.0, **strength)
