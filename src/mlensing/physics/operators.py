"""Finite differences on maps ``[..., y, x]``, with the spacing of each axis on its own.

The operators know no unit: with ``psi`` in units of ``dx * dy`` the residual is right, in arcsec or radians.
With ``psi`` in arcsec^2 and ``dx`` in radians it is wrong by a factor 4.25e10. One arcsec^2 is 2.35e-11
rad^2: radians underflow in half precision.

No operator subtracts the mean of kappa as a "gauge fix": that punishes an exact isothermal sphere. A 5-point
Laplacian of an SIE at r > 1" is wrong by 2.0e-5, 8.1e-5, 3.3e-4, 1.4e-3 on average at 0.05, 0.1, 0.2, 0.4
arcsec/px; float32 rounding alone costs 3.4e-4 at 0.05"/px. Use float64 for residual tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional

from mlensing.errors import ConfigError
from mlensing.physics.grid import Value, check_spacing, over_pixels

Boundary: TypeAlias = Literal["reflect", "zero", "periodic"]

_PAD_MODE = {"reflect": "reflect", "zero": "constant", "periodic": "circular"}
_FIRST = (-0.5, 0.0, 0.5)
_SECOND = {2: (1.0, -2.0, 1.0), 4: (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12)}


def gradient(psi: Tensor, *, dx: Value, dy: Value, boundary: Boundary = "reflect") -> tuple[Tensor, Tensor]:
    """Central differences: alpha = grad psi.

    Arguments:
        psi: ``[..., y, x]``.
        dx, dy: spacing of x and of y, numbers or tensors ``[...]`` that broadcast with leading dimensions.
        boundary: what lies beyond the border: psi mirrored about the outermost pixel (``reflect``: no slope
            across the border), zeros, or the opposite side. Border pixels are no better than that.

    Returns:
        d psi / dx and d psi / dy, each ``[..., y, x]``, in units of psi / dx.

    Raises:
        ConfigError: an unknown boundary, a map too small for it, or a spacing that is not positive.

    Example:
        >>> psi = Tensor([0.0, 1.0, 2.0, 3.0, 4.0]).expand(4, 5)
        >>> along_x, along_y = gradient(psi, dx=0.5, dy=0.25)
        >>> along_x[1, 1:-1].tolist(), along_y.abs().max().item()
        ([2.0, 2.0, 2.0], 0.0)
    """
    check_spacing(dx=dx, dy=dy)
    along_x = _correlate(psi, _FIRST, axis=-1, boundary=boundary) / _spacing(dx, psi)
    along_y = _correlate(psi, _FIRST, axis=-2, boundary=boundary) / _spacing(dy, psi)
    return along_x, along_y


def divergence(along_x: Tensor, along_y: Tensor, *, dx: Value, dy: Value, boundary: Boundary = "reflect") -> Tensor:
    """Central differences: div alpha (= 2 kappa for a deflection field).

    The divergence of :func:`gradient` is a Laplacian at twice the spacing, four times coarser than
    :func:`laplacian`.

    Arguments:
        along_x, along_y: components of the field, each ``[..., y, x]``.
        dx, dy, boundary: as for :func:`gradient`.

    Returns:
        ``[..., y, x]``.

    Raises:
        ConfigError: as :func:`gradient`, or components of different shapes.

    Example:
        >>> from mlensing.physics.grid import pixel_grid
        >>> x, y = pixel_grid(4, 4, dx=0.5, dy=0.25)
        >>> divergence(x, 2 * y, dx=0.5, dy=0.25)[1:-1, 1:-1].tolist()
        [[3.0, 3.0], [3.0, 3.0]]
    """
    check_spacing(dx=dx, dy=dy)
    _same_shape("divergence", along_x, along_y)
    across = _correlate(along_x, _FIRST, axis=-1, boundary=boundary) / _spacing(dx, along_x)
    return across + _correlate(along_y, _FIRST, axis=-2, boundary=boundary) / _spacing(dy, along_y)


def laplacian(psi: Tensor, *, dx: Value, dy: Value, boundary: Boundary = "reflect", order: Literal[2, 4] = 2) -> Tensor:
    """d2 psi / dx2 + d2 psi / dy2, each axis with its own stencil and spacing.

    Arguments:
        psi: ``[..., y, x]``.
        dx, dy, boundary: as for :func:`gradient`.
        order: 2 for the 5-point Laplacian; 4 for five points an axis, with an error of the order of dx^4.

    Returns:
        ``[..., y, x]``, in units of psi / dx^2.

    Raises:
        ConfigError: as :func:`gradient`, or another order.

    Example:
        >>> from mlensing.physics.grid import pixel_grid
        >>> x, y = pixel_grid(4, 4, dx=0.5, dy=0.25)
        >>> laplacian(x**2 + y**2, dx=0.5, dy=0.25)[1:-1, 1:-1].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    check_spacing(dx=dx, dy=dy)
    if order not in _SECOND:
        raise ConfigError("order", f"expected 2 or 4, got {order}", "Choose one of them.")
    weights = _SECOND[order]
    across = _correlate(psi, weights, axis=-1, boundary=boundary) / _spacing(dx, psi) ** 2
    return across + _correlate(psi, weights, axis=-2, boundary=boundary) / _spacing(dy, psi) ** 2


def poisson_residual(
    psi: Tensor,
    kappa: Tensor,
    *,
    dx: Value,
    dy: Value,
    boundary: Boundary = "reflect",
    order: Literal[2, 4] = 2,
) -> Tensor:
    """lap psi - 2 kappa: zero wherever a potential and a convergence belong together.

    Arguments:
        psi: ``[..., y, x]``, in units of dx * dy: arcsec^2 with dx in arcsec, rad^2 with dx in radians.
        kappa: convergence, the shape of psi.
        dx, dy, boundary, order: as for :func:`laplacian`.

    Returns:
        ``[..., y, x]``, dimensionless. Use :func:`mlensing.physics.interior_mask` before averaging it.

    Raises:
        ConfigError: as :func:`laplacian`, or maps of different shapes.

    Example:
        >>> from mlensing.physics.grid import pixel_grid
        >>> x, y = pixel_grid(4, 4, dx=0.5, dy=0.25)
        >>> sheet = x.new_full((4, 4), 0.5)
        >>> poisson_residual((x**2 + y**2) / 4, sheet, dx=0.5, dy=0.25)[1:-1, 1:-1].abs().max().item()
        0.0
    """
    _same_shape("poisson_residual", psi, kappa)
    return laplacian(psi, dx=dx, dy=dy, boundary=boundary, order=order) - 2 * kappa


def area_pool(field: Tensor, factor: int) -> Tensor:
    """Mean over blocks of ``factor`` x ``factor`` pixels.

    The result has the spacing ``factor * dx``, ``factor * dy``, with which ``sum(field) dx dy`` is conserved.
    Deflections of a pooled potential are derived again from it, at the new spacing.

    Arguments:
        field: ``[..., y, x]``.
        factor: pixels an axis that become one.

    Returns:
        ``[..., y / factor, x / factor]``.

    Raises:
        ConfigError: a factor below 1, or one that does not divide both sides.

    Example:
        >>> area_pool(Tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]), 2).tolist()
        [[2.5, 4.5]]
    """
    height, width = field.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise ConfigError(
            "factor",
            f"{factor} does not divide a map of {height} x {width} pixels",
            "Crop the map or change it.",
        )
    blocks = field.reshape(*field.shape[:-2], height // factor, factor, width // factor, factor)
    return blocks.mean(dim=(-3, -1))


def _spacing(value: Value, field: Tensor) -> Tensor | float:
    """A number as it is; a tensor ``[...]`` as ``[..., 1, 1]``."""
    if isinstance(value, Tensor):
        return over_pixels(field, value)
    return value


def _same_shape(where: str, first: Tensor, second: Tensor) -> None:
    """Refuse maps that would broadcast in silence, [B, y, x] against [B, 1, y, x]."""
    if first.shape != second.shape:
        problem = f"expected maps of one shape, got {list(first.shape)} and {list(second.shape)}"
        raise ConfigError(where, problem, "Squeeze or expand one of them.")


def _correlate(field: Tensor, weights: Sequence[float], *, axis: Literal[-1, -2], boundary: Boundary) -> Tensor:
    """Sum of shifted copies of ``field`` along one axis, the same shape."""
    padded = _pad(field, len(weights) // 2, axis=axis, boundary=boundary)
    length = field.shape[axis]
    terms = [w * padded.narrow(axis, k, length) for k, w in enumerate(weights) if w != 0]
    return sum(terms[1:], terms[0])


def _pad(field: Tensor, width: int, *, axis: Literal[-1, -2], boundary: Boundary) -> Tensor:
    """``field`` with ``width`` more pixels on both ends of one axis."""
    if boundary not in _PAD_MODE:
        raise ConfigError("boundary", f"unknown boundary {boundary!r}", f"Choose one of {', '.join(_PAD_MODE)}.")
    if field.ndim < 2 or field.shape[axis] <= width:
        shape = list(field.shape)
        raise ConfigError("map", f"shape {shape} is too small for the stencil", "Give [..., y, x] of more pixels.")
    height, across = field.shape[-2:]
    sides = (width, width, 0, 0) if axis == -1 else (0, 0, width, width)
    # F.pad mirrors two axes only behind a batch and a channel axis
    padded = functional.pad(field.reshape(-1, 1, height, across), sides, mode=_PAD_MODE[boundary])
    return padded.reshape(*field.shape[:-2], *padded.shape[-2:])
