"""Networks over images of any size: tile by tile, with what the whole image would give.

An image is [B, C, y, x] or [C, y, x]; a network turns [B, C, y, x] into maps [B, ..., y, x], as a tensor or as a dict
(``receptive``). Tiles and their weights are those of ``spans``; a halo of at least the receptive field is what makes a
pixel the same whichever tile it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.inference.fields.receptive import ALONE, Model, receptive_radius, run
from mlensing.inference.fields.spans import Span, spans, weights

Maps = Tensor | dict[str, Tensor]


def predict_full(model: Model, image: Any, key: str | None = None) -> Maps:
    """Maps of an image in one pass: what ``predict_tiled`` must reproduce.

    Arguments and errors: as there.

    Example:
        >>> predict_full(lambda image: {"kappa": image[:, 0] / 2}, torch.ones(1, 4, 4), "kappa").shape
        torch.Size([4, 4])
    """
    shape = _shape(image)
    found = run(model, _cut(image, slice(0, shape[-2]), slice(0, shape[-1])), key)
    return _given(found if len(shape) == 4 else {name: part[0] for name, part in found.items()}, key)


def predict_tiled(
    model: Model,
    image: Any,
    tile: int,
    overlap: int,
    key: str | None = None,
    *,
    halo: int | None = None,
    align: int = 1,
) -> Maps:
    """Maps of an image of any size, blended of tiles; beside the result, memory is that of a row of tiles.

    Arguments:
        model: a module in evaluation mode, or any function of a float32 tensor [B, C, y, x]; it must treat all pixels
            alike, as convolutions do, up to ``align``. Entries of a dict that are no maps are left out.
        image: [B, C, y, x] or [C, y, x]: a tensor, an array, a ``numpy.memmap``, or the ``section`` of a FITS image.
        tile: pixels a side that the model is given.
        overlap: pixels that neighbours share; at least two halos.
        key: the one map wanted of a dict; None takes all.
        halo: pixels by which the model sees beyond each pixel; None measures it by gradients (``receptive_radius``).
        align: product of the model's strides.

    Returns:
        a tensor or a dict of them, as the model gives; without B for an image [C, y, x].

    Raises:
        ConfigError: a tile, overlap or halo that cannot be; a model in training mode, or one that gives no such maps.

    Example:
        >>> net = torch.nn.Conv2d(1, 1, 5, padding=2).eval()
        >>> image = torch.rand(1, 1, 50, 70)
        >>> difference = predict_tiled(net, image, tile=24, overlap=8) - predict_full(net, image)
        >>> bool(difference.abs().max() < 1e-5)
        True
    """
    shape, whole = _shape(image), dict[str, Tensor]()
    for rows, maps in blended_rows(model, image, tile, overlap, key, halo=halo, align=align):
        for name, part in maps.items():
            if name not in whole:
                whole[name] = part.new_empty((*part.shape[:-2], *shape[-2:]))
            whole[name][..., rows, :] = part
    return _given(whole, key)


def write_tiled(
    model: Model,
    image: Any,
    out: NDArray[Any] | Mapping[str, NDArray[Any]],
    tile: int,
    overlap: int,
    key: str | None = None,
    *,
    halo: int | None = None,
    align: int = 1,
) -> None:
    """The same, written row by row into arrays that are there, such as a ``numpy.memmap``: memory is a row of tiles.

    Arguments:
        out: [B, ..., y, x], without B for an image [C, y, x]: an array for one map, or a dict with one for each.
        others: as ``predict_tiled``.

    Raises:
        ConfigError: as ``predict_tiled``, or a map for which ``out`` has no array of its shape.

    Example:
        >>> out = np.empty((1, 1, 40, 60), ">f4")
        >>> write_tiled(torch.nn.AvgPool2d(3, 1, 1).eval(), torch.ones(1, 1, 40, 60), out, tile=16, overlap=4)
        >>> float(out[0, 0, 20].min())
        0.666...
    """
    shape = _shape(image)
    for rows, maps in blended_rows(model, image, tile, overlap, key, halo=halo, align=align):
        for name, part in maps.items():
            array = out.get(name) if isinstance(out, Mapping) else out if len(maps) == 1 else None
            wanted = (*part.shape[:-2], *shape[-2:])
            if array is None or array.shape != wanted:
                problem = f"no array {wanted} for the map {name!r}" if array is None else f"its shape is {array.shape}"
                raise ConfigError("out", problem, f"Give arrays of shape {wanted}, by the name of each map.")
            array[..., rows, :] = part.numpy()


def blended_rows(
    model: Model,
    image: Any,
    tile: int,
    overlap: int,
    key: str | None = None,
    *,
    halo: int | None = None,
    align: int = 1,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Finished rows of the maps, from the first to the last and each once, for whoever writes them on.

    Arguments, errors: as ``predict_tiled``.

    Yields:
        rows, and each map there [B, ..., rows, x]; without B for an image [C, y, x].
    """
    *_, channels, height, width = _shape(image)
    if halo is None:
        largest = max(height, width)
        halo = 0 if largest <= tile else receptive_radius(model, channels, tile, align=align, key=key)
    down, across = spans(height, tile, overlap, halo, align), spans(width, tile, overlap, halo, align)
    pending: dict[str, Tensor] = {}
    for (i, row), weight in zip(enumerate(down), weights(down), strict=True):
        band = _blended_band(model, image, row, across, key)
        for name, part in band.items():
            pending[name] = _added(pending.get(name), part * weight[:, None])
        done = (down[i + 1].first if i + 1 < len(down) else height) - row.first
        finished = {name: part[..., :done, :] for name, part in pending.items()}
        pending = {name: part[..., done:, :].clone() for name, part in pending.items()}
        batched = len(_shape(image)) == 4
        yield slice(row.first, row.first + done), finished if batched else {k: v[0] for k, v in finished.items()}


def _blended_band(model: Model, image: Any, row: Span, across: list[Span], key: str | None) -> dict[str, Tensor]:
    """A row of tiles blended along x: each map [B, ..., rows that are used, x]."""
    band: dict[str, Tensor] = {}
    used = slice(row.first - row.start, row.last - row.start)
    for column, weight in zip(across, weights(across), strict=True):
        found = run(model, _cut(image, slice(row.start, row.stop), slice(column.start, column.stop)), key)
        for name, part in found.items():
            core = part[..., used, column.first - column.start : column.last - column.start]
            if name not in band:
                band[name] = core.new_zeros(*core.shape[:-1], across[-1].last)
            band[name][..., column.first : column.last] += core * weight
    return band


def _added(pending: Tensor | None, part: Tensor) -> Tensor:
    """The sum of rows that begin together, of which the later ones reach further."""
    if pending is None:
        return part
    part[..., : pending.shape[-2], :] += pending
    return part


def _given(maps: dict[str, Tensor], key: str | None) -> Maps:
    """What the caller expects: the one map, or all."""
    return maps[ALONE] if ALONE in maps else maps if key is None else maps[key]


def _shape(image: Any) -> tuple[int, ...]:
    shape = tuple(image.shape)
    if len(shape) not in (3, 4) or 0 in shape:
        raise ConfigError("image", f"shape {shape}, expected [B, C, y, x] or [C, y, x]", "Add or drop an axis.")
    return shape


def _cut(image: Any, rows: slice, columns: slice) -> Tensor:
    """Pixels [B, C, rows, columns] as float32; only these are read of what lies on disk."""
    part = image[..., rows, columns]
    pixels = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part, dtype=np.float32))
    return (pixels if pixels.ndim == 4 else pixels[None]).float()
