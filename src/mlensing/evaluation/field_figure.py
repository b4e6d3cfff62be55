"""A field beside its heat-map, with the candidates marked and numbered on both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from mlensing.evaluation.figures import DARK, STYLE
from mlensing.provenance import replacing

MARKED = 10
"""Candidates that are marked."""
RARE, DECADES = 0.2, 3
"""Highest probability below which colours go by decades, and how many there are."""
GROUND = "#101317"


def write_field_figure(
    path: str | Path,
    picture: NDArray[np.uint8],
    probability: ArrayLike,
    places: Sequence[tuple[float, float]],
    scores: ArrayLike,
    half: float,
) -> None:
    """Write the PNG.

    Arguments:
        path: the file.
        picture: RGB [y, x, 3].
        probability: [y, x] of the same pixels, NaN where there is none.
        places: x, y of each candidate [px], the most probable first.
        scores: probability of each.
        half: half the side of a mark [px].

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "field.png"
        >>> write_field_figure(path, np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30)), [(4, 5)], [0.9], 3)
        >>> path.stat().st_size > 1000
        True
    """
    height, width = picture.shape[:2]
    style: Any = {**STYLE, "text.color": DARK.ink, "axes.edgecolor": DARK.grid, "axes.titlecolor": DARK.ink}
    with mpl.rc_context(style):
        figure = Figure(figsize=(13, 6.3 * height / width + 0.5), dpi=100, facecolor=GROUND)
        FigureCanvasAgg(figure)
        left, right, beside_it = figure.subplots(1, 3, width_ratios=(30, 30, 1))
        figure.subplots_adjust(left=0.01, right=0.95, bottom=0.02, top=0.94, wspace=0.03)
        left.imshow(picture, origin="lower", interpolation="nearest")
        colours = mpl.colormaps["magma"].with_extremes(bad=DARK.grid)
        shown = right.imshow(
            probability, origin="lower", norm=_norm(probability), cmap=colours, interpolation="nearest"
        )
        bar = figure.colorbar(shown, cax=beside_it, label="probability")
        bar.ax.tick_params(colors=DARK.ink)
        bar.ax.yaxis.label.set_color(DARK.ink)
        for axes, title in ((left, "field"), (right, "lens probability")):
            axes.set_title(title)
            axes.set_axis_off()
            _mark(axes, places[:MARKED], np.asarray(scores, float)[:MARKED], half)
        with replacing(path) as beside:
            figure.savefig(beside, facecolor=GROUND, metadata={"Software": None})


def _norm(probability: ArrayLike) -> Normalize:
    """From 0 to 1; where the highest is far below, as at a real prevalence, by decades below it."""
    highest = float(np.nanmax([0.0, *np.ravel(probability)]))
    rare = 0 < highest < RARE
    return LogNorm(highest / 10**DECADES, highest, clip=True) if rare else Normalize(0, 1)


def _mark(axes: Axes, places: Sequence[tuple[float, float]], scores: NDArray[np.float64], half: float) -> None:
    for number, ((x, y), score) in enumerate(zip(places, scores, strict=True), 1):
        axes.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, edgecolor=DARK.lens, lw=1.0))
        words = f"{number}: {score:.2g}"
        axes.text(x - half, y + half, words, color=DARK.lens, fontsize=7, va="top", clip_on=True)
