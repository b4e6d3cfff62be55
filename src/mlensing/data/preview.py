"""Pictures to look at: one cutout as RGB, and mosaics, such as of an index with lenses above, everything else below."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mlensing.catalog import Catalog
from mlensing.contract import CHANNELS
from mlensing.cutouts import Cutouts
from mlensing.data.cutout import read_cutout, select_bands
from mlensing.data.framing import frame
from mlensing.data.normalise import sky
from mlensing.errors import ContractError
from mlensing.provenance import replacing

Picture = NDArray[np.uint8]
BEND, WHITE = 4.0, 0.997
"""Where the arcsinh of a linear image bends [sky noise], and the quantile of its brightness that becomes white."""

GAP = 2  # pixels between the tiles of a mosaic
CAPTION = 14  # pixels of a line of words below a tile


def picture(image: Tensor, *, composite: bool) -> Picture:
    """Pixels [band, y, x], blue to red, as RGB uint8 [y, x, 3]; other than three bands show the middle one.

    Linear images get a colour-keeping arcsinh (Lupton+2004) of the channels in units of their sky noise.

    Example:
        >>> picture(torch.full((3, 32, 32), 255.0), composite=True)[0, 0].tolist()
        [255, 255, 255]
    """
    bands = image if len(image) == 3 else image[len(image) // 2].expand(3, -1, -1)
    shown = bands / 255 if composite else _stretched(bands)
    rgb = (shown.flip(0).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


def pictures(cutouts: Cutouts, rows: Sequence[int]) -> list[Picture]:
    """RGB [y, x, 3] of some images of a stack."""
    colour = cutouts.representation == "composite"
    return [picture(torch.from_numpy(cutouts.image[row]), composite=colour) for row in rows]


def _stretched(bands: Tensor) -> Tensor:
    level, noise = sky(bands[None])
    signal = (bands - level[0, :, None, None]) / noise[0, :, None, None]
    brightness = signal.mean(0).clamp(min=1e-3)
    white = brightness.flatten().quantile(WHITE).clamp(min=10 * BEND)
    return signal / brightness * torch.asinh(brightness / BEND) / torch.asinh(white / BEND)


def write_preview(index: str | Path, path: str | Path, *, size: int = 64, columns: int = 12, rows: int = 4) -> None:
    """Write a PNG mosaic: ``rows`` of lenses, a white line, ``rows`` of everything else; the first of each.

    Arguments:
        index: CSV of the images.
        path: PNG to write.
        size: pixels of a tile a side.
    """
    catalog = Catalog.read(index)
    lens = catalog.labels >= 0.5
    halves = [np.flatnonzero(part)[: columns * rows] for part in (lens, ~lens)]
    write_stacked(path, *([_tile(catalog, int(row), size) for row in half] for half in halves), columns=columns)


def write_stacked(path: str | Path, above: Sequence[Picture], below: Sequence[Picture], *, columns: int) -> None:
    """Write a PNG of pictures in rows, a white line, and further pictures; all [y, x, 3] of one size."""
    tiles = [_mosaic(half, columns) for half in (above, below) if len(half)]
    line = np.full((2 * GAP, tiles[0].shape[1], 3), 255, np.uint8)
    content = np.concatenate([tiles[0], line, tiles[1]] if len(tiles) == 2 else tiles)
    with replacing(path) as beside:
        Image.fromarray(content).save(beside)


def captioned(shown: Picture, words: str, *, least: int) -> Picture:
    """A picture [y, x, 3] with words below it, magnified by a whole number to ``least`` pixels a side or more."""
    times = max(1, -(-least // min(shown.shape[:2])))
    large = shown.repeat(times, 0).repeat(times, 1)
    strip = Image.new("RGB", (large.shape[1], CAPTION))
    ImageDraw.Draw(strip).text((2, 1), words, fill=(255, 255, 255), font=ImageFont.load_default())
    return np.concatenate([large, np.asarray(strip)])


def _tile(catalog: Catalog, row: int, size: int) -> Picture:
    survey = catalog.text("survey")[row] if "survey" in catalog.table else None
    cutout = read_cutout(catalog.paths[row], maps=())
    with contextlib.suppress(ContractError):  # bands that no channel names: the middle one is shown
        cutout = select_bands(cutout, CHANNELS, survey)
    cutout = frame(cutout, size)
    return picture(torch.from_numpy(cutout.image), composite=cutout.representation == "composite")


def _mosaic(tiles: Sequence[Picture], columns: int) -> Picture:
    rows = -(-len(tiles) // columns)
    height, width = (pixels + GAP for pixels in tiles[0].shape[:2])
    canvas = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * height, (i % columns) * width
        canvas[y : y + height - GAP, x : x + width - GAP] = tile
    return canvas
