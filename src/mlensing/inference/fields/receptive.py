"""Networks that turn pixels into maps, run on one piece of an image; and how far around a pixel they see.

Pixels are [B, C, y, x]; what comes out is maps [B, ..., y, x] of the same size, as a tensor or as a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mlensing.errors import ConfigError

Model = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
ALONE = ""
"""Name of the map of a network that returns a tensor."""
TRIALS = 4
"""Random tiles whose gradients are looked at: a dead unit may hide the outermost pixel of one."""


def run(model: Model, pixels: Tensor, key: str | None = None) -> dict[str, Tensor]:
    """Maps of some pixels, in float32 in main memory.

    Arguments:
        model: a module in evaluation mode, or any function of a tensor.
        pixels: [B, C, y, x].
        key: the one entry of a dict that is wanted; None takes all that are maps.

    Raises:
        ConfigError: a model in training mode, or one that gives no such maps.

    Example:
        >>> run(lambda pixels: {"kappa": pixels[:, 0], "logit": pixels.sum()}, torch.ones(1, 3, 4, 4)).keys()
        dict_keys(['kappa'])
    """
    _check_mode(model)
    with torch.inference_mode():
        found = _maps(model(pixels.to(_device(model))), pixels, key)
    return {name: part.float().cpu() for name, part in found.items()}


def receptive_radius(model: Model, channels: int, tile: int, *, align: int = 1, key: str | None = None) -> int:
    """Pixels by which a model sees beyond each pixel, found by the gradients of the middle of random tiles.

    Arguments:
        model, key, align: as ``predict_tiled``.
        channels: of its image.
        tile: pixels a side to look at; the memory of a training step on one.

    Raises:
        ConfigError: a model without gradients, or one that sees as far as the tile reaches: then the number is not
            known, and no halo makes its tiles equal to the whole.

    Example:
        >>> receptive_radius(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 5, padding=2)).eval(), 1, 32)
        3
    """
    _check_mode(model)
    middle = tile // 2 // align * align
    radius = 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(TRIALS):
        pixels = torch.randn(1, channels, tile, tile, generator=generator).to(_device(model)).requires_grad_()
        with torch.enable_grad():
            found = _maps(model(pixels), pixels, key).values()
            centre = [part[..., middle : middle + align, middle : middle + align].square().sum() for part in found]
            total = torch.stack([part.to(pixels.dtype) for part in centre]).sum()
        if not total.requires_grad:
            problem = "the model lets no gradient through, so nothing tells how far it sees"
            raise ConfigError("halo", problem, "Give halo: the radius of its receptive field [px].")
        (gradient,) = torch.autograd.grad(total, pixels)
        seen = torch.nonzero((gradient != 0).flatten(0, 1).any(0))
        if len(seen):
            radius = max(radius, middle - int(seen.min()), int(seen.max()) - (middle + align - 1))
    if radius >= tile - align - middle:
        problem = f"the model sees {radius} pixels or more around each, as far as a tile of {tile} reaches"
        raise ConfigError("tile", problem, "Take a larger tile; a model that sees the whole image cannot be tiled.")
    return radius


def _maps(output: Tensor | Mapping[str, Tensor], pixels: Tensor, key: str | None) -> dict[str, Tensor]:
    """Those entries of an output that are maps of the pixels [B, ..., y, x]; a tensor is one, whatever the key."""
    named = {ALONE: output} if isinstance(output, Tensor) else dict(output)
    if key is not None and ALONE not in named:
        if key not in named:
            problem = f"no map {key!r}: the model gives {', '.join(named)}"
            raise ConfigError("key", problem, "Name one of its maps, or leave key out.")
        named = {key: named[key]}
    size = pixels.shape[-2:]
    found = {n: part for n, part in named.items() if part.ndim > 2 and part.shape[-2:] == size}
    if not found:
        shapes = ", ".join(f"{name or 'output'} {tuple(part.shape)}" for name, part in named.items())
        problem = f"no map [B, ..., y, x] of {size[0]} x {size[1]} pixels, but {shapes}"
        raise ConfigError("model", problem, "Take a model that gives a value at each pixel.")
    return found


def _device(model: Model) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else cast(Tensor, parameter).device


def _check_mode(model: Model) -> None:
    if isinstance(model, nn.Module) and model.training:
        raise ConfigError("model", "it is in training mode, so tiles would not agree", "Call model.eval() before.")
