"""The figures of the paper: confusion, ROC curves, agreement, reliability, purity; in PDF and PNG, equal bytes.

Each function takes a `Paper` and a `Theme` and returns a `Figure` that belongs to no window, as in ``figures``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mlensing.evaluation.calibration import BINS, Bins, equal_mass_bins, equal_width_bins, sigmoid
from mlensing.evaluation.curves import LENS, Array, purity_at_prevalence, roc_curve, thin, threshold_counts
from mlensing.evaluation.figures import FEW, LIGHT, Theme, new_figure, style_of, wilson
from mlensing.evaluation.fusion import disagreements, error_correlations
from mlensing.evaluation.paper import CLAIMS, Paper, confusion
from mlensing.provenance import replacing

SKY = 1e-3
"""Share of lenses on the sky, as the seed's document takes it."""
COLOURS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
LINES = ("--", "-.", ":")
"""Of members, in turn (Okabe & Ito 2008), so that a pair shares neither colour nor line before the seventh."""
PRINTED: dict[str, Any] = {
    "pdf.fonttype": 42,  # letters stay letters
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
}
UNDATED: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""By format: what would make the bytes depend on the day or on the version of matplotlib."""


def write_figures(paper: Paper, folder: str | Path, *, note: str = "", theme: Theme = LIGHT) -> list[Path]:
    """Write every figure as ``NAME.pdf`` and ``NAME.png``; that of agreement takes two members.

    Arguments:
        note: printed small in the corner of each, such as what set it is made from.

    Returns:
        paths of what was written.
    """
    written = []
    for name, draw in FIGURES.items():
        if draw is agreement and len(paper.members) < 2:
            continue
        with mpl.rc_context(style_of(theme) | PRINTED):
            figure = draw(paper, theme)
            if note:
                figure.supxlabel(note, x=0.99, ha="right", fontsize=7, color=theme.ink)
            for ending, metadata in UNDATED.items():
                path = Path(folder) / f"{name}.{ending}"
                with replacing(path) as beside:
                    figure.savefig(beside, format=ending, metadata=metadata)
                written.append(path)
    return written


def confusion_matrix(paper: Paper, theme: Theme) -> Figure:
    """Numbers of test images by truth and by what the ensemble calls them at probability 0.5; shares of the truth."""
    figure, (ax,) = new_figure(theme, width=4.8)
    cells = confusion(paper.label, paper.ensemble)
    shares = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    _heat(
        ax,
        shares,
        [[f"{int(n):,}\n{s:.1%}" for n, s in zip(*row, strict=True)] for row in zip(cells, shares, strict=True)],
    )
    names = ["non-lens", "lens"]
    ax.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names, xlabel="called", ylabel="truth")
    return figure


def _heat(ax: Axes, values: Array, words: list[list[str]], *, size: float = 10.0) -> None:
    """Cells from white to blue by value in [0, 1], each with its words."""
    ax.grid(False)
    ax.imshow(values, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(values.shape):
        colour = "white" if values[row, column] > 0.6 else "black"
        ax.text(column, row, words[row][column], ha="center", va="center", color=colour, fontsize=size)


def _drawn(paper: Paper, theme: Theme) -> Iterator[tuple[Array, dict[str, Any]]]:
    """Log-odds and line of each member, thin, and of the ensemble, thick, last and so on top."""
    for number, (key, odds) in enumerate(paper.members.items() if len(paper.members) > 1 else ()):
        colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
        yield odds, {"label": key, "color": colour, "linestyle": line, "linewidth": 1.2}
    yield paper.ensemble, {"label": "ensemble", "color": theme.lens, "linewidth": 2.0}


def roc(paper: Paper, theme: Theme) -> Figure:
    """Recall against a logarithmic false positive rate, of each member and of the ensemble."""
    figure, (ax,) = new_figure(theme)
    floor = 0.3 / max(int(np.sum(paper.label < LENS)), 1)
    for odds, line in _drawn(paper, theme):
        fpr, tpr = roc_curve(threshold_counts(paper.label, odds))
        ax.step(np.maximum(fpr, floor), tpr, where="post", **line)
    chance = np.geomspace(floor, 1.0, 100)
    ax.plot(chance, chance, color=theme.ink, linestyle=":", linewidth=1.2, label="guessing")
    for rate in (1e-2, 1e-3):
        ax.axvline(rate, color=theme.ink, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set(xscale="log", xlim=(floor, 1.0), ylim=(0.0, 1.03), xlabel="false positive rate", ylabel="recall")
    framed = {"frameon": True, "facecolor": "white", "edgecolor": "none"}
    ax.legend(loc="upper left" if _early_recall(fpr, tpr) < 0.5 else "lower right", fontsize=8, **framed)
    return figure


def _early_recall(fpr: Array, tpr: Array) -> float:
    """Recall at a false positive rate of 1 %: says which corner of the figure is empty."""
    return float(np.max(tpr[fpr <= 0.01], initial=0.0))


def agreement(paper: Paper, theme: Theme) -> Figure:
    """Left: of each pair, correlation of errors and share of images judged apart. Right: spread of the logits."""
    figure, (left, right) = new_figure(theme, columns=2, width=9.6)
    logit, keys = np.stack(list(paper.members.values())), list(paper.members)
    correlation, differ = error_correlations(logit, paper.label), disagreements(logit)
    words = [[f"{c:.2f}\n{d:.1%}" for c, d in zip(*row, strict=True)] for row in zip(correlation, differ, strict=True)]
    _heat(left, np.nan_to_num(correlation), words, size=min(10.0, 42.0 / len(keys)))
    left.set(xticks=range(len(keys)), yticks=range(len(keys)), yticklabels=keys)
    left.set_xticklabels(keys, rotation=40, ha="right")
    left.set_title("correlation of errors, share that differ", fontsize=10)
    spread = logit.std(0)
    edges = np.linspace(0.0, float(np.percentile(spread, 99.5)) or 1.0, 41)
    for name, chosen, colour, line in _classes(paper, theme):
        number = np.histogram(np.minimum(spread[chosen], edges[-1]), bins=edges)[0]
        right.stairs(number, edges, color=colour, linestyle=line, linewidth=1.8, label=name)
    right.axvline(spread.mean(), color=theme.ink, linewidth=1.2, label=f"mean {spread.mean():.2f}")
    aim = CLAIMS["disagreement"]
    right.axvline(aim, color=theme.ink, linewidth=1.2, linestyle=":", label=f"aim {aim}")
    right.set(xlabel="standard deviation of members' logits", ylabel="images")
    right.legend(loc="upper right", fontsize=8)
    return figure


def _classes(paper: Paper, theme: Theme) -> list[tuple[str, Any, str, str]]:
    lens = paper.label >= LENS
    return [("lenses", lens, theme.lens, "-"), ("non-lenses", ~lens, theme.other, "--")]


def reliability(paper: Paper, theme: Theme) -> Figure:
    """Observed share of lenses against stated probability, before and after calibration: linear, and logarithmic."""
    figure, (left, right) = new_figure(theme, columns=2, width=9.6)
    stages = [("before calibration", paper.raw, theme.other, "s"), ("calibrated", paper.ensemble, theme.lens, "o")]
    stated = [sigmoid(odds) for _, odds, _, _ in stages]
    number = min(BINS, max(paper.label.size // FEW, 1))
    crowded = [equal_mass_bins(paper.label, p, number) for p in stated]
    floor = max(0.5 * min(float(bins.confidence.min()) for bins in crowded), 0.1 / paper.label.size)
    for (name, _, colour, mark), p, bins in zip(stages, stated, crowded, strict=True):
        look = {"color": colour, "capsize": 2.5, "label": name, "markersize": 4}
        _observed(left, equal_width_bins(paper.label, p), 0.0, {"fmt": f"{mark}-", **look})
        _observed(right, bins, floor, {"fmt": mark, **look})
    for ax, low in ((left, 0.0), (right, floor)):
        ax.plot([low, 1], [low, 1], color=theme.ink, linestyle=":", linewidth=1.2)
        ax.set(xlabel="stated probability", ylabel="observed share of lenses")
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), title="bins of equal width")
    right.set(xscale="log", yscale="log", xlim=(0.8 * floor, 1.3), ylim=(0.8 * floor, 1.3), title="of equal size")
    left.legend(loc="upper left")
    return figure


def _observed(ax: Axes, bins: Bins, floor: float, look: Mapping[str, Any]) -> None:
    """Bins with Wilson's ranges; one without any lens stands at the floor."""
    low, high = wilson(bins.observed, bins.members)
    shown = np.maximum(bins.observed, floor)
    bars = np.clip([shown - np.maximum(low, floor), high - shown], 0.0, None)
    ax.errorbar(np.maximum(bins.confidence, floor), shown, yerr=bars, **look)


def purity_completeness(paper: Paper, theme: Theme) -> Figure:
    """Purity against completeness of each member and of the ensemble: in the test split, and on the sky."""
    figure, (left, right) = new_figure(theme, columns=2, width=9.6)
    here = float(np.mean(paper.label >= LENS))
    for ax, prevalence in ((left, here), (right, SKY)):
        for odds, line in _drawn(paper, theme):
            ax.plot(*_purity(paper.label, odds, prevalence), **line)
        ax.set(xlim=(0.0, 1.0), xlabel="completeness", ylabel="purity")
    left.set(ylim=(0.9 * here, 1.02), title=f"the test split, {here:.0%} lenses")
    right.set(yscale="log", ylim=(0.8 * SKY, 1.2), title=f"1 lens in {1 / SKY:,.0f} images")
    left.legend(loc="lower left", fontsize=8)
    return figure


def _purity(label: ArrayLike, odds: ArrayLike, prevalence: float) -> tuple[Array, Array]:
    """Completeness and purity at a prevalence, thinned, from the first threshold that a non-lens passes."""
    completeness, purity = purity_at_prevalence(threshold_counts(label, odds), prevalence)
    keep = np.flatnonzero(np.isfinite(purity))
    keep = keep[thin(keep.size)]
    return completeness[keep], purity[keep]


FIGURES: dict[str, Callable[[Paper, Theme], Figure]] = {
    "confusion_matrix": confusion_matrix,
    "roc": roc,
    "agreement": agreement,
    "reliability": reliability,
    "purity_completeness": purity_completeness,
}
