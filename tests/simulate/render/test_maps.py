"""Maps of every structure of the mass: they belong together, and hold what the rays feel."""

from __future__ import annotations

import pytest
import torch

from mlensing.physics import gradient, laplacian, pixel_grid
from mlensing.simulate.render.maps import deflector_maps
from mlensing.simulate.render.rays import Deflector

SIZE, SCALE = 96, 0.05


def lens(slope: float | None, satellite: float) -> Deflector:
    values = {"x": 0.1, "y": -0.2, "theta_E": 1.1, "q": 0.7, "phi": 0.4, "gamma1": 0.05, "gamma2": -0.03}
    return Deflector(
        **{name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()},
        slope=None if slope is None else torch.tensor([slope], dtype=torch.float64),
        satellites=torch.tensor([[[1.4, 0.6, satellite]]], dtype=torch.float64),
    )


@pytest.mark.parametrize(("slope", "satellite"), [(None, 0.0), (None, 0.3), (2.2, 0.0), (1.8, 0.2)])
def test_kappa_psi_and_alpha_belong_together(slope: float | None, satellite: float) -> None:
    scale = torch.tensor([SCALE], dtype=torch.float64)
    made = deflector_maps(lens(slope, satellite), size=SIZE, pixel_scale=scale)
    x, y = pixel_grid(SIZE, SIZE, dx=SCALE, dy=SCALE, dtype=torch.float64)
    far = (torch.hypot(x - 0.1, y + 0.2) > 0.6) & (torch.hypot(x - 1.5, y - 0.4) > 0.4)
    far[:2] = far[-2:] = far[:, :2] = far[:, -2:] = False
    slopes = torch.stack(gradient(made["psi"], dx=SCALE, dy=SCALE), 1)
    assert (slopes - made["alpha"])[0][:, far].abs().max() < 3e-3
    assert (laplacian(made["psi"], dx=SCALE, dy=SCALE) - 2 * made["kappa"])[0][far].abs().max() < 2e-2


def test_a_satellite_adds_its_mass() -> None:
    scale = torch.tensor([SCALE], dtype=torch.float64)
    alone, beside = (deflector_maps(lens(None, theta), size=SIZE, pixel_scale=scale) for theta in (0.0, 0.3))
    x, y = pixel_grid(SIZE, SIZE, dx=SCALE, dy=SCALE, dtype=torch.float64)
    inside = torch.hypot(x - 1.5, y - 0.4) < 0.3
    assert (beside["kappa"] - alone["kappa"])[0][inside].mean().item() == pytest.approx(
        1.0, abs=0.05
    )  # twelve pixels across
