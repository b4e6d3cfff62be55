"""Where pixels are, and which of them a loss may use."""

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.physics import interior_mask, pixel_grid, sie_convergence
from mlensing.physics.mass import PIXEL_MEAN_CORE


def test_the_origin_is_the_middle_and_x_runs_along_columns():
    x, y = pixel_grid(4, 5, dx=0.1, dy=0.3, dtype=torch.float64)
    assert x.shape == y.shape == (4, 5)
    torch.testing.assert_close(x[2], torch.tensor([-0.2, -0.1, 0.0, 0.1, 0.2], dtype=torch.float64))
    torch.testing.assert_close(y[:, 1], torch.tensor([-0.45, -0.15, 0.15, 0.45], dtype=torch.float64))


def test_one_grid_a_sample():
    dx = torch.tensor([0.1, 0.2])
    x, y = pixel_grid(3, 5, dx=dx, dy=0.4)
    assert x.shape == y.shape == (2, 3, 5)
    torch.testing.assert_close(x[1], 2 * x[0])
    torch.testing.assert_close(y[1], y[0])


@pytest.mark.parametrize("arguments", [(0, 4, 0.1, 0.1), (4, 4, 0.0, 0.1), (4, 4, 0.1, -1.0)])
def test_impossible_grids_are_refused(arguments):
    height, width, dx, dy = arguments
    with pytest.raises(ConfigError):
        pixel_grid(height, width, dx=dx, dy=dy)


def test_the_mask_leaves_out_border_and_core_counted_in_pixels():
    mask = interior_mask(21, 31, dx=0.1, dy=0.4, x0=0.5, y0=0.8, border=2)
    assert not mask[:2].any() and not mask[:, -2:].any()
    row, column = 10 + 2, 15 + 5
    assert not mask[row - 1 : row + 2, column - 1 : column + 2].any()
    assert mask[row, column + 2] and mask[row - 2, column]
    assert mask.sum() == 17 * 27 - 9


def test_one_mask_a_sample():
    mask = interior_mask(9, 9, dx=torch.tensor([0.1, 0.2]), dy=0.1, x0=torch.tensor([0.0, 0.2]))
    assert mask.shape == (2, 9, 9)
    assert not mask[1, 4, 5]


def test_a_border_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match="border"):
        interior_mask(4, 9, dx=0.1, dy=0.1, border=2)


def test_the_central_pixel_can_hold_its_mean():
    fine, _ = pixel_grid(1, 1, dx=1.0, dy=1.0, dtype=torch.float64)
    sphere = {"x0": 0.0, "y0": 0.0, "q": 1.0, "phi": 0.0, "theta_E": 1.2}
    centre = sie_convergence(fine, fine, **sphere, core=PIXEL_MEAN_CORE * 0.2)
    x, y = pixel_grid(1000, 1000, dx=0.2 / 1000, dy=0.2 / 1000, dtype=torch.float64)
    assert centre.item() == pytest.approx(sie_convergence(x, y, **sphere).mean().item(), rel=2e-3)
