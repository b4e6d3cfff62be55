"""The figures of a report, as SVG: one look, colours that colour-blind readers tell apart, equal bytes.

Each function takes a `Report` and a `Theme` and returns a `Figure` that belongs to no window.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mlensing.evaluation.calibration import BINS, equal_mass_bins, sigmoid
from mlensing.evaluation.curves import LENS, Array
from mlensing.evaluation.realism import Realism
from mlensing.evaluation.report import Numbers, Report


class Theme(NamedTuple):
    """Colours of a figure; lens and other are of the palette of Okabe & Ito (2008)."""

    ink: str
    grid: str
    lens: str
    other: str


Shown = TypeVar("Shown")
"""What a figure shows: a `Report`, or a `Realism`."""

FEW = 20
"""Images that a bin of the logarithmic reliability holds at least."""
BARS = 12
"""Features that a figure shows."""
LIGHT = Theme(ink="#30343b", grid="#dcdfe4", lens="#0072b2", other="#d55e00")
DARK = Theme(ink="#d5d9e0", grid="#3a404a", lens="#56b4e9", other="#e69f00")

STYLE: dict[str, Any] = {
    "svg.hashsalt": "mlensing",  # element ids that do not change from run to run
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def style_of(theme: Theme) -> Any:  # matplotlib types the keys one by one
    """Settings of matplotlib under which a figure is drawn and written."""
    inked = (
        "axes.edgecolor",
        "axes.labelcolor",
        "xtick.color",
        "ytick.color",
        "text.color",
        "axes.titlecolor",
    )
    return STYLE | dict.fromkeys(inked, theme.ink) | {"grid.color": theme.grid}


def new_figure(theme: Theme, columns: int = 1, width: float = 5.6) -> tuple[Figure, list[Axes]]:
    """A figure that belongs to no window, and its axes side by side, with grids."""
    figure = Figure(figsize=(width, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for ax in axes:
        ax.grid(True, color=theme.grid, linewidth=0.7)
    return figure, axes


def svg(draw: Callable[[Shown, Theme], Figure], shown: Shown, theme: Theme = LIGHT) -> bytes:
    """SVG of one figure function; the same input gives the same bytes.

    Example:
        >>> from mlensing.evaluation.measure import rank_scores
        >>> svg(histogram, rank_scores([0.0, 1.0, 2.0]))[:5]
        b'<?xml'
    """
    with mpl.rc_context(style_of(theme)):
        stream = io.BytesIO()
        draw(shown, theme).savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def recolour(drawn: bytes, old: Theme, new: Theme) -> bytes:
    """The same SVG in the colours of another theme, without drawing it again (half the time of a page).

    Example:
        >>> recolour(b"stroke: #0072b2", LIGHT, DARK)
        b'stroke: #56b4e9'
    """
    for before, after in zip(old, new, strict=True):
        drawn = drawn.replace(before.encode(), after.encode())
    return drawn


def roc(report: Report, theme: Theme) -> Figure:
    """Recall against a logarithmic false positive rate; the left end stands for no false positive at all."""
    figure, (ax,) = new_figure(theme)
    fpr, tpr = np.asarray(report.curves.fpr), np.asarray(report.curves.tpr)
    floor = 0.3 / max(report.counts.others, 1)
    for number, member in enumerate(report.members.values()):
        label = "its members" if number == 0 else None
        ends = np.maximum(np.asarray(member.fpr), floor)
        ax.step(ends, member.tpr, where="post", color=theme.other, alpha=0.6, linewidth=1.0, label=label)
    ax.step(np.maximum(fpr, floor), tpr, where="post", color=theme.lens, label=_name(report))
    chance = np.geomspace(floor, 1.0, 100)
    ax.plot(chance, chance, color=theme.ink, linestyle=":", linewidth=1.2, label="guessing")
    for rate in (1e-2, 1e-3):
        ax.axvline(rate, color=theme.ink, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set(xscale="log", xlim=(floor, 1.0), ylim=(0.0, 1.03), xlabel="false positive rate", ylabel="recall")
    _legend_above(ax)
    return figure


def _name(report: Report) -> str:
    return "the ensemble" if report.members else "this network"


def _legend_above(ax: Axes) -> None:
    """A legend over the axes: inside, curves and bars of some set would run through it."""
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.0)


def purity_completeness(report: Report, theme: Theme) -> Figure:
    """Left: purity and completeness against rank. Right: purity against completeness, here and on the sky."""
    figure, (left, right) = new_figure(theme, columns=2, width=9.6)
    points = report.curves
    left.plot(points.rank, points.purity, color=theme.lens, label="purity")
    left.plot(points.rank, points.completeness, color=theme.other, linestyle="--", label="completeness")
    left.set(xscale="log", ylim=(0.0, 1.03), xlabel="images inspected, best first", ylabel="share")
    left.legend(loc="best")
    here = f"this set ({report.prevalence:.1%} lenses)"
    right.plot(points.completeness, points.purity, color=theme.lens, label=here)
    if report.sky_prevalence is not None:
        label = f"1 lens in {1 / report.sky_prevalence:,.0f} images"
        right.plot(points.sky_completeness, points.sky_purity, color=theme.other, linestyle="--", label=label)
        right.set_yscale("log")  # purity on the sky spans decades
    bottom = report.sky_prevalence or 0.0  # the purity of a random list
    right.set(xlim=(0.0, 1.0), ylim=(bottom, 1.06), xlabel="completeness", ylabel="purity")
    right.legend(loc="best")
    return figure


def reliability(report: Report, theme: Theme) -> Figure:
    """Observed share of lenses against stated probability, with Wilson (1927) ranges, and the crowd below."""
    figure, (ax,) = new_figure(theme)
    points = report.curves
    stated, observed, members = (np.asarray(c) for c in (points.confidence, points.observed, points.members))
    low, high = wilson(observed, members)
    ax.plot([0, 1], [0, 1], color=theme.ink, linestyle=":", linewidth=1.2, label="calibrated")
    bars = np.clip([observed - low, high - observed], 0.0, None)
    ax.errorbar(stated, observed, yerr=bars, fmt="o-", color=theme.lens, capsize=2.5, label=_name(report))
    share = members / max(members.sum(), 1.0)
    ax.bar(stated, share, width=0.03, color=theme.other, alpha=0.6, label="share of images")
    ax.set(xlim=(-0.02, 1.02), ylim=(0.0, 1.03), xlabel="stated probability", ylabel="observed share")
    _legend_above(ax)
    return figure


def reliability_log(report: Report, theme: Theme) -> Figure:
    """Observed share of lenses against stated probability, both logarithmic: the rare end, where the sky is."""
    figure, (ax,) = new_figure(theme)
    label, logit = np.asarray(report.scores.label, float), np.asarray(report.scores.logit, float)
    known = np.isfinite(label) & np.isfinite(logit)
    bins = equal_mass_bins(label[known], sigmoid(logit[known]), min(BINS, max(int(known.sum()) // FEW, 1)))
    low, high = wilson(bins.observed, bins.members)
    floor = 0.5 * float(np.min(bins.confidence, initial=1e-1))
    ax.plot([floor, 1], [floor, 1], color=theme.ink, linestyle=":", linewidth=1.2, label="calibrated")
    some = bins.observed > 0  # a share of zero has no place on the axis: its bin shows the upper end of its range
    stated, shown = bins.confidence[some], bins.observed[some]
    bars = np.clip([shown - np.maximum(low[some], floor), high[some] - shown], 0.0, None)
    ax.errorbar(stated, shown, yerr=bars, fmt="o-", color=theme.lens, capsize=2.5, label="bins of equal size")
    if not some.all():
        ax.plot(bins.confidence[~some], high[~some], "v", color=theme.lens, mfc="none", label="no lens: at most")
    ax.set(xscale="log", yscale="log", xlim=(floor, 1.1), ylim=(floor, 1.1))
    ax.set(xlabel="stated probability", ylabel="observed share")
    _legend_above(ax)
    return figure


def wilson(share: Array, members: Array, deviations: float = 1.96) -> tuple[Array, Array]:
    """Range of the true share behind an observed one: Wilson's score interval."""
    weight = deviations**2 / members
    centre = (share + weight / 2) / (1 + weight)
    half = np.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return centre - half, centre + half


def histogram(report: Report, theme: Theme) -> Figure:
    """Numbers of images by logit: both classes when there are labels, else all."""
    figure, (ax,) = new_figure(theme)
    logit, label = _finite(report.scores.logit), np.asarray(report.scores.label)
    scored = np.isfinite(np.asarray(report.scores.logit))
    label = label[scored]
    groups = [("lenses", label >= LENS, theme.lens, "-"), ("non-lenses", label < LENS, theme.other, "--")]
    if report.counts.unlabelled:
        groups.append(("unlabelled", np.isnan(label), theme.ink, ":"))
    edges = _edges(logit)
    for name, members, colour, line in groups:
        if members.any():
            number = np.histogram(np.clip(logit[members], edges[0], edges[-1]), bins=edges)[0]
            ax.stairs(number, edges, color=colour, linestyle=line, linewidth=1.8, label=name)
    ax.set(yscale="log", xlabel="logit (0 is probability 0.5)", ylabel="images")
    ax.set_ylim(bottom=0.7)
    if logit.size:
        ax.legend(loc="best")
    return figure


def telling(result: Realism, theme: Theme) -> Figure:
    """Bars of the most telling features: how far each one's AUC is from 0.5, to the right if simulated is higher."""
    figure, (ax,) = new_figure(theme, width=9.6)
    shown = result.telling[:BARS][::-1]
    signs = [1.0 if t.simulated_is == "higher" else -1.0 for t in shown]
    ax.barh(
        [t.feature for t in shown],
        [sign * (t.auc - 0.5) for sign, t in zip(signs, shown, strict=True)],
        color=[theme.lens if sign > 0 else theme.other for sign in signs],
    )
    ax.axvline(0.0, color=theme.ink, linewidth=0.8)
    ax.set(xlim=(-0.5, 0.5), xlabel="lower in simulated   ROC AUC - 0.5   higher in simulated")
    return figure


def _finite(values: Numbers) -> Array:
    array = np.asarray(values, float)
    return np.asarray(array[np.isfinite(array)])


def _edges(logit: Array) -> Array:
    """Forty bins over the scores; the odd one far out goes into the last bin."""
    low, high = np.percentile(logit, [0.1, 99.9]) if logit.size else (-1.0, 1.0)
    return np.linspace(low - 0.5, high + 0.5, 41)
