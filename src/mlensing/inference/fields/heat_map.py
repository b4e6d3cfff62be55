"""A finder slid over a field: the log-odds of a lens at each place, on a grid that is finer where it may matter.

A place is the centre of a window, which lies wholly within the field: the outermost half window has no value (NaN), and
neither has a place whose window is mostly without data. Positions are pixels of the field, from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from mlensing.data.field import Field
from mlensing.errors import ConfigError
from mlensing.inference.fields.spans import spans
from mlensing.inference.fields.windows import Array, Peak, Window, highest, judge
from mlensing.inference.predictor import Predictor

Flags = NDArray[np.bool_]


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
        level = np.where(np.isfinite(self.logit), self.logit, -np.inf)
        rows, columns = np.nonzero((level == maximum_filter(level, size=3)) & np.isfinite(level) & self.judged)
        found = self.y[rows], self.x[columns], self.logit[rows, columns], self.unlike[rows, columns]
        return highest(*found, self.window, most)


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
        i, j = np.nonzero(new)
        corners = np.stack([rows[i], columns[j]], 1)
        logit[i, j], unlike[i, j] = judge(
            predictor, field, window, corners, batch_size=batch_size, prevalence=prevalence
        )
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
