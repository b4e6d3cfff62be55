"""Numbers of a lens from its map: against the profiles that the maps were made of, and lenstronomy's masses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mlensing.physics import (
    COSMOLOGY,
    PIXEL_MEAN_CORE,
    axis_ratio_of,
    einstein_radius_of,
    mass_within,
    pixel_grid,
    sie_convergence,
)


def sie_map(theta_E: float, q: float, phi: float, *, dx: float, dy: float, x0: float = 0.0, pixels: int = 64) -> Tensor:
    x, y = pixel_grid(pixels, pixels, dx=dx, dy=dy)
    core = PIXEL_MEAN_CORE * (dx * dy) ** 0.5
    return sie_convergence(x, y, x0=x0, y0=0.0, q=q, phi=phi, theta_E=theta_E, core=core)[None]


def circular_mean(q: float) -> float:
    """Mean convergence of an SIE within a circle of theta_E: the mean over angles of 1 / sqrt(q cos^2 + sin^2 / q)."""
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    return float(np.mean(1 / np.sqrt(q * np.cos(angle) ** 2 + np.sin(angle) ** 2 / q)))


def spacing(dx: float, dy: float) -> dict[str, Tensor]:
    return {"dx": torch.tensor([dx]), "dy": torch.tensor([dy])}


@pytest.mark.parametrize(("dx", "dy"), [(0.1, 0.1), (0.2, 0.2), (0.2, 0.25)])
@pytest.mark.parametrize(("theta_E", "q", "x0"), [(1.4, 1.0, 0.0), (1.4, 0.6, 0.0), (2.0, 0.8, 0.13)])
def test_the_einstein_radius_of_a_map_is_that_of_its_lens(
    dx: float, dy: float, theta_E: float, q: float, x0: float
) -> None:
    kappa = sie_map(theta_E, q, 0.4, dx=dx, dy=dy, x0=x0)
    found = einstein_radius_of(kappa, torch.zeros_like(kappa), **spacing(dx, dy))
    assert found.value.item() == pytest.approx(theta_E * circular_mean(q), rel=0.03)
    assert found.deviation.item() == 0


def test_an_error_shared_by_all_pixels_becomes_the_same_error_of_the_radius() -> None:
    kappa = sie_map(1.5, 0.8, 0.4, dx=0.1, dy=0.1)
    found = einstein_radius_of(kappa, (0.1 * kappa) ** 2, **spacing(0.1, 0.1))
    more = einstein_radius_of(1.1 * kappa, torch.zeros_like(kappa), **spacing(0.1, 0.1))
    assert found.deviation.item() == pytest.approx(0.15, rel=0.05)
    assert more.value.item() == pytest.approx(found.value.item() + found.deviation.item(), rel=0.02)


@pytest.mark.parametrize("factor", [0.01, 40.0])
def test_no_radius_where_none_is_within_the_map(factor: float) -> None:
    kappa = factor * sie_map(1.5, 0.8, 0.4, dx=0.1, dy=0.1)
    found = einstein_radius_of(kappa, torch.zeros_like(kappa), **spacing(0.1, 0.1))
    assert found.value.isnan().all() and found.deviation.isnan().all()


def test_rows_of_a_batch_are_measured_as_if_alone() -> None:
    kappa = torch.cat([sie_map(theta_E, 0.7, 0.2, dx=0.2, dy=0.2) for theta_E in (1.0, 2.0)])
    both = {name: value.expand(2) for name, value in spacing(0.2, 0.2).items()}
    together = einstein_radius_of(kappa, kappa**2, **both)
    for row in range(2):
        alone = einstein_radius_of(kappa[row : row + 1], kappa[row : row + 1] ** 2, **spacing(0.2, 0.2))
        torch.testing.assert_close(together.value[row : row + 1], alone.value)
        torch.testing.assert_close(together.deviation[row : row + 1], alone.deviation)


@pytest.mark.parametrize("phi", [0.0, 0.6, 2.2])
@pytest.mark.parametrize(("q", "dx", "dy"), [(0.95, 0.2, 0.2), (0.6, 0.2, 0.2), (0.7, 0.15, 0.22)])
def test_the_axis_ratio_is_that_of_the_lens_whichever_way_it_lies(q: float, phi: float, dx: float, dy: float) -> None:
    kappa = sie_map(1.6, q, phi, dx=dx, dy=dy)
    found = axis_ratio_of(kappa, torch.zeros_like(kappa), torch.tensor([1.6]), **spacing(dx, dy))
    assert found.value.item() == pytest.approx(q, abs=0.03)


def test_a_companion_far_out_does_not_stretch_the_lens() -> None:
    kappa = sie_map(1.0, 0.8, 0.0, dx=0.2, dy=0.2)
    with_other = kappa + sie_map(0.5, 1.0, 0.0, dx=0.2, dy=0.2, x0=5.0)
    ratios = [
        axis_ratio_of(k, torch.zeros_like(k), torch.tensor([1.0]), **spacing(0.2, 0.2)).value.item()
        for k in (kappa, with_other)
    ]
    assert ratios[1] == pytest.approx(ratios[0], abs=0.08)


def test_no_axis_ratio_without_a_radius() -> None:
    kappa = sie_map(1.0, 0.8, 0.0, dx=0.2, dy=0.2)
    found = axis_ratio_of(kappa, kappa**2, torch.tensor([torch.nan]), **spacing(0.2, 0.2))
    assert found.value.isnan().all() and found.deviation.isnan().all()


def test_the_mass_is_lenstronomys() -> None:
    lens_cosmo = pytest.importorskip("lenstronomy.Cosmo.lens_cosmo")
    for z_l, z_s, theta_E in ((0.3, 0.9, 1.2), (0.5, 2.0, 1.0), (0.28, 0.575, 1.52)):
        reference = lens_cosmo.LensCosmo(z_l, z_s, cosmo=COSMOLOGY).mass_in_theta_E(theta_E)
        mass = mass_within(np.array([theta_E]), np.array([z_l]), np.array([z_s]))[0]
        assert mass == pytest.approx(reference, rel=1e-3)


def test_redshifts_that_cannot_be_give_no_mass() -> None:
    mass = mass_within(np.ones(4), np.array([0.5, 0.9, np.nan, 0.5]), np.array([0.4, 0.9, 2.0, 2.0]))
    assert np.isnan(mass[:3]).all() and np.isfinite(mass[3])
