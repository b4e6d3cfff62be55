"""Rays in the deflector's own frame against the public lens functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlensing.physics import power_law_deflection, shear_deflection, sie_deflection
from mlensing.simulate.render.rays import Deflector, offsets, ray_terms
from mlensing.simulate.scene import components


@pytest.mark.parametrize("q", [0.45, 0.8, 0.99, 1.0])
@pytest.mark.parametrize("phi", [0.0, 0.7, -2.0])
def test_rays_meet_the_source_plane_where_the_lens_equation_says(q: float, phi: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = 6 * torch.rand(2, 1, 2000, generator=generator) - 3
    values = {"x": 0.0, "y": 0.0, "theta_E": 1.3, "q": q, "phi": phi, "gamma1": 0.05, "gamma2": -0.08}
    lens = Deflector(**{name: torch.tensor([value]) for name, value in values.items()})
    source = components(torch.ones(1, 1), x=torch.tensor([0.2]), y=torch.tensor([-0.1]), radius=0.3)
    cos, sin = torch.cos(lens.phi), torch.sin(lens.phi)
    dx, dy = offsets(ray_terms(source, lens), x * cos + y * sin, y * cos - x * sin)
    sie = sie_deflection(x.double(), y.double(), x0=0.0, y0=0.0, theta_E=1.3, q=q, phi=phi)
    shear = shear_deflection(x.double(), y.double(), gamma1=0.05, gamma2=-0.08)
    torch.testing.assert_close((dx * cos - dy * sin).double(), x - sie[0] - shear[0] - 0.2, rtol=0, atol=1e-4)
    torch.testing.assert_close((dx * sin + dy * cos).double(), y - sie[1] - shear[1] + 0.1, rtol=0, atol=1e-4)


def test_the_centre_is_finite_and_no_mass_deflects_nothing() -> None:
    zero = torch.zeros(2)
    lens = Deflector(x=zero, y=zero, theta_E=torch.tensor([1.0, 0.0]), q=zero + 0.7, phi=zero, gamma1=zero, gamma2=zero)
    source = components(torch.ones(2, 1), radius=torch.full((2,), 0.3))
    x = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    dx, dy = offsets(ray_terms(source, lens), x, torch.zeros_like(x))
    assert torch.isfinite(dx).all() and dx[:, 0].tolist() == [0.0, 0.0] and (dy == 0).all()
    assert torch.equal(dx[1], x[1])


def rays(lens: Deflector, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Source-plane positions along the sky's axes of image positions [1, n] along them, for a source on the axis."""
    source = components(torch.ones(1, 1), radius=torch.tensor([0.3]))
    cos, sin = torch.cos(lens.phi), torch.sin(lens.phi)
    dx, dy = offsets(ray_terms(source, lens), x * cos + y * sin, y * cos - x * sin)
    return dx * cos - dy * sin, dx * sin + dy * cos


def deflector(**more: Tensor) -> Deflector:
    values = {"x": 0.0, "y": 0.0, "theta_E": 1.3, "q": 0.6, "phi": 0.7, "gamma1": 0.0, "gamma2": 0.0}
    return Deflector(**{name: torch.tensor([value]) for name, value in values.items()}, **more)


@pytest.mark.parametrize("slope", [1.7, 2.0, 2.4])
def test_other_slopes_bend_as_the_public_power_law(slope: float) -> None:
    x, y = 6 * torch.rand(2, 1, 2000, generator=torch.Generator().manual_seed(1)) - 3
    dx, dy = rays(deflector(slope=torch.tensor([slope])), x, y)
    lens = {"x0": 0.0, "y0": 0.0, "theta_E": 1.3, "q": 0.6, "phi": 0.7, "slope": slope}
    ax, ay = power_law_deflection(x.double(), y.double(), **lens)
    torch.testing.assert_close(dx.double(), x - ax, rtol=0, atol=1e-4)
    torch.testing.assert_close(dy.double(), y - ay, rtol=0, atol=1e-4)


def test_a_satellite_adds_its_sphere_and_leaves_the_central_ray_alone() -> None:
    x, y = 6 * torch.rand(2, 1, 2000, generator=torch.Generator().manual_seed(2)) - 3
    x[0, 0] = y[0, 0] = 0.0
    where = torch.tensor([[[1.2, -0.9, 0.3], [2.0, 2.0, 0.0]]])
    alone, beside = rays(deflector(), x, y), rays(deflector(satellites=where), x, y)
    sphere = {"x0": 1.2, "y0": -0.9, "theta_E": 0.3, "q": 1.0, "phi": 0.0}
    bent = sie_deflection(x, y, **sphere)
    at_centre = sie_deflection(torch.zeros(1), torch.zeros(1), **sphere)
    for one, both, sis, constant in zip(alone, beside, bent, at_centre, strict=True):
        torch.testing.assert_close(both, one - sis + constant, rtol=0, atol=2e-5)
        assert both[0, 0].abs() < 1e-6
