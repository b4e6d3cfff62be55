"""True maps of simulated skies at the spacing of a network's nodes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mlensing.physics.grid import interior_mask
from mlensing.physics.operators import area_pool, gradient, poisson_residual

TRUSTED = 0.05
"""Residual of lap psi - 2 kappa of the truth itself above which finite differences say nothing: cores of galaxies."""


def node_maps(batch: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    """kappa and psi averaged over patches, alpha derived again from psi, and where their derivatives hold.

    Arguments:
        batch: ``kappa``, ``psi`` [B, H, W], ``dx``, ``dy`` [B] of the pixels [arcsec].
        patch: pixels a side of a node.

    Returns:
        ``kappa``, ``psi`` [B, y, x], ``alpha`` [B, 2, y, x], ``dx``, ``dy`` [B] of the nodes, and ``trusted``
        [B, y, x]: inside the border, and where the truth itself has lap psi = 2 kappa to ``TRUSTED``, so outside
        singular cores, wherever they lie. Rows with a NaN (no truth) are trusted two nodes away from their middle.

    Raises:
        ConfigError: a patch that does not divide the maps.

    Example:
        >>> from mlensing.physics import pixel_grid
        >>> x, y = pixel_grid(8, 8, dx=0.5, dy=0.5)
        >>> psi = (x**2 + y**2)[None] / 4
        >>> one = torch.ones(1)
        >>> maps = node_maps({"psi": psi, "kappa": 0.5 * torch.ones(1, 8, 8), "dx": one / 2, "dy": one / 2}, patch=2)
        >>> maps["dx"].item(), maps["trusted"].sum().item(), maps["alpha"][0, 0, 1].tolist()
        (1.0, 4, [0.0, -0.25, 0.25, 0.0])
    """
    kappa, psi = area_pool(batch["kappa"], patch), area_pool(batch["psi"], patch)
    dx, dy = patch * batch["dx"], patch * batch["dy"]
    alpha = torch.stack(gradient(psi, dx=dx, dy=dy), 1)
    height, width = kappa.shape[-2:]
    inside = interior_mask(height, width, dx=dx, dy=dy, border=1, core=0.0, device=kappa.device)
    round_middle = interior_mask(height, width, dx=dx, dy=dy, border=1, core=2.0, device=kappa.device)
    residual = poisson_residual(psi, kappa, dx=dx, dy=dy).abs()
    unknown = residual.isnan().any(-1).any(-1)[:, None, None]
    trusted = torch.where(unknown, round_middle, inside & (residual < TRUSTED))
    return {"kappa": kappa, "psi": psi, "alpha": alpha, "dx": dx, "dy": dy, "trusted": trusted}
