"""kappa, psi and alpha of deflectors at pixel centres: what a map head learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.physics.mass import (
    PIXEL_MEAN_CORE,
    shear_deflection,
    shear_potential,
    sie_convergence,
    sie_deflection,
)
from mlensing.physics.power_law import power_law_convergence, power_law_deflection
from mlensing.simulate.render.light import axis
from mlensing.simulate.render.rays import Deflector


def deflector_maps(d: Deflector, *, size: int, pixel_scale: Tensor) -> dict[str, Tensor]:
    """Maps of galaxies, shear and satellites, whether or not there is a source behind them.

    Arguments:
        size: pixels a side.
        pixel_scale: [B] arcsec/px.

    Returns:
        ``kappa``, ``psi`` [arcsec^2] [B, size, size], ``alpha`` [arcsec] (x, y) [B, 2, size, size]; zero for samples
        without mass.
    """
    line = axis(size, pixel_scale)
    shape = (len(line), size, size)
    x = (line - d.x[:, None])[:, None, :].expand(shape)
    y = (line - d.y[:, None])[:, :, None].expand(shape)
    core = PIXEL_MEAN_CORE * pixel_scale[:, None, None]
    maps = _galaxy(d, x, y, core)
    if d.satellites is not None:
        for satellite in d.satellites[..., None, None].unbind(1):
            near_x, near_y, theta_E = satellite.unbind(1)
            _add(maps, _sphere(x - near_x, y - near_y, theta_E, core))
    _add(maps, _shear(d, x, y))
    return maps


def _add(maps: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        maps[name] = maps[name] + value


def _galaxy(d: Deflector, x: Tensor, y: Tensor, core: Tensor) -> dict[str, Tensor]:
    theta_E, q, phi = (v[:, None, None] for v in (d.theta_E, d.q, d.phi))
    zero = torch.zeros(())
    of = {"x0": zero, "y0": zero, "theta_E": theta_E, "q": q, "phi": phi}
    if d.slope is None:
        alpha, degree = torch.stack(sie_deflection(x, y, **of), 1), torch.ones_like(q)
        kappa = sie_convergence(x, y, **of, core=core)
    else:
        slope = d.slope[:, None, None]
        alpha, degree = torch.stack(power_law_deflection(x, y, **of, slope=slope), 1), 3 - slope
        kappa = power_law_convergence(x, y, **of, slope=slope, core=core)
    return {"kappa": kappa, "psi": (x * alpha[:, 0] + y * alpha[:, 1]) / degree, "alpha": alpha}


def _sphere(x: Tensor, y: Tensor, theta_E: Tensor, core: Tensor) -> dict[str, Tensor]:
    radius = torch.hypot(x, y)
    pull = theta_E / radius.clamp(min=1e-12)
    kappa = 0.5 * theta_E / torch.maximum(radius, core)
    return {"kappa": kappa, "psi": theta_E * radius, "alpha": torch.stack([x * pull, y * pull], 1)}


def _shear(d: Deflector, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    mass = (d.theta_E > 0).float()
    gamma = {"gamma1": (d.gamma1 * mass)[:, None, None], "gamma2": (d.gamma2 * mass)[:, None, None]}
    return {"psi": shear_potential(x, y, **gamma), "alpha": torch.stack(shear_deflection(x, y, **gamma), 1)}
