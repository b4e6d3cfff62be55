"""Framing: an image brought to another pixel scale, and cut or padded about its centre."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mlensing.data.cutout import Cutout, Image, sky_level

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


def frame(cutout: Cutout, size: int, scale_range: tuple[float, float] | None = None) -> Cutout:
    """The central ``size`` x ``size`` pixels, at a pixel scale within ``scale_range``.

    A scale outside the range (2 % to spare) is resampled to its nearest end, antialiased, linear flux conserved.
    Smaller images are padded with the sky level, and the mask says where. A cutout of unknown scale is only cut.

    Arguments:
        cutout: any size.
        size: pixels a side.
        scale_range: smallest and largest pixel scale [arcsec/px]; None keeps the scale as it is.
    """
    if scale_range is not None and cutout.scales is not None:
        x, y = (nearest_scale(scale, scale_range) for scale in cutout.scales)
        if (x, y) != cutout.scales:
            cutout = _resampled(cutout, x, y)
    padded = min(cutout.image.shape[1:]) < size  # most are not, and the sky takes longer than the cut
    level = sky_level(cutout.image) if padded else np.zeros(len(cutout.bands), dtype=np.float32)
    maps = {name: _framed_map(name, planes, cutout, size) for name, planes in cutout.maps.items()}
    outside = np.ones(1, dtype=bool)
    return replace(
        cutout,
        image=centre(cutout.image, size, level),
        mask=centre(cutout.mask[None], size, outside)[0],
        maps=maps,
    )


def nearest_scale(scale: float, scale_range: tuple[float, float]) -> float:
    """The scale itself within the range (2 % to spare), or the nearer end of it [arcsec/px].

    Example:
        >>> nearest_scale(0.05, (0.1, 0.4)), nearest_scale(0.2, (0.1, 0.4))
        (0.1, 0.2)
    """
    low, high = scale_range
    return scale if low / 1.02 <= scale <= high * 1.02 else min(max(scale, low), high)


def _resampled(cutout: Cutout, x: float, y: float) -> Cutout:
    """The cutout at pixel scales near ``x`` and ``y`` [arcsec/px]: as near as whole pixels allow."""
    assert cutout.scales is not None
    height, width = cutout.image.shape[1:]
    shape = max(1, round(height * cutout.scales[1] / y)), max(1, round(width * cutout.scales[0] / x))
    linear = cutout.representation == "linear"
    maps = {}
    for name, planes in cutout.maps.items():
        target = _shape_at(planes, cutout, shape)
        new = resample(planes.reshape(-1, *planes.shape[-2:]), target, conserve_sum=name in ("psf", "variance"))
        maps[name] = new.reshape(*planes.shape[:-2], *target)
    return replace(
        cutout,
        image=resample(cutout.image, shape, conserve_sum=linear),
        mask=resample(cutout.mask[None].astype(np.float32), shape, conserve_sum=False)[0] > 0,
        pixel_scale=cutout.scales[0] * width / shape[1],
        pixel_scale_y=cutout.scales[1] * height / shape[0],
        maps=maps,
    )


def _shape_at(planes: Image, cutout: Cutout, shape: tuple[int, int]) -> tuple[int, int]:
    """Pixels that a map takes when the image, of another size perhaps (a PSF), takes ``shape``."""
    height, width = cutout.image.shape[1:]
    return max(1, round(planes.shape[-2] * shape[0] / height)), max(1, round(planes.shape[-1] * shape[1] / width))


def _framed_map(name: str, planes: Image, cutout: Cutout, size: int) -> Image:
    """A map cut as the image is; a PSF stays whole."""
    if name == "psf":
        return planes
    stack = planes.reshape(-1, *planes.shape[-2:])
    return centre(stack, size, np.zeros(len(stack), dtype=np.float32)).reshape(*planes.shape[:-2], size, size)
