"""Augmentation that keeps flux: flips, 90-degree turns, centroid shifts and, if asked, small rotations.

Batched torch on any device; all randomness comes from the generator given. Maps and mask move with the image;
alpha turns as the vector it is. There is no colour jitter: colours carry physics.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from mlensing.data.normalise import sky

Maps = dict[str, Tensor]


def augment(
    image: Tensor,
    maps: Maps,
    generator: Generator,
    *,
    shift_px: int = 4,
    rotate_deg: float = 0.0,
    size: int | None = None,
    level: Tensor | None = None,
) -> tuple[Tensor, Maps]:
    """Each image of the batch seen from another side.

    Arguments:
        image: [B, C, H, W], raw, not stretched.
        maps: what moves along: planes [B, H, W] (kappa, psi, variance, a bool mask), ``alpha`` [B, 2, H, W] = x, y
            components, ``psf`` [B, h, w] (turned, not shifted), and ``dx``, ``dy`` [B], which trade places when x
            and y do.
        generator: on the device of ``image``.
        shift_px: largest centroid shift along each axis, whole pixels.
        rotate_deg: largest further rotation [degrees], bilinear; 0 for none.
        size: pixels a side of the result; a larger image is the margin that shifts draw from. Beyond the margin
            the image is filled with its sky level, maps with their nearest pixel, and a mask with True.
        level: [B, C], the sky level, if it is known already.

    Returns:
        image and maps, of ``size`` (H x W without it).

    Example:
        >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> turned, _ = augment(image, {}, Generator().manual_seed(1), shift_px=0)
        >>> bool(turned.sum() == image.sum())
        True
    """
    if rotate_deg:
        reach = None if size is None else size + 2 * shift_px  # what lies beyond is not looked at
        image, maps = _rotated(image, maps, generator, math.radians(rotate_deg), level, reach)
    which = torch.randint(8, (len(image),), generator=generator, device=image.device)
    if image.shape[-1] != image.shape[-2]:
        which = which % 4  # without the transposition
    image, maps = dihedral(image, maps, which)
    if shift_px == 0 and size is None:
        return image, maps
    shifts = torch.randint(-shift_px, shift_px + 1, (2, len(image)), generator=generator, device=image.device)
    return _shifted(image, maps, shifts, shift_px, size, level)


def dihedral(image: Tensor, maps: Maps, which: Tensor) -> tuple[Tensor, Maps]:
    """One of the eight symmetries of the square for each image.

    Arguments:
        image, maps: as ``augment``.
        which: [B], 0..7: 1 flips x, 2 flips y, and 4 transposes before them.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> dihedral(image, {}, torch.tensor([4]))[0][0, 0]
        tensor([[1., 3.],
                [2., 4.]])
    """
    flip_x, flip_y, swap = (which & 1) > 0, (which & 2) > 0, (which & 4) > 0
    moved = {name: _turned(plane, name, flip_x, flip_y, swap) for name, plane in maps.items()}
    if "dx" in maps:
        moved["dx"] = torch.where(swap, maps["dy"], maps["dx"])
        moved["dy"] = torch.where(swap, maps["dx"], maps["dy"])
    return _turned(image, "image", flip_x, flip_y, swap), moved


def _turned(plane: Tensor, name: str, flip_x: Tensor, flip_y: Tensor, swap: Tensor) -> Tensor:
    if plane.ndim < 3:
        return plane
    shape = (-1, *[1] * (plane.ndim - 1))
    flip_x, flip_y, swap = flip_x.view(shape), flip_y.view(shape), swap.view(shape)
    if plane.shape[-1] == plane.shape[-2]:
        plane = torch.where(swap, plane.transpose(-1, -2), plane)
    if name == "alpha":
        plane = torch.where(swap, plane.flip(1), plane)
    plane = torch.where(flip_x, plane.flip(-1), plane)
    plane = torch.where(flip_y, plane.flip(-2), plane)
    if name == "alpha":
        signs = torch.cat([flip_x, flip_y], dim=1)
        plane = torch.where(signs, -plane, plane)
    return plane


def _shifted(
    image: Tensor, maps: Maps, shifts: Tensor, largest: int, size: int | None, level: Tensor | None
) -> tuple[Tensor, Maps]:
    """Windows of ``size`` whose centre lies ``shifts`` [2, B] = (y, x) pixels off the image's."""
    height, width = image.shape[-2:]
    out_h, out_w = (height, width) if size is None else (size, size)
    rows = _window(height, out_h, shifts[0])
    columns = _window(width, out_w, shifts[1])
    outside = _outside(rows, height)[:, :, None] | _outside(columns, width)[:, None, :]
    moved = {name: _cut(plane, name, rows, columns, (height, width)) for name, plane in maps.items()}
    if "mask" in moved:
        moved["mask"] = moved["mask"] | outside
    cut = _cut(image, "image", rows, columns, (height, width))
    if min(height - out_h, width - out_w) // 2 < largest:
        beyond = sky(image)[0] if level is None else level
        cut = torch.where(outside[:, None], beyond[..., None, None], cut)
    return cut, moved


def _window(length: int, out: int, shift: Tensor) -> Tensor:
    """Source pixels [B, out] along one axis."""
    start = (length - out) // 2
    return start + shift[:, None] + torch.arange(out, device=shift.device)


def _outside(index: Tensor, length: int) -> Tensor:
    return (index < 0) | (index >= length)


def _cut(plane: Tensor, name: str, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    if plane.ndim < 3 or name == "psf":
        return plane
    y, x = rows.clamp(0, shape[0] - 1), columns.clamp(0, shape[1] - 1)
    batch = torch.arange(len(plane), device=plane.device)[:, None, None]
    if plane.ndim == 3:
        return plane[batch, y[:, :, None], x[:, None, :]]
    channel = torch.arange(plane.shape[1], device=plane.device)[None, :, None, None]
    return plane[batch[..., None], channel, y[:, None, :, None], x[:, None, None, :]]


def _rotated(
    image: Tensor, maps: Maps, generator: Generator, largest: float, level: Tensor | None, reach: int | None
) -> tuple[Tensor, Maps]:
    """Each image turned about its centre by up to ``largest`` [radian]; right on the sky where dx and dy differ.

    Of what is larger than ``reach`` pixels a side, the middle alone is made.
    """
    uniform = torch.rand(len(image), generator=generator, device=image.device)
    angle = (2.0 * uniform - 1.0) * largest
    moved = {name: _rotate_map(plane, name, angle, maps, reach) for name, plane in maps.items()}
    around = (sky(image)[0] if level is None else level)[..., None, None]
    return _sample(image - around, angle, maps, "zeros", reach) + around, moved


def _rotate_map(plane: Tensor, name: str, angle: Tensor, maps: Maps, reach: int | None) -> Tensor:
    if plane.ndim < 3:
        return plane
    if name == "mask":
        return _sample((~plane).float()[:, None], angle, maps, "zeros", reach)[:, 0] < 0.999
    if name != "alpha":
        return _sample(plane[:, None], angle, maps, "border", None if name == "psf" else reach)[:, 0]
    # psi'(p) = psi(A p), so grad psi'(p) = A^T (grad psi)(A p).
    x, y = _sample(plane, angle, maps, "border", reach).unbind(1)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=1)


def _sample(planes: Tensor, angle: Tensor, maps: Maps, padding: str, reach: int | None) -> Tensor:
    """``planes`` [B, C, H, W] read at A p, A being the rotation by ``angle`` [B] about the centre, on the sky."""
    height, width = planes.shape[-2:]
    out = [side if reach is None else side - 2 * max((side - reach) // 2, 0) for side in (height, width)]
    stretch = maps["dy"] / maps["dx"] if "dx" in maps else torch.ones_like(angle)
    y_over_x = stretch.to(angle) * height / width  # grid_sample measures both axes from -1 to 1
    zero = torch.zeros_like(angle)
    rows = [
        torch.stack([angle.cos(), -angle.sin() * y_over_x, zero], dim=1),
        torch.stack([angle.sin() / y_over_x, angle.cos(), zero], dim=1),
    ]
    inner = torch.tensor([out[1] / width, out[0] / height, 1.0], device=angle.device)
    grid = functional.affine_grid(torch.stack(rows, dim=1) * inner, [*planes.shape[:2], *out], align_corners=False)
    return functional.grid_sample(planes, grid.to(planes), padding_mode=padding, align_corners=False)
