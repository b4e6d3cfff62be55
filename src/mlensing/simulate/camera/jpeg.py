"""What JPEG does to colour pictures: 8-pixel blocks, rounded frequencies, colour at half the resolution."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BLOCK = 8  # pixels a side that are compressed together


def compressed(image: Tensor, quality: Tensor, phase: Tensor) -> Tensor:
    """Pictures after they were saved as JPEG and read again.

    Arguments:
        image: [B, 3, y, x] blue, green, red, whole numbers 0..255.
        quality: [B] of the encoder, 1..95; the smaller, the coarser.
        phase: [B, 2] in 0..1, where the grid of blocks begins: a cutout is seldom cut along it.

    Returns:
        [B, 3, y, x] whole numbers 0..255.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 99.0)
        >>> bool((compressed(grey, torch.tensor([80.0]), torch.zeros(1, 2)) == grey).all())
        True
    """
    pictures = image.flip(1).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
    starts = (phase * BLOCK).long().clamp(max=BLOCK - 1).tolist()
    every = [
        _saved(picture, int(best), x, y)
        for picture, best, (x, y) in zip(pictures, quality.tolist(), starts, strict=True)
    ]
    return torch.from_numpy(np.stack(every)).to(image).permute(0, 3, 1, 2).flip(1)


def _saved(picture: NDArray[np.uint8], quality: int, x: int, y: int) -> NDArray[np.uint8]:
    """One picture whose first row and column are the ``y``-th and ``x``-th of their blocks."""
    padded = np.pad(picture, ((y, 0), (x, 0), (0, 0)), mode="edge")
    stream = io.BytesIO()
    Image.fromarray(padded).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))[y:, x:]
