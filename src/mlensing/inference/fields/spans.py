"""Where tiles lie along one axis, and what each weighs at each pixel.

Neighbours share ``overlap`` pixels. A tile's outermost ``halo`` pixels towards a neighbour are dropped; over the rest
of the overlap weights rise as a ramp. There is no ramp at the border of the image, where nothing else could fill in.
The last tile is flush with the border.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mlensing.errors import ConfigError


class Span(NamedTuple):
    """A tile along one axis: pixels that go in, and those of them whose maps are used."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int, overlap: int, halo: int = 0, align: int = 1) -> list[Span]:
    """The tiles of one axis, the last flush with its end.

    Arguments:
        length, tile, overlap, halo: [px].
        align: every tile starts at a multiple of it, so that a network with a stride sees the same grid; the last
            tile then may be up to ``align - 1`` pixels longer.

    Raises:
        ConfigError: naming the number that cannot be.

    Example:
        >>> [(span.start, span.stop) for span in spans(10, 4, 1)]
        [(0, 4), (3, 7), (6, 10)]
        >>> [(span.first, span.last) for span in spans(10, 6, 2, halo=1)]
        [(0, 5), (5, 10)]
    """
    _check(length, tile, overlap, halo, align)
    if length <= tile:
        return [Span(0, length, 0, length)]
    step = (tile - overlap) // align * align
    flush = (length - tile) // align * align
    starts = [*range(0, flush, step), flush]
    if len(starts) == 1:
        return [Span(0, length, 0, length)]  # longer than a tile by less than an alignment
    stops = [*(start + tile for start in starts[:-1]), length]
    firsts = [0, *(start + halo for start in starts[1:])]
    lasts = [*(stop - halo for stop in stops[:-1]), length]
    return [Span(*span) for span in zip(starts, stops, firsts, lasts, strict=True)]


def _check(length: int, tile: int, overlap: int, halo: int, align: int) -> None:
    if min(length, tile, align) < 1 or min(overlap, halo) < 0:
        problem = f"length {length}, tile {tile}, overlap {overlap}, halo {halo}, align {align}: one is too small"
        raise ConfigError("tile", problem, "Take sides of 1 or more, and overlap and halo of 0 or more.")
    if overlap < 2 * halo and length > tile:
        problem = f"an overlap of {overlap} pixels is less than two halos of {halo}, so pixels would be left out"
        raise ConfigError("overlap", problem, f"Take an overlap of {2 * halo} or more.")
    if tile - overlap < align:
        problem = f"tiles of {tile} pixels that overlap by {overlap} do not advance by {align}"
        raise ConfigError("tile", problem, f"Take a tile of {overlap + align} or more, or a smaller overlap.")


def weights(plan: list[Span]) -> list[Tensor]:
    """Weight of each tile at each pixel that it fills along one axis: positive, and 1 in sum at every pixel.

    Example:
        >>> [weight.tolist() for weight in weights(spans(6, 4, 2))]
        [[1.0, 1.0, 0.6666..., 0.3333...], [0.3333..., 0.6666..., 1.0, 1.0]]
    """
    total = torch.zeros(plan[-1].last, dtype=torch.float64)
    raw = []
    for i, span in enumerate(plan):
        pixel = torch.arange(span.first, span.last, dtype=torch.float64)
        weight = torch.ones_like(pixel)
        if i > 0 and (shared := plan[i - 1].last - span.first) > 0:
            weight *= ((pixel - span.first + 1) / (shared + 1)).clamp(max=1)
        if i + 1 < len(plan) and (shared := span.last - plan[i + 1].first) > 0:
            weight *= ((span.last - pixel) / (shared + 1)).clamp(max=1)
        total[span.first : span.last] += weight
        raw.append(weight)
    found = [weight / total[span.first : span.last] for weight, span in zip(raw, plan, strict=True)]
    summed = torch.zeros_like(total)
    for weight, span in zip(found, plan, strict=True):
        assert bool((weight > 0).all()), "a tile without weight"
        summed[span.first : span.last] += weight
    assert torch.allclose(summed, torch.ones_like(summed), rtol=0, atol=1e-12), "weights that do not sum to one"
    return [weight.float() for weight in found]
