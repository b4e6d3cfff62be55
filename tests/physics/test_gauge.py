"""What is taken away from a potential: a plane, over the pixels that count, and nothing else."""

from __future__ import annotations

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.physics import laplacian, pixel_grid, sie_potential, without_plane

X, Y = pixel_grid(24, 20, dx=0.2, dy=0.3)
PSI = sie_potential(X, Y, x0=0.1, y0=0.2, q=0.7, phi=0.5, theta_E=1.2)
EVERYWHERE = torch.ones_like(PSI, dtype=torch.bool)


def test_a_source_shift_and_a_constant_leave_no_trace() -> None:
    moved = PSI + 3.0 - 0.7 * X + 1.9 * Y
    torch.testing.assert_close(without_plane(moved, EVERYWHERE), without_plane(PSI, EVERYWHERE), atol=1e-4, rtol=0)


def test_mass_is_not_taken_away() -> None:
    kept = laplacian(without_plane(PSI, EVERYWHERE), dx=0.2, dy=0.3)
    torch.testing.assert_close(kept[1:-1, 1:-1], laplacian(PSI, dx=0.2, dy=0.3)[1:-1, 1:-1], atol=1e-3, rtol=1e-3)


def test_what_does_not_count_is_not_looked_at() -> None:
    keep = EVERYWHERE.clone()
    keep[:, :7] = False
    spoilt = torch.where(keep, PSI + 2 * X, torch.nan)
    left = without_plane(spoilt, keep)
    assert torch.isfinite(left).all() and (left[~keep] == 0).all()
    torch.testing.assert_close(left, without_plane(PSI, keep), atol=1e-4, rtol=0)


def test_the_plane_is_that_of_least_squares() -> None:
    basis = torch.stack([torch.ones_like(X), X, Y], -1).reshape(-1, 3).double()
    expected = (
        PSI.double().flatten() - basis @ torch.linalg.lstsq(basis, PSI.double().flatten()[:, None]).solution[:, 0]
    )
    torch.testing.assert_close(without_plane(PSI.double(), EVERYWHERE).flatten(), expected, atol=1e-5, rtol=0)


def test_rows_without_pixels_are_zero_and_do_no_harm() -> None:
    keep = torch.stack([EVERYWHERE, ~EVERYWHERE])
    field = torch.stack([PSI, PSI]).requires_grad_()
    left = without_plane(field, keep)
    left.square().sum().backward()
    assert (left[1] == 0).all() and torch.isfinite(field.grad).all()


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expand"):
        without_plane(PSI[None], EVERYWHERE)
