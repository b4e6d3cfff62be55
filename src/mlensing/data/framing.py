"""Geometry of framing: resampling to another pixel scale, and cutting or padding about the centre."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Array = NDArray[np.float32]
Kind = TypeVar("Kind", np.float32, np.bool_)


def resample(planes: Array, shape: tuple[int, int], *, conserve_sum: bool) -> Array:
    """Planes at another number of pixels for the same patch of sky, bilinear with antialiasing.

    Arguments:
        planes: [plane, y, x].
        shape: new (height, width).
        conserve_sum: keep the sum of pixels (flux per pixel) rather than their mean (surface brightness).

    Example:
        >>> resample(np.ones((1, 4, 4), np.float32), (2, 2), conserve_sum=True)[0, 0, 0]
        np.float32(4.0)
    """
    tensor = torch.from_numpy(np.ascontiguousarray(planes))[None]
    small: Array = functional.interpolate(tensor, size=shape, mode="bilinear", antialias=True, align_corners=False)[
        0
    ].numpy()
    if not conserve_sum:
        return small
    area = planes.shape[1] * planes.shape[2] / (shape[0] * shape[1])
    return np.asarray(small * np.float32(area), dtype=np.float32)


def centre(planes: NDArray[Kind], size: int, fill: NDArray[Kind]) -> NDArray[Kind]:
    """The central ``size`` x ``size`` pixels; what lies outside is ``fill`` [plane].

    An image and a cut of unequal parity leave the spare pixel at the far end.

    Example:
        >>> centre(np.ones((1, 2, 4), np.float32), 4, np.zeros(1, np.float32))[0, :, 0]
        array([0., 1., 1., 0.], dtype=float32)
    """
    height, width = planes.shape[1:]
    (y_from, y_to), (x_from, x_to) = _overlap(height, size), _overlap(width, size)
    cut = planes[:, y_from[0] : y_from[1], x_from[0] : x_from[1]]
    if cut.shape[1:] == (size, size):
        return np.ascontiguousarray(cut)
    out = np.empty((len(planes), size, size), dtype=planes.dtype)
    out[:] = fill[:, None, None]
    out[:, y_to[0] : y_to[1], x_to[0] : x_to[1]] = cut
    return out


def _overlap(length: int, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Ranges of source and target pixels that a central cut shares along one axis."""
    if length >= size:
        start = (length - size) // 2
        return (start, start + size), (0, size)
    start = (size - length) // 2
    return (0, length), (start, start + length)
