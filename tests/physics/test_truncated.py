"""Truncated isothermal ellipsoids against lenstronomy, and against the identities of any lens."""

import numpy as np
import torch
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from mlensing.physics import (
    gradient,
    interior_mask,
    laplacian,
    pixel_grid,
    sie_deflection,
    truncated_convergence,
    truncated_deflection,
    truncated_potential,
)

MEMBER = {"x0": 0.3, "y0": -0.2, "q": 0.7, "phi": 0.6, "theta_E": 0.8, "cut": 3.0}


def grid(dx: float = 0.2, dy: float = 0.15, size: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    return pixel_grid(size, size + 10, dx=dx, dy=dy, dtype=torch.float64)


def test_agreement_with_lenstronomys_cored_ellipsoids() -> None:
    x, y = grid()
    e1, e2 = phi_q2_ellipticity(MEMBER["phi"], MEMBER["q"])
    shape = {"e1": e1, "e2": e2, "center_x": 0.3, "center_y": -0.2, "theta_E": 0.8}
    # lenstronomy's core is along the intermediate axis: s_scale = cut sqrt(q)
    terms = [LensModel(["NIE"]), LensModel(["NIE"])]
    cores = [1e-7, MEMBER["cut"] * MEMBER["q"] ** 0.5]
    at = x.numpy().ravel(), y.numpy().ravel()
    inner, outer = (np.stack(m.alpha(*at, [shape | {"s_scale": s}])) for m, s in zip(terms, cores, strict=True))
    ours = np.stack([a.numpy().ravel() for a in truncated_deflection(x, y, **MEMBER)])
    np.testing.assert_allclose(ours, inner - outer, rtol=0, atol=1e-5)  # theirs is softened by 1e-7"


def test_poisson_and_gradient() -> None:
    dx, dy = 0.05, 0.04
    x, y = grid(dx, dy)
    psi, kappa = truncated_potential(x, y, **MEMBER), truncated_convergence(x, y, **MEMBER)
    use = interior_mask(*x.shape, dx=dx, dy=dy, x0=MEMBER["x0"], y0=MEMBER["y0"], core=1.0 / dy)
    assert (laplacian(psi, dx=dx, dy=dy) - 2 * kappa)[use].abs().mean() < 1e-4
    for ours, theirs in zip(truncated_deflection(x, y, **MEMBER), gradient(psi, dx=dx, dy=dy), strict=True):
        assert (ours - theirs)[use].abs().max() < 1e-3


def test_far_inside_the_cut_it_is_an_sie_and_far_outside_a_point() -> None:
    x, y = grid()
    wide = MEMBER | {"cut": 1e7}
    sie = {name: value for name, value in MEMBER.items() if name != "cut"}
    for ours, theirs in zip(truncated_deflection(x, y, **wide), sie_deflection(x, y, **sie), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    far = torch.tensor([3e4], dtype=torch.float64)
    ax, _ = truncated_deflection(far + 0.3, 0 * far - 0.2, **(MEMBER | {"phi": 0.0, "q": 1.0}))
    assert abs(ax.item() * far.item() - 0.8 * 3.0) < 1e-3  # theta_E cut = mass over pi Sigma_crit


def test_the_exact_centre_is_finite() -> None:
    x = torch.tensor([MEMBER["x0"]], dtype=torch.float64)
    y = torch.tensor([MEMBER["y0"]], dtype=torch.float64)
    ax, ay = truncated_deflection(x, y, **MEMBER)
    assert ax.item() == 0 and ay.item() == 0
    assert abs(truncated_potential(x, y, **MEMBER).item()) < 1e-9
    assert torch.isfinite(truncated_convergence(x, y, **MEMBER)).all()
