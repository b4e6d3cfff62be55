"""The NFW halo against lenstronomy and caustics, and through its difficult radii."""

import numpy as np
import pytest
import torch
from caustics import func
from lenstronomy.Cosmo.lens_cosmo import LensCosmo
from lenstronomy.LensModel.lens_model import LensModel

from mlensing.physics import (
    COSMOLOGY,
    distances,
    interior_mask,
    laplacian,
    nfw_convergence,
    nfw_deflection,
    nfw_potential,
    nfw_scale,
    pixel_grid,
    sigma_crit,
)

HALO = {"x0": 0.4, "y0": -0.3, "scale_radius": 12.0, "kappa_s": 0.2}
CENTRED = {"x0": 0.0, "y0": 0.0, "scale_radius": 1.0, "kappa_s": 1.0}


def test_agreement_with_lenstronomy():
    x, y = pixel_grid(50, 60, dx=0.9, dy=0.7, dtype=torch.float64)
    alpha_rs = 4 * HALO["kappa_s"] * HALO["scale_radius"] * (1 - np.log(2))
    model = LensModel(["NFW"])
    halo = {"Rs": 12.0, "alpha_Rs": alpha_rs, "center_x": 0.4, "center_y": -0.3}
    args = x.numpy().ravel(), y.numpy().ravel(), [halo]
    alpha = np.stack([a.numpy().ravel() for a in nfw_deflection(x, y, **HALO)])
    np.testing.assert_allclose(alpha, np.stack(model.alpha(*args)), rtol=0, atol=1.6e-8)
    psi = nfw_potential(x, y, **HALO).numpy().ravel()
    np.testing.assert_allclose(psi, model.potential(*args), rtol=1e-9)
    kappa = nfw_convergence(x, y, **HALO).numpy().ravel()
    np.testing.assert_allclose(kappa, model.kappa(*args), rtol=1.7e-4)


def test_physical_scale_agrees_with_lenstronomy():
    radius, kappa = nfw_scale(3e14, 4.5, 0.4, 1.8)
    reference = LensCosmo(0.4, 1.8, cosmo=COSMOLOGY)
    expected_radius, alpha_rs = reference.nfw_physical2angle(M=3e14, c=4.5)
    assert radius == pytest.approx(expected_radius, rel=1e-3)
    assert 4 * kappa * radius * (1 - np.log(2)) == pytest.approx(alpha_rs, rel=1e-3)


def test_physical_scale_agrees_with_caustics():
    radius, kappa_s = nfw_scale(1e15, 5.0, 0.3, 2.0)
    x = torch.tensor([7.0, 30.0, 200.0], dtype=torch.float64)
    ours = nfw_convergence(x, 0 * x, x0=0.0, y0=0.0, scale_radius=float(radius), kappa_s=float(kappa_s))
    density = COSMOLOGY.critical_density(0.3).to_value("Msun / Mpc3")
    per_mpc2 = torch.tensor(float(sigma_crit(0.3, 2.0)) * 1e12, dtype=torch.float64)
    mass, c, zero = (torch.tensor(v, dtype=torch.float64) for v in (1e15, 5.0, 0.0))
    to_lens = torch.tensor(float(distances(0.3, 2.0).lens), dtype=torch.float64)
    theirs = func.convergence_nfw(per_mpc2, torch.tensor(density), zero, zero, mass, c, x, 0 * x, to_lens)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("profile", [nfw_convergence, nfw_potential, lambda *a, **k: nfw_deflection(*a, **k)[0]])
@pytest.mark.parametrize("middle", [1.0, 0.95, 1.05, 0.1])
def test_float32_and_series_join_smoothly(profile, middle):
    x = torch.linspace(middle * 0.99, middle * 1.01, 2001, dtype=torch.float64)
    exact = profile(x, 0 * x, **CENTRED)
    assert (exact.diff().diff().abs() < 1e-4 * exact[1:-1].abs()).all()
    single = profile(x.float(), 0 * x.float(), **CENTRED)
    torch.testing.assert_close(single.double(), exact, rtol=4e-4, atol=0)


def test_the_inner_series_equals_the_formula():
    x = torch.tensor([0.9e-3, 1.1e-3], dtype=torch.float64)
    ax, psi = nfw_deflection(x, 0 * x, **CENTRED)[0], nfw_potential(x, 0 * x, **CENTRED)
    torch.testing.assert_close(ax, 4 * func._h_nfw(x) / x, rtol=1e-8, atol=0)
    torch.testing.assert_close(psi, 2 * func._g_nfw(x), rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exact_centre_is_finite(dtype):
    x, y = pixel_grid(3, 3, dx=0.2, dy=0.2, dtype=dtype)
    x0 = torch.zeros((), dtype=dtype, requires_grad=True)
    halo = {"x0": x0, "y0": 0.0, "scale_radius": 10.0, "kappa_s": 0.1}
    ax, psi, kappa = (
        nfw_deflection(x, y, **halo)[0],
        nfw_potential(x, y, **halo),
        nfw_convergence(x, y, **halo),
    )
    assert ax[1, 1] == 0
    assert psi[1, 1].abs() < 1e-12
    assert torch.isfinite(kappa).all()
    (ax.sum() + psi.sum() + kappa.sum()).backward()
    assert torch.isfinite(x0.grad)


def test_poissons_equation():
    x, y = pixel_grid(80, 80, dx=0.5, dy=0.4, dtype=torch.float64)
    use = interior_mask(80, 80, dx=0.5, dy=0.4, x0=HALO["x0"], y0=HALO["y0"], core=6.0)
    residual = laplacian(nfw_potential(x, y, **HALO), dx=0.5, dy=0.4) - 2 * nfw_convergence(x, y, **HALO)
    assert residual[use].abs().mean() < 1e-4
