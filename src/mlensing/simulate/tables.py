"""Linear interpolation in tables."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Values at ``x``, linear between knots and constant beyond them.

    Arguments:
        x: [...].
        knots: [n], rising.
        values: [n], or [n, m] for m of them at once.

    Returns:
        [...] or [..., m].

    Example:
        >>> interpolate(torch.tensor([0.5, 9.0]), torch.tensor([0.0, 1.0]), torch.tensor([2.0, 4.0])).tolist()
        [3.0, 4.0]
    """
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    t = ((x - knots[right - 1]) / (knots[right] - knots[right - 1])).clamp(0, 1)
    t = t[..., None] if values.dim() == 2 else t
    return values[right - 1] * (1 - t) + values[right] * t
