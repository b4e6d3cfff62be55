"""Real galaxies as sources: stamps of a catalogue, freed from sky, neighbours and noise, at one size and unit flux."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.simulate.draws import Draws
from mlensing.simulate.real.stamp_catalogue import Image, StampCatalogue
from mlensing.simulate.render.interpolation import lanczos_weights

SIZE = 96
"""Pixels a side of every clean stamp."""

HALF_LIGHT = 12.0
"""Pixels from the middle of every clean stamp that hold half its light."""

CACHED = 512  # clean stamps kept in memory, 37 kB each
CHECKED = 1000  # stamps that ``record`` tries
SMALLEST = 16  # pixels a side of a raw stamp
RESOLVED = 3.5  # half-light radius of a raw stamp [px]; below it there is a PSF to be seen and no galaxy
BORDER = 3  # pixels along the edge of a raw stamp that should show sky
BLUR = 2.0  # sigma [px] of the smoothing that tells light from noise
OCTAVES = 3  # of scales from 1 px on that are freed from noise
DETAIL = 4.0  # local power over that of the sky below which a detail is noise
PAD = 24  # pixels about a raw stamp into which its outskirts run
RINGS = 8  # a pixel, in which light is counted
FADE = 16  # pixels of a clean stamp over which it ends
OUTSKIRTS = 0.2  # their e-fold length in radii of the region: a disc's, seen to three times its half-light radius
DARKEST = 0.6  # of a pixel over the median around it; darker ones are noise at the edge of the region
TINY = 1e-30
SIGNIFICANT = 2.0  # sigma of the smoothed sky above which a pixel belongs to the galaxy
SIGNAL = 30.0  # smallest S/N of a galaxy that is worth lensing
CROPPED = 0.04  # largest share of the light in the outermost pixels


class Morphologies:
    """Galaxies of a catalogue, cleaned when they are asked for; the last ``CACHED`` are kept.

    Arguments:
        path: the folder.
        catalogue: what is in it.

    Example:
        >>> nowhere = Path("no/such/folder")
        >>> Morphologies.load(nowhere)
        Traceback (most recent call last):
        ...
        mlensing.errors.ConfigError: no/such/folder: no such folder. Give a folder with a GalSim RealGalaxyCatalog, ...
    """

    def __init__(self, path: str | Path, catalogue: StampCatalogue) -> None:
        self.path, self.catalogue = str(path), catalogue
        self._clean: OrderedDict[int, Tensor | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.catalogue)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _loaded, (self.path,)  # worker processes read the folder for themselves, once each

    @classmethod
    def load(cls, path: str | Path) -> Morphologies:
        """The galaxies of a folder in GalSim's RealGalaxyCatalog form.

        Raises:
            ConfigError: no catalogue there, a catalogue with columns missing, or none of its image files.
        """
        return cls(path, StampCatalogue.load(path))

    def choose(self, draws: Draws, name: str) -> Tensor:
        """A usable galaxy for each sample: the one drawn, or the next after it; [B] int64.

        Raises:
            ConfigError: no galaxy of the whole catalogue is usable.
        """
        drawn = (draws.uniform(name).double() * len(self)).long().clamp(max=len(self) - 1)
        return drawn.new_tensor([self._usable(first) for first in drawn.tolist()])

    def images(self, numbers: Tensor) -> Tensor:
        """Clean stamps [M, SIZE, SIZE] of galaxies that ``choose`` chose, each summing to 1."""
        stamps = [self._stamp(number) for number in numbers.tolist()]
        return torch.stack([stamp for stamp in stamps if stamp is not None]).to(numbers.device)

    def record(self) -> dict[str, Any]:
        """What stands in ``provenance.json``: which catalogue, and how many of its galaxies are of use.

        Of large catalogues ``CHECKED`` galaxies, evenly spread, are tried.

        Raises:
            ConfigError: none of them is usable.
        """
        tried = np.unique(np.linspace(0, len(self) - 1, min(len(self), CHECKED)).astype(int))
        used = sum(self._stamp(int(number)) is not None for number in tried)
        if not used:
            raise self._nothing()
        counts = {"listed": len(self) + self.catalogue.missing, "missing": self.catalogue.missing}
        counts |= {"checked": len(tried), "used": used, "dropped": len(tried) - used}
        return {"path": self.path, "hash": self.catalogue.digest, **counts}

    def _usable(self, first: int) -> int:
        for step in range(len(self)):
            number = (first + step) % len(self)
            if self._stamp(number) is not None:
                return number
        raise self._nothing()

    def _nothing(self) -> ConfigError:
        remedy = "Give stamps of 16 pixels or more, well resolved, with some sky around the galaxy."
        return ConfigError(self.path, "none of its galaxy stamps is usable", remedy)

    def _stamp(self, number: int) -> Tensor | None:
        if number in self._clean:
            self._clean.move_to_end(number)
            return self._clean[number]
        raw = self.catalogue.stamp(number)
        clean = None if raw is None else clean_stamp(raw)
        self._clean[number] = None if clean is None else torch.from_numpy(clean)
        if len(self._clean) > CACHED:
            self._clean.popitem(last=False)
        return self._clean[number]


@lru_cache(maxsize=2)
def _loaded(path: str) -> Morphologies:
    return Morphologies.load(path)


def clean_stamp(raw: Image) -> NDArray[np.float32] | None:
    """A galaxy alone, centred on its centroid, ``HALF_LIGHT`` pixels in half-light radius, summing to 1.

    Arguments:
        raw: [y, x] any units, the galaxy near the middle.

    Returns:
        [SIZE, SIZE], zero along the border; None for a stamp without a galaxy, with pixels that are not numbers, too
        small, too noisy, or cut by its edge.
    """
    if min(raw.shape) < SMALLEST or not np.isfinite(raw).all():
        return None
    light = _galaxy(raw - np.median(raw[_border(raw.shape)]))
    if light is None:
        return None
    x, y, radius = _measure(light)
    if not RESOLVED < radius < 0.4 * min(raw.shape):
        return None
    stamp = _resampled(light, x, y, radius)
    off_x, off_y, measured = _measure(stamp)  # on the finer grid, and without what lies beyond it
    middle, step = (SIZE - 1) / 2, radius / HALF_LIGHT
    stamp = _resampled(light, x + (off_x - middle) * step, y + (off_y - middle) * step, step * measured)
    return np.asarray(stamp / stamp.sum(), np.float32)


def _border(shape: tuple[int, ...], width: int = BORDER) -> NDArray[np.bool_]:
    border = np.ones(shape, dtype=bool)
    border[width:-width, width:-width] = False
    return border


def _galaxy(sky_free: Image) -> Image | None:
    """The light of the connected region at the middle, its noise smoothed away, on a frame ``PAD`` wider."""
    border, smooth = _border(sky_free.shape), ndimage.gaussian_filter(sky_free, BLUR)
    noise = max(_scatter(smooth[border]), 1e-3 * float(smooth.max()) / SIGNIFICANT)
    region = _central(smooth > SIGNIFICANT * noise, smooth)
    if region is None or sky_free[region].sum() < SIGNAL * _scatter(sky_free[border]) * np.sqrt(region.sum()):
        return None
    if smooth[region & _border(region.shape, 2)].sum() > CROPPED * smooth[region].sum():
        return None
    light = np.clip(_denoised(sky_free, border), 0, None)
    return _faded(np.pad(light, PAD), np.pad(region, PAD))


def _faded(light: Image, region: NDArray[np.bool_]) -> Image:
    """The light of a region, and beyond it what a disc's exponential outskirts would hold: a cut would be seen."""
    outside, nearest = ndimage.distance_transform_edt(~region, return_indices=True)
    length = OUTSKIRTS * np.sqrt(region.sum() / np.pi)
    rim = ~ndimage.binary_erosion(region, iterations=3)  # and all beyond: the bright inside must not smear outwards
    share = ndimage.gaussian_filter(rim.astype(float), max(length, BLUR))
    level = ndimage.gaussian_filter(rim * light[tuple(nearest)], max(length, BLUR)) / np.maximum(share, TINY)
    holes = DARKEST * ndimage.median_filter(light, 3)
    return np.asarray(np.where(region, np.maximum(light, holes), level * np.exp(-outside / length)))


def _denoised(image: Image, sky: NDArray[np.bool_]) -> Image:
    """Without what noise alone could make: details of each scale shrink by the scatter that the sky has in them.

    Differences of Gaussians in octaves (Starck & Murtagh 2006, Astronomical Image and Data Analysis, chapter 2), shrunk
    by the garrote of Breiman (1995) of their local power.
    """
    kept, finer = np.zeros_like(image), image
    for octave in range(OCTAVES):
        coarser = ndimage.gaussian_filter(image, 2.0**octave)
        detail, finer = finer - coarser, coarser
        power = ndimage.gaussian_filter(detail**2, 2.0**octave)
        kept += detail * np.clip(1 - DETAIL * _scatter(detail[sky]) ** 2 / np.maximum(power, TINY), 0, None)
    return np.asarray(kept + finer)


def _scatter(values: Image) -> float:
    """Robust standard deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _central(bright: NDArray[np.bool_], smooth: Image) -> NDArray[np.bool_] | None:
    """The connected region of the brightest pixel near the middle, its rim smooth; None where the middle is dark."""
    labels, _ = ndimage.label(bright)
    middle = tuple(slice(int(0.35 * n), int(0.65 * n) + 1) for n in smooth.shape)
    place = np.unravel_index(int(smooth[middle].argmax()), smooth[middle].shape)
    name = labels[middle][place]
    if not name:
        return None
    region = ndimage.gaussian_filter(ndimage.binary_fill_holes(labels == name).astype(float), BLUR) > 0.5
    return np.asarray(region) if region.any() else None


def _measure(light: Image) -> tuple[float, float, float]:
    """Centroid x, y and half-light radius in circles about it [px]."""
    y, x = np.indices(light.shape)
    total = light.sum()
    x0, y0 = float((light * x).sum() / total), float((light * y).sum() / total)
    ring = (np.hypot(x - x0, y - y0) * RINGS).astype(int)
    inside = np.cumsum(np.bincount(ring.ravel(), light.ravel())) / total
    return x0, y0, float(np.interp(0.5, inside, (np.arange(len(inside)) + 1) / RINGS))


def _resampled(light: Image, x: float, y: float, radius: float) -> Image:
    """On the grid of clean stamps, fading to zero in a circle short of its border."""
    step = radius / HALF_LIGHT
    line = torch.arange(SIZE) - (SIZE - 1) / 2
    across, along = (
        lanczos_weights((middle + line * step)[None], count, torch.tensor([step]))[0]
        for middle, count in ((x, light.shape[1]), (y, light.shape[0]))
    )
    stamp = along @ torch.from_numpy(light).float() @ across.T
    fade = ((SIZE / 2 - 1.5 - torch.hypot(line[:, None], line)) / FADE).clamp(0, 1)
    return np.asarray((stamp.clamp(min=0) * fade**2 * (3 - 2 * fade)).double().numpy())
