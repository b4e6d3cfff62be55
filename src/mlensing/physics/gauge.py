"""What images cannot tell of a potential: a constant, which bends nothing, and a slope, which only moves the source.

Maps of psi are compared after the plane that fits their difference best is taken away. kappa has no such freedom, and
its mean is never subtracted. The mass-sheet degeneracy (kappa to l kappa + 1 - l; Falco+1985) is no gauge of a single
map: what sets the slope of the profile is the population that a network was trained on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.errors import ConfigError


def without_plane(field: Tensor, keep: Tensor) -> Tensor:
    """The field less the constant and slope that fit it best over the pixels ``keep``.

    Arguments:
        field: [..., y, x]; whatever it holds elsewhere (NaN too) does not count.
        keep: bool, the shape of the field.

    Returns:
        [..., y, x], zero outside ``keep``, and everywhere if fewer than three pixels count.

    Raises:
        ConfigError: another shape of ``keep``.

    Example:
        >>> from mlensing.physics.grid import pixel_grid
        >>> x, y = pixel_grid(6, 5, dx=0.2, dy=0.3)
        >>> bent = without_plane(x**2, torch.ones_like(x, dtype=torch.bool))
        >>> tilted = without_plane(x**2 + 3 * x - y + 7, torch.ones_like(x, dtype=torch.bool))
        >>> torch.allclose(bent, tilted, atol=1e-5)
        True
    """
    if field.shape != keep.shape:
        problem = f"expected a mask of shape {list(field.shape)}, got {list(keep.shape)}"
        raise ConfigError("without_plane", problem, "Expand it.")
    field = torch.where(keep, field, 0.0)
    y, x = (torch.linspace(-1, 1, side, dtype=field.dtype, device=field.device) for side in field.shape[-2:])
    basis = torch.stack([torch.ones_like(field), x.expand_as(field), y[:, None].expand_as(field)], -1).flatten(-3, -2)
    weighted = basis * keep.to(field.dtype).flatten(-2)[..., None]
    # a plane through fewer than three pixels is whatever: the ridge is below rounding of all others
    ridge = 1e-6 * torch.eye(3, dtype=field.dtype, device=field.device)
    with torch.autocast(field.device.type, enabled=False):  # half precision would leave a plane
        normal = weighted.transpose(-1, -2) @ basis + ridge
        plane = torch.linalg.solve(normal, weighted.transpose(-1, -2) @ field.flatten(-2)[..., None])
        left = field - (basis @ plane)[..., 0].reshape(field.shape)
    enough = keep.flatten(-2).sum(-1)[..., None, None] >= 3
    return torch.where(keep & enough, left, 0.0)
