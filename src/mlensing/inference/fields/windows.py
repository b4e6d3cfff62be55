"""Windows of a field, cut out and judged one by one, each by its own sky noise, as a cutout would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mlensing.contract import ModelContract
from mlensing.data.cutout import Image, select_bands
from mlensing.data.field import Field
from mlensing.data.framing import nearest_scale, resample
from mlensing.errors import ConfigError
from mlensing.inference.predictor import Predictor

Array = NDArray[np.float64]
Corners = NDArray[np.int64]
"""First row and column of each window, [N, 2]."""
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
    """A window that stands out: its centre [px], log-odds, and distance from the training's images over its limit."""

    x: float
    y: float
    logit: float
    unlike: float


def highest(y: Array, x: Array, logit: Array, unlike: Array, window: Window, most: int) -> list[Peak]:
    """The most probable of some windows, no two within half a window of each other; those without a value are left out.

    Arguments:
        y, x: their centres [N], px.
        logit, unlike: [N].
        window: of which kind they are.
        most: how many, at most.
    """
    found: list[Peak] = []
    for k in np.argsort(-logit, kind="stable"):
        peak = Peak(*(float(part[k]) for part in (x, y, logit, unlike)))
        far = (abs(p.y - peak.y) >= window.rows / 2 or abs(p.x - peak.x) >= window.columns / 2 for p in found)
        if np.isfinite(peak.logit) and all(far):
            found.append(peak)
        if len(found) == most:
            break
    return found


def judge(
    predictor: Predictor,
    field: Field,
    window: Window,
    corners: Corners,
    *,
    batch_size: int = 64,
    prevalence: float | None = None,
) -> tuple[Array, Array]:
    """Log-odds [N] of some windows, and their distance [N] from the training's images; NaN for those without data.

    Arguments:
        predictor: the finders.
        field: an open field.
        window: of which kind they are.
        corners: where each begins, by increasing row.
        batch_size: windows a step of the network.
        prevalence: share of lenses among windows; None keeps that of the training.

    Raises:
        ContractError: bands that the network does not take.
    """
    logit, unlike = np.full((2, len(corners)), np.nan)
    for which, images in _batches(field, window, corners, batch_size, predictor.contract):
        composite, spacing = torch.zeros(len(images), dtype=torch.bool), torch.tensor(window.spacing)
        scores = predictor.score_pixels(torch.from_numpy(images), composite, spacing.expand(len(images), 2))
        logit[which] = predictor.shifted(predictor.ensemble.fused(scores)[0], prevalence)
        unlike[which] = scores.unlike.mean(0)
    return logit, unlike


def _batches(
    field: Field, window: Window, corners: Corners, size: int, contract: ModelContract
) -> Iterator[tuple[list[int], Image]]:
    """Which windows, and their pixels [N, C, S, S], full batches but for the last."""
    which: list[int] = []
    held: list[Image] = []
    rows, firsts = np.unique(corners[:, 0], return_index=True)
    lasts = [*firsts[1:], len(corners)]
    steps = list(zip(rows.tolist(), firsts.tolist(), lasts, strict=True))
    for row, first, last in track(
        steps, "judging", console=Console(stderr=True), transient=True, disable=len(rows) < 2
    ):
        strip = select_bands(field.rows(row, row + window.rows), contract.bands, where=field.where)
        for k in range(first, last):
            across = slice(corners[k, 1], corners[k, 1] + window.columns)
            if strip.mask[:, across].mean() > MOST_BAD:
                continue
            which.append(k)
            held.append(strip.image[:, :, across])
            if len(held) == size:
                yield which, framed(held, window)
                which, held = [], []
        held = [image.copy() for image in held]  # let the strip go
    if held:
        yield which, framed(held, window)


def framed(images: Sequence[Image], window: Window) -> Image:
    """Windows as the network takes them [N, C, S, S], linear flux conserved."""
    stack = np.stack(images)
    if stack.shape[-2:] == (window.size, window.size):
        return stack
    small = resample(stack.reshape(-1, *stack.shape[-2:]), (window.size, window.size), conserve_sum=True)
    return small.reshape(*stack.shape[:2], window.size, window.size)
