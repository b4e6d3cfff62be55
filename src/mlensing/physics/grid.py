"""Where the pixels are.

Conventions of the whole room: angles in arcsec, x along columns (the last axis), y along rows, the origin in
the middle of the image, at index ``(n - 1) / 2``. ``dx`` and ``dy`` are required and never averaged.
A spacing or centre given as a tensor ``[...]`` belongs to the leading dimensions of maps ``[..., y, x]``.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from mlensing.errors import ConfigError

Value: TypeAlias = float | Tensor
"""A number, or a tensor that broadcasts."""


def as_like(reference: Tensor, *values: Value) -> tuple[Tensor, ...]:
    """``values`` as tensors with the dtype and on the device of ``reference``.

    Example:
        >>> as_like(torch.zeros(2, dtype=torch.float64), 1.5)
        (tensor(1.5000, dtype=torch.float64),)
    """
    return tuple(torch.as_tensor(value, dtype=reference.dtype, device=reference.device) for value in values)


def over_pixels(reference: Tensor, value: Value) -> Tensor:
    """``value`` of shape ``[...]`` as a tensor ``[..., 1, 1]`` that broadcasts over maps ``[..., y, x]``.

    Example:
        >>> over_pixels(torch.zeros(5, 5), torch.tensor([1.0, 2.0])).shape
        torch.Size([2, 1, 1])
    """
    return as_like(reference, value)[0][..., None, None]


def check_spacing(*, dx: Value, dy: Value) -> None:
    """Refuse a spacing that is not a positive finite number.

    Tensors pass unchecked: looking at their values would make a GPU wait.

    Raises:
        ConfigError: a ``dx`` or ``dy`` that is zero, negative, NaN or infinite.

    Example:
        >>> check_spacing(dx=0.2, dy=0.2)
    """
    for name, value in (("dx", dx), ("dy", dy)):
        if not isinstance(value, Tensor) and not (math.isfinite(value) and value > 0):
            raise ConfigError(name, f"expected a positive pixel spacing, got {value}", "Give the size of a pixel.")


def pixel_grid(
    height: int,
    width: int,
    *,
    dx: Value,
    dy: Value,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixel centres.

    Arguments:
        height, width: rows and columns.
        dx, dy: size of a pixel along x and y [arcsec], numbers or tensors ``[...]``.

    Returns:
        ``x`` and ``y`` [arcsec], each ``[..., height, width]``.

    Raises:
        ConfigError: an empty grid, or a spacing that is not positive.

    Example:
        >>> x, y = pixel_grid(2, 3, dx=0.2, dy=0.5)
        >>> x[0], y[:, 0]
        (tensor([-0.2000,  0.0000,  0.2000]), tensor([-0.2500,  0.2500]))
    """
    if height < 1 or width < 1:
        raise ConfigError("pixel_grid", f"expected at least one pixel, got {height} x {width}", "Enlarge it.")
    check_spacing(dx=dx, dy=dy)
    rows = torch.arange(height, device=device, dtype=dtype) - (height - 1) / 2
    columns = torch.arange(width, device=device, dtype=dtype) - (width - 1) / 2
    x = columns * over_pixels(columns, dx)
    y = rows[:, None] * over_pixels(rows, dy)
    return x + torch.zeros_like(y), y + torch.zeros_like(x)


def interior_mask(
    height: int,
    width: int,
    *,
    dx: Value,
    dy: Value,
    x0: Value = 0.0,
    y0: Value = 0.0,
    border: int = 1,
    core: float = 2.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Pixels where a finite difference can be trusted: away from the border and from a singular core.

    Arguments:
        dx, dy: size of a pixel [arcsec], numbers or tensors ``[...]``.
        x0, y0: centre of the mass [arcsec], numbers or tensors ``[...]``.
        border: rows and columns left out on each side (1 for a 3-point stencil, 2 for a 5-point one).
        core: pixels closer to the centre than this many pixels are left out.

    Returns:
        bool ``[..., height, width]``, True = use.

    Raises:
        ConfigError: a border that leaves no pixel.

    Example:
        >>> interior_mask(5, 7, dx=0.2, dy=0.2, border=1, core=1.0).sum().item()
        14
    """
    if border < 0 or 2 * border >= min(height, width):
        raise ConfigError("border", f"{border} leaves nothing of {height} x {width} pixels", "Make it smaller.")
    x, y = pixel_grid(height, width, dx=dx, dy=dy, device=device, dtype=torch.float64)
    across = (x - over_pixels(x, x0)) / over_pixels(x, dx)
    down = (y - over_pixels(y, y0)) / over_pixels(y, dy)
    keep = across**2 + down**2 > core**2 * (1 - 1e-9)  # rounding must not decide for a pixel on the edge
    inside = torch.zeros(height, width, dtype=torch.bool, device=device)
    inside[border : height - border, border : width - border] = True
    return keep & inside
