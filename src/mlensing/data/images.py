"""Colour pictures (PNG, JPEG) and .npy arrays as cutouts.

An 8-bit picture is a composite: its red, green, blue become blue, green, red; grey is repeated; alpha is dropped.
A float array is linear: [y, x], [band, y, x] or [y, x, band].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from mlensing.contract import CHANNELS
from mlensing.data.cutout import Cutout, fill_bad_pixels
from mlensing.errors import ImageError

MOST_BANDS = 12
"""More planes than this are taken for rows of pixels."""


def read_picture(path: Path) -> Cutout:
    """Read a PNG, JPEG or .npy file.

    Raises:
        ImageError: damaged, of a wrong kind of number, or of a shape that can be read two ways.
    """
    if path.suffix.lower() != ".npy":
        return _composite(_decoded(path))
    array = _loaded(path)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] in (3, 4):
        return _composite(array)
    if array.dtype.kind not in "fiu":
        remedy = "Save float32 flux, or uint8 [y, x, 3] colour."
        raise ImageError(path, f"pixels of dtype {array.dtype}, expected real numbers", remedy)
    with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is masked
        stack = _bands_first(array, path).astype(np.float32)
    image, filled = fill_bad_pixels(stack, where=path)
    meta = {"bad_pixels": int(filled.sum())}
    return Cutout(np.ascontiguousarray(image), _names(len(image)), "linear", filled, meta=meta)


def _decoded(path: Path) -> NDArray[np.uint8]:
    """Red, green, blue [y, x, 3] of a picture file."""
    try:
        with Pillow.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                remedy = "Save 8-bit colour, or the flux itself as FITS or .npy."
                raise ImageError(path, f"a picture of mode {picture.mode}, expected 8 bits", remedy)
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        problem = f"damaged or truncated picture ({str(error).rstrip('.')})"
        raise ImageError(path, problem, "Fetch or write it again.") from error


def _composite(array: NDArray[np.uint8]) -> Cutout:
    """Composite cutout of red, green, blue [y, x, 3] (a fourth plane, alpha, is dropped)."""
    image = np.ascontiguousarray(array[..., 2::-1].transpose(2, 0, 1), dtype=np.float32)
    mask = np.zeros(array.shape[:2], dtype=bool)
    return Cutout(image, CHANNELS, "composite", mask, meta={"bad_pixels": 0})


def _loaded(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        problem = f"damaged, or not a plain array ({str(error).splitlines()[0].rstrip('.')})"
        raise ImageError(path, problem, "Save a numeric array with numpy.save.") from error
    if not isinstance(array, np.ndarray) or array.size == 0:
        raise ImageError(path, "no pixels in it", "Save one numeric array with numpy.save.")
    return array


def _bands_first(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The array as [band, y, x]."""
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3:
        first, last = array.shape[0] <= MOST_BANDS, array.shape[2] <= MOST_BANDS
        if first != last:
            return array if first else np.moveaxis(array, 2, 0)
    problem = f"shape {array.shape} is not [y, x], nor clearly [band, y, x] or [y, x, band]"
    raise ImageError(path, problem, f"Save at most {MOST_BANDS} bands, of images larger than that.")


def _names(count: int) -> tuple[str, ...]:
    return CHANNELS if count == 3 else ("image",) if count == 1 else tuple(f"band{i + 1}" for i in range(count))
