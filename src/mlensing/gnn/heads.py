"""What every network of maps shares: where it is told to be, and what it has to say.

Maps are [B, y, x] at the spacing of the nodes (patches): ``kappa`` without unit, ``psi`` [arcsec^2], ``alpha``
[arcsec].
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, softplus

from mlensing.physics.grid import Value, pixel_grid
from mlensing.physics.operators import gradient

Maps: TypeAlias = dict[str, Tensor]
"""``kappa``, ``kappa_log_variance``, ``psi`` [B, y, x] and ``alpha`` [B, 2, y, x]."""

PLACES = 4
"""Channels of ``places``."""
CERTAIN, IGNORANT = -10.0, 4.0
"""Range of the logarithm of the variance of kappa: no loss may run away in either direction."""
SPARSE = -1.5
"""Where the logit of kappa starts: most of the sky has little mass."""


def places(rows: int, columns: int, *, dx: Value, dy: Value, like: Tensor) -> Tensor:
    """Where each cell lies, as channels: x, y, their length [arcsec], and closeness to the border.

    The last is 1 in the outermost cells, 1/2 in the next, then 1/3: a border tells little to who is far from it.

    Arguments:
        rows, columns: cells along y and x.
        dx, dy: size of a cell [arcsec], numbers or tensors [B].
        like: a tensor [B, ...] whose type and device the channels take.

    Returns:
        [B, 4, rows, columns].

    Example:
        >>> places(3, 3, dx=0.5, dy=0.2, like=torch.zeros(1))[0, :, 0, 2].tolist()
        [0.5, -0.20000000298023224, 0.5385164618492126, 1.0]
    """
    x, y = pixel_grid(rows, columns, dx=dx, dy=dy, device=like.device, dtype=like.dtype)
    row, column = torch.arange(rows, device=like.device), torch.arange(columns, device=like.device)
    depth = torch.minimum(torch.minimum(row, rows - 1 - row)[:, None], torch.minimum(column, columns - 1 - column))
    near = (1 / (1 + depth)).to(like.dtype)
    channels = [x, y, torch.hypot(x, y), near]
    return torch.stack([channel.expand(len(like), rows, columns) for channel in channels], 1)


class MapHeads(nn.Module):
    """Features of the nodes -> maps: kappa with its variance, psi, and alpha = grad psi.

    kappa is a softplus, for mass is not negative. alpha comes from :func:`mlensing.physics.gradient` at the spacing of
    the nodes; in the outermost nodes it lacks the component across the border.

    Arguments:
        width: channels of the features.

    Example:
        >>> maps = MapHeads(8)(torch.randn(2, 8, 5, 6), dx=0.4, dy=0.4)
        >>> maps["alpha"].shape, bool((maps["kappa"] > 0).all())
        (torch.Size([2, 2, 5, 6]), True)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.maps = nn.Conv2d(width, width, 1), nn.Conv2d(width, 3, 1)
        with torch.no_grad():
            self.maps.bias.copy_(torch.tensor([SPARSE, 0.0, 0.0]))  # type: ignore[union-attr]

    def forward(self, features: Tensor, *, dx: Value, dy: Value) -> Maps:
        """Features [B, width, y, x] and spacing of the nodes [arcsec] -> maps."""
        kappa, spread, psi = self.maps(gelu(self.hidden(features))).float().unbind(1)
        alpha = torch.stack(gradient(psi, dx=dx, dy=dy), 1)
        log_variance = spread.clamp(CERTAIN, IGNORANT)
        return {"kappa": softplus(kappa), "kappa_log_variance": log_variance, "psi": psi, "alpha": alpha}
