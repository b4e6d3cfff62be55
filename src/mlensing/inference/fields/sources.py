"""Sources of a field: where a galaxy stands in the middle of a window, as in all that finders learn from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from mlensing.data.cutout import select_bands
from mlensing.data.field import Field
from mlensing.data.normalise import MAD_TO_SIGMA
from mlensing.errors import ConfigError
from mlensing.inference.fields.windows import Window

Places = NDArray[np.int64]
BLUR = 1.5
"""Deviation of the Gaussian that an image is smoothed with before sources are looked for [px of the network]."""
REACH = 5
"""Of sources nearer to each other than this along both axes only the brightest counts [px of the network]."""
STRIP = 256
"""Rows looked at together; their noise is taken as one."""


def find_sources(field: Field, bands: tuple[str, ...], window: Window, *, detection: float = 20.0) -> Places:
    """Positions [N, 2] = row, column [px] of the maxima of the smoothed field, by increasing row.

    Each band is smoothed and divided by its noise, the deviation about its median; a source is a maximum of their sum
    over the root of their number, of ``detection`` or more.

    Arguments:
        field: an open field.
        bands: of the network.
        window: a network's window on the field, which says how large its pixels are.
        detection: least signal over noise; 95 of 100 simulated deflectors have 25 or more.

    Raises:
        ConfigError: a detection that is not above zero.
        ContractError: bands that the field does not have.
    """
    if not detection > 0:
        raise ConfigError("detection", f"expected a number above 0, got {detection}", "Take 20.")
    reach = max(1, round(REACH * window.rows / window.size))
    found = []
    for start, level, first, last in _strips(field, bands, BLUR * window.rows / window.size, reach):
        top = (level == maximum_filter(level, size=2 * reach + 1)) & (level >= detection)
        row, column = np.nonzero(top[first:last])
        found.append(np.stack([row + first + start, column], 1))
    return np.concatenate(found).astype(np.int64)


def _strips(
    field: Field, bands: tuple[str, ...], blur: float, reach: int
) -> Iterator[tuple[int, NDArray[np.float32], int, int]]:
    """First row of each strip, its signal over noise (0 without data), and which of its rows are its own."""
    margin = reach + round(4 * blur)
    for own in range(0, field.shape[0], STRIP):
        start, stop = max(0, own - margin), min(own + STRIP + margin, field.shape[0])
        strip = select_bands(field.rows(start, stop), bands, where=field.where)
        smooth = np.stack([gaussian_filter(band, blur) for band in strip.image])
        known = smooth[:, ~strip.mask]
        if known.size:
            middle = np.median(known, 1)[:, None, None]
            noise = MAD_TO_SIGMA * np.median(np.abs(known - middle[:, 0]), 1)[:, None, None]
            signal = ((smooth - middle) / np.maximum(noise, np.finfo(np.float32).tiny)).sum(0)
            level = np.where(strip.mask, 0, signal / len(smooth) ** 0.5).astype(np.float32)
            yield start, level, own - start, min(own + STRIP, field.shape[0]) - start


def windows_on(places: Places, window: Window, shape: tuple[int, int]) -> Places:
    """Corners [M, 2] of the windows in whose middle a source stands, as far as they lie within the field.

    Example:
        >>> window = Window(32, 32, 32, (0.2, 0.2))
        >>> windows_on(np.array([[20, 30], [3, 30]]), window, (100, 100)).tolist()
        [[4, 14]]
    """
    sides = np.array([window.rows, window.columns])
    corners = places - sides // 2
    inside = ((corners >= 0) & (corners + sides <= shape)).all(1)
    return np.asarray(corners[inside], np.int64)
