"""Nodes and weights that average brightness over pixels: Gauss-Legendre, and crowding where a profile is singular."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

NODES = 3  # along each axis of a pixel
CROWDING = 3  # power law by which nodes crowd


@lru_cache(maxsize=8)
def legendre(nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre integration from 0 to 1."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return torch.tensor((x + 1) / 2, dtype=torch.float32, device=device), torch.tensor(w / 2).float().to(device)


@lru_cache(maxsize=8)
def crowding(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of integration from 0 to 1 that crowd towards 0: x = s^p evens out what is singular there."""
    s, w = legendre(count, device)
    return s**CROWDING, w * CROWDING * s ** (CROWDING - 1)
