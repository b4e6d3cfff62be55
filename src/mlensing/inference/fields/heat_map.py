"""A finder slid over a field: the log-odds of a lens at each place, on a grid that is finer where it may matter.

A place is the centre of a window, which lies wholly within the field: the outermost half window has no value (NaN), and
neither has a place whose window is mostly without data. Positions are pixels of the field, from 0. Every window is
judged by its own sky, as a cutout would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.ndimage import maximum_filter

from mlensing.contract import ModelContract
from mlensing.data.cutout import Image, nearest_scale, select_bands
from mlensing.data.field import Field
from mlensing.data.framing import resample
from mlensing.errors import ConfigError
from mlensing.inference.fields.spans import spans
from mlensing.inference.predictor import Predictor

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
MOST_BAD = 0.5
"""Share of a window without data above which it is not judged."""


@dataclass(frozen=True)
class Window:
    """Rows and columns of the field that a network sees at once, and their spacing [arcsec/px] as it sees them."""

    rows: int
    columns: int
    size: int
    spacing: tuple[float, float]

    @classmethod
    def of(cls, field: Field, contract: ModelContract) -> Window:
        """The window of a contract on a field, larger or smaller than its input where the scales differ.

        Raises:
            ContractError: pixels of a kind that the network does not take.
            ConfigError: a field smaller than a window.
        """
        contract.require_representation("linear", where=field.where)
        size, scales = contract.input_size, field.empty.scales
        dx, dy = scales or (float("nan"), float("nan"))
        x, y = (nearest_scale(scale, contract.pixel_scale) for scale in scales) if scales else (dx, dy)
        columns, rows = (round(size * x / dx), round(size * y / dy)) if scales else (size, size)
        if rows > field.shape[0] or columns > field.shape[1]:
            problem = f"{field.shape[0]} x {field.shape[1]} pixels, less than one window of {rows} x {columns}"
            raise ConfigError(field.where, problem, "Score it as a cutout: mlensing predict.")
        return cls(rows, columns, size, (dx * columns / size, dy * rows / size))


class Peak(NamedTuple):
    """A local maximum: position [px], log-odds, and distance from the training's images over its limit."""

    x: float
    y: float
    logit: float
    unlike: float


@dataclass(frozen=True)
class HeatMap:
    """Log-odds of a lens over a field.

    Attributes:
        y, x: places of the grid [px].
        logit: [y, x] log-odds, between judged places interpolated; NaN without data.
        unlike: [y, x] distance from the training's images, NaN where not judged.
        judged: [y, x] where a window was looked at.
        window: what was looked at there.
    """

    y: Array
    x: Array
    logit: Array
    unlike: Array
    judged: Flags
    window: Window

    def sample(self, y: Array, x: Array) -> Array:
        """Log-odds [y, x] at positions, linear in both between places of the grid, NaN outside of it."""
        return _interpolated(self.x, _interpolated(self.y, self.logit, y).T, x).T

    def peaks(self, most: int) -> list[Peak]:
        """The highest local maxima among judged places, no two within half a window of each other."""
        near = self.window.rows / 2, self.window.columns / 2
        level = np.where(np.isfinite(self.logit), self.logit, -np.inf)
        top = (level == maximum_filter(level, size=3)) & np.isfinite(level) & self.judged
        rows, columns = np.nonzero(top)
        found: list[Peak] = []
        for k in np.argsort(-level[rows, columns], kind="stable"):
            y, x = float(self.y[rows[k]]), float(self.x[columns[k]])
            if all(abs(p.y - y) >= near[0] or abs(p.x - x) >= near[1] for p in found):
                found.append(Peak(x, y, float(level[rows[k], columns[k]]), float(self.unlike[rows[k], columns[k]])))
            if len(found) == most:
                break
        return found


def _interpolated(known: Array, values: Array, wanted: Array) -> Array:
    """Linear along the first axis; NaN outside.

    Example:
        >>> _interpolated(np.array([0.0, 2.0]), np.array([[1.0], [3.0]]), np.array([1.0, 5.0]))[:, 0].tolist()
        [2.0, nan]
    """
    if len(known) == 1:
        return np.where((wanted == known[0])[:, None], values, np.nan)
    left = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    share = (wanted - known[left]) / (known[left + 1] - known[left])
    inside = (share >= 0) & (share <= 1)
    share = np.where(inside, share, np.nan)[:, None]
    low, high = values[left], values[left + 1]
    # at a place itself its neighbour does not count, be it NaN
    return np.where(share == 0, low, np.where(share == 1, high, low * (1 - share) + high * share))


def slide(
    predictor: Predictor,
    field: Field,
    *,
    stride: int = 4,
    coarse: int = 8,
    refine: float = 0.1,
    batch_size: int = 64,
    prevalence: float | None = None,
) -> HeatMap:
    """Judge windows on a coarse grid, and halve its spacing around the highest until the finest is reached.

    Arguments:
        predictor: the finders.
        field: an open field.
        stride: spacing of the finest grid [px].
        coarse: spacing of the first grid [px]: ``stride``, or twice, four times, ... as much.
        refine: share of the first grid's places around which it is refined; 1 judges the finest grid everywhere.
        batch_size: windows a step of the network.
        prevalence: share of lenses among places; None keeps that of the training.

    Raises:
        ConfigError: grids that cannot be, or a field smaller than a window.
        ContractError: bands that the network does not take.
    """
    steps = _steps(stride, coarse, refine)
    window = Window.of(field, predictor.contract)
    rows, columns = (
        _starts(*lengths, stride) for lengths in zip(field.shape, (window.rows, window.columns), strict=True)
    )
    logit, unlike = np.full((2, len(rows), len(columns)), np.nan)
    judged, threshold = np.zeros(logit.shape, bool), -np.inf
    wanted = np.ones_like(judged)
    for step in steps:
        new = wanted & _on_grid(logit.shape, step) & ~judged
        for where, images in _batches(field, window, rows, columns, new, batch_size, predictor.contract):
            composite, spacing = torch.zeros(len(images), dtype=torch.bool), torch.tensor(window.spacing)
            pixels = torch.from_numpy(images), composite, spacing.expand(len(images), 2)
            scores = predictor.score_pixels(*pixels)
            logit[where] = predictor.shifted(predictor.ensemble.fused(scores)[0], prevalence)
            unlike[where] = scores.unlike.mean(0)
        judged |= new
        if step == steps[0]:
            first = logit[new][np.isfinite(logit[new])]
            threshold = float(np.quantile(first, 1 - refine)) if len(first) else np.inf
        wanted = maximum_filter(np.where(judged, logit, -np.inf) >= threshold, size=2 * step - 1)
    y = np.asarray(rows + (window.rows - 1) / 2, np.float64)
    x = np.asarray(columns + (window.columns - 1) / 2, np.float64)
    return HeatMap(y, x, _filled(y, x, logit, judged, steps[0]), unlike, judged, window)


def _steps(stride: int, coarse: int, refine: float) -> list[int]:
    """Spacings of the grids in units of the finest."""
    ratio = coarse // stride if stride > 0 else 0
    if ratio < 1 or coarse % stride or ratio & (ratio - 1):
        problem = f"expected {stride}, {2 * stride}, {4 * stride}, ... pixels, got {coarse}"
        raise ConfigError("coarse", problem, "Take twice the stride, and a stride of 1 or more.")
    if not 0 <= refine <= 1:
        raise ConfigError("refine", f"expected a share in [0, 1], got {refine}", "Take 0.1.")
    return [ratio >> k for k in range(ratio.bit_length())]


def _starts(length: int, window: int, stride: int) -> NDArray[np.int64]:
    return np.array([span.start for span in spans(length, window, max(0, window - stride))])


def _on_grid(shape: tuple[int, ...], step: int) -> Flags:
    """Every ``step``-th place of both axes, and the last."""
    axes = [(np.arange(n) % step == 0) | (np.arange(n) == n - 1) for n in shape]
    return np.outer(*axes)


def _filled(y: Array, x: Array, logit: Array, judged: Flags, step: int) -> Array:
    """The log-odds, with those of the first grid interpolated where nothing finer was judged."""
    down, across = (np.flatnonzero(_on_grid((n, 1), step)[:, 0]) for n in logit.shape)
    between = _interpolated(x[across], _interpolated(y[down], logit[np.ix_(down, across)], y).T, x).T
    return np.where(judged, logit, between)


def _batches(
    field: Field,
    window: Window,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    wanted: Flags,
    size: int,
    contract: ModelContract,
) -> Iterator[tuple[tuple[NDArray[np.int64], NDArray[np.int64]], Image]]:
    """Places (row, column of the grid), and their windows [N, C, S, S], full batches but for the last."""
    places: list[tuple[int, int]] = []
    held: list[Image] = []
    busy = np.flatnonzero(wanted.any(1))
    for i in track(busy, "sliding", console=Console(stderr=True), transient=True, disable=len(busy) < 2):
        strip = select_bands(field.rows(rows[i], rows[i] + window.rows), contract.bands, where=field.where)
        for j in np.flatnonzero(wanted[i]):
            across = slice(columns[j], columns[j] + window.columns)
            if strip.mask[:, across].mean() > MOST_BAD:
                continue
            places.append((int(i), int(j)))
            held.append(strip.image[:, :, across])
            if len(held) == size:
                yield _where(places), framed(held, window)
                places, held = [], []
        held = [image.copy() for image in held]  # let the strip go
    if held:
        yield _where(places), framed(held, window)


def _where(places: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found = np.array(places)
    return found[:, 0], found[:, 1]


def framed(images: Sequence[Image], window: Window) -> Image:
    """Windows as the network takes them [N, C, S, S], linear flux conserved."""
    stack = np.stack(images)
    if stack.shape[-2:] == (window.size, window.size):
        return stack
    small = resample(stack.reshape(-1, *stack.shape[-2:]), (window.size, window.size), conserve_sum=True)
    return small.reshape(*stack.shape[:2], window.size, window.size)
