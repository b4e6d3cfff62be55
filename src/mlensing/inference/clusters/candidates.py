"""Candidates of a cluster field: what is left when the red sequence is taken away, measured about the centre.

Members share one colour, so that the bluest band less a multiple of the reddest one holds none of them. What stands
out is measured in polar coordinates about the centre: an arc that is bent around it is straight there. With one band
there is no colour, and smooth light is taken away instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mlensing.data.normalise import MAD_TO_SIGMA, sky

Array = NDArray[np.float64]

SMOOTH = 0.35  # standard deviation of the smoothing [arcsec], at least ``LEAST`` pixels
LEAST = 0.7
WIDE = 2.0  # standard deviation of what counts as smooth light, with one band [arcsec]
THRESHOLD = 3.0  # noise of the smoothed image
SMALLEST = 0.6  # area [arcsec^2], at least ``FEWEST`` pixels
FEWEST = 6
BRIGHT = 20.0  # noise above which pixels tell the colour of the members
WITHIN = 60.0  # arcsec of the centre: those pixels
ALIKE = 0.3  # magnitudes by which colour and surface brightness of images of one source may differ
ASUNDER = 0.6  # radians between images that count as partners
COLUMNS = (
    "x", "y", "east", "north", "radius", "azimuth", "area", "tangential", "length", "width", "signal", "surface",
    "colour", "partners",
)  # fmt: skip


def find_candidates(sample: Mapping[str, Tensor]) -> pd.DataFrame:
    """Blue shapes of one field, or of one tile of it.

    Arguments:
        sample: of ``ClusterLensingDataset``: ``image``, ``sky``, ``mask``, ``dx``, ``dy``.

    Returns:
        one row a candidate, brightest first: ``x``, ``y`` [px], ``east``, ``north``, ``radius`` [arcsec] and
        ``azimuth`` [rad] about the centre, ``area`` [arcsec^2], ``tangential`` (log of the extent around the centre
        over that towards it), ``length`` and ``width`` [arcsec] around and towards it, ``signal`` (S/N),
        ``surface`` (magnitude of the mean brightness without members, any zero point), ``colour`` (magnitudes from
        bluest to reddest band; NaN with one band) and ``partners`` (tangential others of like colour and surface
        brightness elsewhere about the centre, since lensing keeps both).

    Example:
        >>> import torch
        >>> image = torch.randn(2, 96, 96, generator=torch.Generator().manual_seed(0))
        >>> image[0, 20:23, 38:58] += 20.0
        >>> y, x = torch.meshgrid(torch.arange(96) - 47.5, torch.arange(96) - 47.5, indexing="ij")
        >>> plane = {"sky": 0.2 * torch.stack([-x, y]), "mask": torch.zeros(96, 96, dtype=torch.bool)}
        >>> found = find_candidates({"image": image, "dx": torch.tensor(0.2), "dy": torch.tensor(0.2), **plane})
        >>> round(float(found["y"].iloc[0])), bool(found["tangential"].iloc[0] > 0.5)
        (21, True)
    """
    level, noise = (value[0, :, None, None].numpy() for value in sky(sample["image"][None]))
    image, bad = sample["image"].numpy() - level, sample["mask"].numpy()
    scales = float(sample["dy"]), float(sample["dx"])
    residual = _without_members(image, noise, np.hypot(*sample["sky"].numpy()), scales)
    smoothed = ndimage.gaussian_filter(residual, [max(LEAST, SMOOTH / scale) for scale in scales])
    smoothed[bad] = 0.0
    sigma = max(_spread(smoothed[~bad]), float(np.finfo(np.float32).tiny))
    labels, count = ndimage.label(smoothed > THRESHOLD * sigma, structure=np.ones((3, 3)))
    area = np.bincount(labels.ravel(), minlength=count + 1)
    kept = area >= max(FEWEST, SMALLEST / (scales[0] * scales[1]))
    kept[0] = False
    numbers = np.cumsum(kept) * kept  # those that are kept, counted anew from 1; 0 for the rest
    table = _measured(numbers[labels], int(kept.sum()), smoothed / sigma, image, sample["sky"].numpy(), scales)
    table["partners"] = _partners(table)
    return table[list(COLUMNS)].sort_values("signal", ascending=False, ignore_index=True)


def _spread(values: Array) -> float:
    """Standard deviation of the sky among values, most of which are sky (MAD of those below the median)."""
    middle = float(np.median(values))
    return MAD_TO_SIGMA * 2**0.5 * float(np.median(middle - values[values <= middle]))


def _without_members(image: Array, noise: Array, radius: Array, scales: tuple[float, float]) -> Array:
    """The bluest band less the members, in units of its noise; with one band, less its smooth part."""
    if len(image) == 1:
        smooth = ndimage.gaussian_filter(image[0], [WIDE / scale for scale in scales])
        return np.asarray((image[0] - smooth) / noise[0], dtype=np.float64)
    blue, red = image[0], image[-1]
    telling = (red > BRIGHT * noise[-1]) & (radius < WITHIN)
    ratio = float(np.median(blue[telling] / red[telling])) if telling.any() else 0.0
    ratio = max(ratio, 0.0)
    return np.asarray((blue - ratio * red) / np.sqrt(noise[0] ** 2 + (ratio * noise[-1]) ** 2), dtype=np.float64)


def _measured(
    labels: NDArray[np.int64], count: int, signal: Array, image: Array, sky_xy: Array, scales: tuple[float, float]
) -> pd.DataFrame:
    """Places, polar moments and brightness of the regions 1 to ``count``; sums over pixels, all regions at once."""
    row, column = np.nonzero(labels)
    which, weight = labels[row, column] - 1, signal[row, column]
    east, north = sky_xy[:, row, column].astype(np.float64)

    def mean(values: Array) -> Array:
        sums = np.bincount(which, weight * values, minlength=count)
        return np.asarray(sums / np.bincount(which, weight, minlength=count))

    at_east, at_north = mean(east), mean(north)
    azimuth = np.arctan2(mean(north / np.hypot(east, north).clip(1e-6)), mean(east / np.hypot(east, north).clip(1e-6)))
    turn = np.angle(np.exp(1j * (np.arctan2(north, east) - azimuth[which])))
    distance = np.hypot(east, north)
    radius = mean(distance)
    pixel = scales[0] * scales[1]
    around, towards = mean((radius[which] * turn) ** 2), mean((distance - radius[which]) ** 2)
    around, towards = np.sqrt(around + pixel / 12), np.sqrt(towards + pixel / 12)  # a pixel's own extent
    pixels = np.bincount(which, minlength=count)
    # a median, because a member may cover a part of an arc
    numbers = np.arange(1, count + 1)
    blue, red = (np.asarray(ndimage.median(band, labels, numbers), dtype=np.float64) for band in (image[0], image[-1]))
    surface = -2.5 * np.log10(np.bincount(which, weight, minlength=count) / pixels)  # members are not in it
    with np.errstate(invalid="ignore", divide="ignore"):  # a region without red light has no colour
        colour = -2.5 * np.log10(blue / red) if len(image) > 1 else np.full(count, np.nan)
    found = {
        "x": mean(column.astype(np.float64)), "y": mean(row.astype(np.float64)),
        "east": at_east, "north": at_north, "radius": radius, "azimuth": azimuth, "area": pixels * pixel,
        "tangential": np.log(around / towards), "length": np.sqrt(12.0) * around, "width": np.sqrt(12.0) * towards,
        "signal": np.bincount(which, weight, minlength=count) / np.sqrt(pixels), "surface": surface, "colour": colour,
    }  # fmt: skip
    return pd.DataFrame(found)


def _partners(table: pd.DataFrame) -> NDArray[np.int64]:
    """How many others may be images of the same source."""
    surface, azimuth = table["surface"].to_numpy(), table["azimuth"].to_numpy()
    colour, bent = table["colour"].fillna(0.0).to_numpy(), table["tangential"].to_numpy() > 0
    apart = np.abs(np.angle(np.exp(1j * (azimuth[:, None] - azimuth)))) > ASUNDER
    like = np.abs(surface[:, None] - surface) < ALIKE
    like &= (np.abs(colour[:, None] - colour) < ALIKE) & apart & bent & bent[:, None]
    return np.asarray(like.sum(1), dtype=np.int64)
