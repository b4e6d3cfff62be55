"""Pooling kappa and psi keeps the mass, and alpha follows at the new spacing."""

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.physics import (
    area_pool,
    gradient,
    interior_mask,
    pixel_grid,
    poisson_residual,
    sie_convergence,
    sie_deflection,
    sie_potential,
)

DX, DY = 0.05, 0.08
LENS = {"x0": 0.01, "y0": 0.02, "q": 0.8, "phi": 1.1, "theta_E": 1.4}


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_mass_is_conserved(factor):
    x, y = pixel_grid(96, 128, dx=DX, dy=DY, dtype=torch.float64)
    kappa = sie_convergence(x, y, **LENS)
    pooled = area_pool(kappa, factor)
    assert pooled.shape == (96 // factor, 128 // factor)
    mass = pooled.sum() * (factor * DX) * (factor * DY)
    torch.testing.assert_close(mass, kappa.sum() * DX * DY, rtol=1e-12, atol=0)


def test_pooling_is_the_mean_of_each_block():
    kappa = torch.arange(2 * 4 * 6, dtype=torch.float64).reshape(2, 4, 6)
    pooled = area_pool(kappa, 2)
    assert pooled[1, 1, 2] == kappa[1, 2:4, 4:6].mean()


def test_pooled_pixels_lie_on_the_grid_of_the_pooled_spacing():
    x, y = pixel_grid(12, 18, dx=DX, dy=DY, dtype=torch.float64)
    coarse_x, coarse_y = pixel_grid(4, 6, dx=3 * DX, dy=3 * DY, dtype=torch.float64)
    torch.testing.assert_close(area_pool(x, 3), coarse_x)
    torch.testing.assert_close(area_pool(y, 3), coarse_y)


def test_alpha_is_derived_again_from_the_pooled_potential():
    x, y = pixel_grid(128, 128, dx=DX, dy=DY, dtype=torch.float64)
    ax, ay = (area_pool(alpha, 2) for alpha in sie_deflection(x, y, **LENS))
    psi = area_pool(sie_potential(x, y, **LENS), 2)
    use = interior_mask(64, 64, dx=2 * DX, dy=2 * DY, core=8.0)
    pooled = gradient(psi, dx=2 * DX, dy=2 * DY)
    assert max((pooled[0] - ax)[use].abs().max(), (pooled[1] - ay)[use].abs().max()) < 1e-2
    stale = gradient(psi, dx=DX, dy=DY)
    assert (stale[0] - ax)[use].abs().mean() > 0.3


def test_a_pooled_lens_still_solves_poissons_equation():
    x, y = pixel_grid(128, 128, dx=DX, dy=DY, dtype=torch.float64)
    psi, kappa = (area_pool(f(x, y, **LENS), 2) for f in (sie_potential, sie_convergence))
    use = interior_mask(64, 64, dx=2 * DX, dy=2 * DY, core=8.0)
    assert poisson_residual(psi, kappa, dx=2 * DX, dy=2 * DY)[use].abs().mean() < 1e-3
    assert poisson_residual(psi, kappa, dx=DX, dy=DY)[use].abs().mean() > 0.3


@pytest.mark.parametrize("factor", [0, 5])
def test_factors_that_do_not_fit_are_refused(factor):
    with pytest.raises(ConfigError, match="factor"):
        area_pool(torch.zeros(3, 8, 12), factor)
