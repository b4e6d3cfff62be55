"""What an image looks like, in numbers an astronomer can name: noise, PSF, colour, brightness, neighbours.

Conventions: images are [N, band, y, x] in the order blue to red, N images at once; colour composites are divided by
255, linear images by their own sky noise, after which both are treated alike. Radii are in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlensing.evaluation.curves import Array

Images = NDArray[np.float32]
WHITE = 250.0 / 255.0
"""A composite's channel from here on counts as saturated."""
CORE, HALO, RINGS = 3.0, 10.0, ((0, 4), (4, 10), (10, 20), (20, 32))
MAD_TO_SIGMA = 1.4826


def scaled(images: Images, *, composite: bool) -> Images:
    """Images in the unit of the features: 0..1 for a composite, else sky noise above the sky level.

    Arguments:
        images: [N, band, y, x].
        composite: 8-bit colour, 0..255.

    Example:
        >>> scaled(np.full((1, 3, 16, 16), 255.0, np.float32), composite=True).max()
        np.float32(1.0)
    """
    if composite:
        return np.asarray(images / np.float32(255.0), np.float32)
    floor = 1e-6 * np.abs(images).max((2, 3)) + np.finfo(np.float32).tiny  # a flat image has no noise to be its unit
    noise = np.maximum(_noise(images, 1), floor)[..., None, None]
    return np.asarray(images / noise, np.float32)


def appearance(images: Images, *, composite: bool) -> dict[str, Array]:
    """Every feature of every image.

    Arguments:
        images: [N, band, y, x], the same kind, size and bands throughout.
        composite: 8-bit colour, 0..255; else flux in any unit.

    Returns:
        name -> [N], finite; the names are the keys of ``FEATURES``.

    Example:
        >>> look = appearance(np.random.default_rng(0).normal(size=(4, 3, 32, 32)), composite=False)
        >>> bool((np.abs(look["noise correlation"]) < 0.2).all())
        True
    """
    content = scaled(np.asarray(images, np.float32), composite=composite)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: np.asarray(feature(content), float) for name, feature in FEATURES.items()}
    found["exact zeros"] = np.asarray((images == 0).mean((1, 2, 3)), float)
    return {name: np.nan_to_num(values, nan=0.0, posinf=1e3, neginf=-1e3) for name, values in found.items()}


def _grey(x: Images) -> Images:
    return np.asarray(x.mean(1), np.float32)


def _bends(x: Images, lag: int) -> Images:
    """Absolute second differences of pixels ``lag`` apart along both axes: [N, ..., triples]."""
    along = 2 * x[..., lag:-lag] - x[..., 2 * lag :] - x[..., : -2 * lag]
    across = 2 * x[..., lag:-lag, :] - x[..., 2 * lag :, :] - x[..., : -2 * lag, :]
    return np.asarray(np.abs(np.concatenate([p.reshape(*x.shape[:-2], -1) for p in (along, across)], -1)), np.float32)


def _noise(x: Images, lag: int) -> Array:
    """Standard deviation of a pixel from second differences ``lag`` apart, which slopes of light leave alone."""
    return np.asarray(MAD_TO_SIGMA / np.sqrt(6.0) * np.median(_bends(x, lag), -1), float)


def _level(x: Images) -> Array:
    return np.asarray(np.quantile(_grey(x), 0.2, axis=(1, 2)), float)


def _scatter(x: Images) -> Array:
    """Noise of the grey image; of a linear one in units of that of a single band: 0.58 for three free bands."""
    return _noise(_grey(x), 1)


def noise_correlation(x: Images) -> Array:
    """1 - var(bend over 1 px) / var(bend over 3 px), a bend being a second difference; 0 for white noise."""
    return 1.0 - (_noise(_grey(x), 1) / np.maximum(_noise(_grey(x), 3), 1e-6)) ** 2


def _channel_noise(x: Images) -> Array:
    """Correlation of the noise between the bluest and the reddest band."""
    if x.shape[1] == 1:
        return np.ones(len(x))
    parts = [np.diff(x[:, band], axis=-1).reshape(len(x), -1) for band in (0, -1)]
    faint = [np.where(np.abs(p) < np.quantile(np.abs(p), 0.9, axis=1, keepdims=True), p, 0.0) for p in parts]
    centred = [p - p.mean(1, keepdims=True) for p in faint]
    spread = np.sqrt((centred[0] ** 2).mean(1) * (centred[1] ** 2).mean(1))
    return np.asarray((centred[0] * centred[1]).mean(1) / np.maximum(spread, 1e-9), float)


def _noise_colour(x: Images) -> Array:
    """Noise of the bluest band over that of the reddest, as a logarithm; zero where each is its own unit."""
    return np.log(np.maximum(_noise(x[:, 0], 1), 1e-4) / np.maximum(_noise(x[:, -1], 1), 1e-4))


def power_slope(x: Images) -> Array:
    """Slope of the logarithmic power spectrum between 0.1 and 0.5 cycles a pixel; 0 for white noise."""
    grey = _grey(x)
    size = grey.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = np.abs(np.fft.rfft2((grey - np.median(grey, axis=(1, 2), keepdims=True)) * window)) ** 2
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    edges = np.geomspace(0.1, 0.5, 9)
    shells = [(k >= low) & (k < high) for low, high in itertools.pairwise(edges)]
    spectrum = np.stack([np.log(power[:, shell].mean(1) + 1e-12) for shell in shells], 1)
    middle = np.log(np.sqrt(edges[1:] * edges[:-1]))
    return np.asarray(np.polyfit(middle, spectrum.T, 1)[0], float)


def _blocks(x: Images) -> Array:
    """Excess of the steps at every eighth column over the others: the grid that JPEG leaves."""
    step = np.abs(np.diff(_grey(x), axis=-1)).mean(1)
    phases = np.stack([step[:, phase::8].mean(1) for phase in range(8)], 1)
    return np.asarray(phases.max(1) / np.maximum(np.median(phases, 1), 1e-9) - 1.0, float)


def _radius(x: Images) -> Array:
    y, z = (np.arange(n) - (n - 1) / 2 for n in x.shape[-2:])
    return np.asarray(np.hypot(y[:, None], z), float)


def _ring(plane: Images, low: float, high: float) -> Array:
    """Mean of [N, y, x] between two radii."""
    radius = _radius(plane)
    return np.asarray(plane[:, (radius >= low) & (radius < high)].mean(1), float)


def _above(x: Images) -> Images:
    return np.asarray(_grey(x) - _level(x)[:, None, None], np.float32)


def concentration(x: Images) -> Array:
    """Light within 3 px over light within 10 px of the centre, above the sky."""
    light, radius = _above(x), _radius(x)
    return np.asarray(light[:, radius < CORE].sum(1) / np.maximum(light[:, radius < HALO].sum(1), 1e-6), float)


def central_width(x: Images) -> Array:
    """Full width at half maximum [px] of the central peak: of the circle with as many pixels above half of it."""
    light, radius = _above(x), _radius(x)
    inner = np.where(radius < HALO, light, 0.0)
    peak = np.where(radius < CORE, light, 0.0).max((1, 2))
    return np.asarray(2.0 * np.sqrt((inner > 0.5 * peak[:, None, None]).sum((1, 2)) / np.pi), float)


def _sharpness(x: Images) -> Array:
    """Brightest curvature over the brightest light: how narrow the narrowest thing is."""
    g = _above(x)
    curved = 4 * g[:, 1:-1, 1:-1] - g[:, 2:, 1:-1] - g[:, :-2, 1:-1] - g[:, 1:-1, 2:] - g[:, 1:-1, :-2]
    return np.asarray(np.quantile(curved, 0.998, axis=(1, 2)) / np.maximum(np.quantile(g, 0.998, axis=(1, 2)), 1e-6))


def _colour(low: float, high: float) -> Callable[[Images], Array]:
    """Blue minus red over their sum, above the sky, between two radii."""

    def colour(x: Images) -> Array:
        sky = np.quantile(x, 0.2, axis=(2, 3))
        blue, red = (_ring(x[:, band], low, high) - sky[:, band] for band in (0, -1))
        return np.asarray((blue - red) / np.maximum(np.abs(blue) + np.abs(red), 1e-3), float)

    return colour


def _colour_gradient(x: Images) -> Array:
    return np.asarray(_colour(*RINGS[1])(x) - _colour(*RINGS[0])(x), float)


def _brightness(low: float, high: float) -> Callable[[Images], Array]:
    return lambda x: _ring(_grey(x), low, high)


def _sky_colour(x: Images) -> Array:
    sky = np.quantile(x, 0.2, axis=(2, 3))
    return np.asarray(sky[:, 0] - sky[:, -1], float)


def _saturated(x: Images) -> Array:
    """Share of values at white (composites), or at the largest value of the image: many only where it is clipped."""
    top = x.max((1, 2, 3), keepdims=True)
    return np.asarray((x >= np.maximum(top * WHITE, WHITE)).mean((1, 2, 3)), float)


def neighbours(x: Images) -> Array:
    """Peaks at least 6 px off centre, 5 noise of the 3 x 3 mean above the sky."""
    g = _smooth(_above(x))
    inner = g[:, 1:-1, 1:-1]
    height, width = inner.shape[1:]
    shifts = [(y, z) for y in range(3) for z in range(3) if (y, z) != (1, 1)]
    highest = np.stack([g[:, y : y + height, z : z + width] for y, z in shifts]).max(0)
    noise = np.maximum(_noise(_grey(x), 3), 0.004)[:, None, None] / 2.0
    off = _radius(g)[1:-1, 1:-1] >= 6.0
    return np.asarray(((inner > highest) & (inner > 5.0 * noise) & off).sum((1, 2)), float)


def _smooth(g: Images) -> Images:
    padded = np.pad(g, ((0, 0), (1, 1), (1, 1)), mode="edge")
    shifts = [padded[:, y : y + g.shape[1], z : z + g.shape[2]] for y in range(3) for z in range(3)]
    return np.asarray(np.mean(shifts, axis=0), np.float32)


def _covered(x: Images) -> Array:
    """Share of pixels that hold light: 3 noise above the sky after smoothing."""
    g = _smooth(_above(x))
    return np.asarray((g > 1.5 * np.maximum(_noise(_grey(x), 3), 0.004)[:, None, None]).mean((1, 2)), float)


def asymmetry(x: Images) -> Array:
    """Sum |I - I turned by 180 degrees| / (2 sum |I|) within 20 px (Conselice+2000), sky not taken out."""
    light, near = _smooth(_above(x)), _radius(x) < RINGS[2][1]
    apart = np.abs(light - light[:, ::-1, ::-1])[:, near].sum(1)
    return np.asarray(apart / np.maximum(2.0 * np.abs(light)[:, near].sum(1), 1e-6), float)


FEATURES: dict[str, Callable[[Images], Array]] = {
    "sky level": _level,
    "sky colour": _sky_colour,
    "sky scatter": _scatter,
    "noise correlation": noise_correlation,
    "noise shared by bands": _channel_noise,
    "noise blue / red": _noise_colour,
    "power spectrum slope": power_slope,
    "8-pixel grid": _blocks,
    "central width": central_width,
    "concentration": concentration,
    "sharpness": _sharpness,
    "brightness, centre": _brightness(*RINGS[0]),
    "brightness, 4-10 px": _brightness(*RINGS[1]),
    "brightness, 10-20 px": _brightness(*RINGS[2]),
    "brightness, outskirts": _brightness(*RINGS[3]),
    "colour, centre": _colour(*RINGS[0]),
    "colour, 4-10 px": _colour(*RINGS[1]),
    "colour, 10-20 px": _colour(*RINGS[2]),
    "colour gradient": _colour_gradient,
    "saturated": _saturated,
    "neighbours": neighbours,
    "covered by light": _covered,
    "asymmetry": asymmetry,
}
"""Features by name; ``appearance`` adds ``exact zeros``, which only the raw values show."""
