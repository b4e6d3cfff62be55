"""The elliptical power law against lenstronomy, and against the SIE that it is at slope 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from mlensing.physics import (
    gradient,
    pixel_grid,
    power_law_convergence,
    power_law_deflection,
    power_law_potential,
    sie_convergence,
    sie_deflection,
)

CASES = [(1.2, 0.7, 0.3, 2.2), (0.6, 0.45, 1.9, 1.7), (2.1, 0.95, -0.8, 2.0)]


def ours(case: tuple[float, ...]) -> dict[str, Any]:
    return dict(zip(("theta_E", "q", "phi", "slope"), case, strict=True)) | {"x0": 0.11, "y0": -0.07}


@pytest.mark.parametrize("case", CASES)
def test_agreement_with_lenstronomy(case: tuple[float, ...]) -> None:
    theta_E, q, phi, slope = case
    e1, e2 = phi_q2_ellipticity(phi, q)
    theirs = {"theta_E": theta_E, "e1": e1, "e2": e2, "gamma": slope, "center_x": 0.11, "center_y": -0.07}
    (x, y), model = pixel_grid(60, 80, dx=0.1, dy=0.07, dtype=torch.float64), LensModel(["EPL"])
    args = x.numpy().ravel(), y.numpy().ravel(), [theirs]
    alpha = np.stack([a.numpy().ravel() for a in power_law_deflection(x, y, **ours(case))])
    np.testing.assert_allclose(alpha, np.stack(model.alpha(*args)), rtol=0, atol=1e-7)
    psi = power_law_potential(x, y, **ours(case)).numpy().ravel()
    np.testing.assert_allclose(psi, model.potential(*args), rtol=0, atol=1e-6)
    kappa = power_law_convergence(x, y, **ours(case)).numpy().ravel()
    np.testing.assert_allclose(kappa, model.kappa(*args), rtol=1e-5)


def test_slope_two_is_the_sie() -> None:
    x, y = pixel_grid(40, 40, dx=0.1, dy=0.1, dtype=torch.float64)
    of = {name: value for name, value in ours(CASES[0]).items() if name != "slope"}
    for a, b in zip(power_law_deflection(x, y, **of, slope=2.0), sie_deflection(x, y, **of), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
    kappas = power_law_convergence(x, y, **of, slope=2.0, core=0.05), sie_convergence(x, y, **of, core=0.05)
    torch.testing.assert_close(*kappas)


def test_alpha_is_the_gradient_of_psi_and_zero_at_the_centre() -> None:
    x, y = pixel_grid(81, 81, dx=0.05, dy=0.05, dtype=torch.float64)
    of = ours(CASES[1]) | {"x0": 0.0, "y0": 0.0}
    slopes = gradient(power_law_potential(x, y, **of), dx=0.05, dy=0.05)
    far = (torch.hypot(x, y) > 0.5) & (x.abs() < 1.9) & (y.abs() < 1.9)
    for a, b in zip(power_law_deflection(x, y, **of), slopes, strict=True):
        assert (a - b)[far].abs().max() < 2e-3
        assert a[40, 40] == 0
