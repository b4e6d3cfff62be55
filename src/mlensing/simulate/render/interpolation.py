"""Images on other grids, and between their pixels: what PSFs and galaxies that were observed once need."""

from __future__ import annotations

import torch
from torch import Tensor

LOBES = 3


def lanczos_weights(position: Tensor, count: int, stretch: Tensor) -> Tensor:
    """Weights of ``count`` pixels at positions between them, as a matrix; zero beyond the pixels.

    The windowed sinc of Lanczos keeps all that both grids resolve, and no more: it neither blurs a coarse image on a
    fine grid nor lets a fine one alias on a coarse grid (Turkowski 1990, Graphics Gems I, 147).

    Arguments:
        position: [M, S] in pixels of the image, 0 is the middle of the first.
        stretch: [M] pixels of the image per pixel of the new grid; below 1 counts as 1.

    Returns:
        [M, S, count]; ``weights_y @ image @ weights_x.T`` is the image on the new grid, its brightness kept.

    Example:
        >>> lanczos_weights(torch.tensor([[1.0]]), 4, torch.ones(1)).round(decimals=6).abs().tolist()
        [[[0.0, 1.0, 0.0, 0.0]]]
    """
    stretch = stretch.clamp(min=1.0)[:, None, None]
    distance = (position[..., None] - torch.arange(count, device=position.device)) / stretch
    weight = torch.sinc(distance) * torch.sinc(distance / LOBES) / stretch
    return torch.where(distance.abs() < LOBES, weight, 0.0)


def bilinear(images: Tensor, which: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values of images between their pixels.

    Arguments:
        images: [N, size, size]; what lies beyond takes the value of the nearest pixel of the border.
        which: [M] the image of each row.
        x, y: [M, K] columns and rows, 0 is the middle of the first pixel.

    Returns:
        [M, K].

    Example:
        >>> image = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
        >>> bilinear(image, torch.tensor([0]), torch.tensor([[0.5, 9.0]]), torch.tensor([[0.5, 1.0]])).tolist()
        [[1.5, 3.0]]
    """
    size = images.shape[-1]
    x, y = x.clamp(0, size - 1), y.clamp(0, size - 1)
    column, row = x.floor().clamp_(max=size - 2), y.floor().clamp_(max=size - 2)
    right, up = x - column, y - row
    corner = which[:, None] * size**2 + row.long() * size + column.long()
    flat = images.reshape(-1)
    low = torch.lerp(flat[corner], flat[corner + 1], right)
    high = torch.lerp(flat[corner + size], flat[corner + size + 1], right)
    return torch.lerp(low, high, up)
