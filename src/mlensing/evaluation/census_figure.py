"""How many lenses there are by score and by attribute: those that are labelled beside all that are estimated."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from mlensing.evaluation.census import Census
from mlensing.evaluation.curves import Array
from mlensing.evaluation.figures import LIGHT, new_figure, style_of
from mlensing.provenance import replacing

BINS = 16
REACH = 0.005
"""Shares of the estimated lenses that a panel leaves out at either end."""


def write_census_figure(
    path: str | Path,
    found: Census,
    score: ArrayLike,
    labelled: ArrayLike,
    attributes: ArrayLike | None = None,
) -> None:
    """Write the PNG: a panel for the score, and one for each attribute, with its propensity.

    Arguments:
        path: the file.
        found: the census.
        score: [N], as it was given to the census.
        labelled: [N].
        attributes: [N, A], as they were given.

    Example:
        >>> import tempfile
        >>> from mlensing.evaluation.census import census
        >>> path = Path(tempfile.mkdtemp()) / "census.png"
        >>> z, labelled = np.append(np.zeros(90), np.full(10, 5.0)), np.arange(100) > 95
        >>> write_census_figure(path, census(z, labelled, resamples=0), z, labelled)
        >>> path.stat().st_size > 1000
        True
    """
    s = np.asarray(labelled, bool)
    names, columns = list(found.propensity)[1:], [np.asarray(score, float)]
    columns += [] if attributes is None else list(np.asarray(attributes, float).reshape(len(s), -1).T)
    with mpl.rc_context({**style_of(LIGHT), "savefig.facecolor": "white"}):
        figure, axes = new_figure(LIGHT, columns=len(columns), width=5.2 * len(columns))
        for ax, name, values in zip(axes, ["score (log-odds)", *names], columns, strict=True):
            _panel(ax, name, values, found.probability, s)
        axes[0].set_yscale("symlog", linthresh=1)
        axes[0].set_ylabel("images")
        axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        with replacing(path) as beside:
            figure.savefig(beside, dpi=110, metadata={"Software": None})


def _panel(ax: Axes, name: str, values: Array, probability: Array, labelled: Array) -> None:
    order = np.argsort(values)
    share = np.cumsum(probability[order]) / probability.sum()
    low, high = values[order][np.searchsorted(share, [REACH, 1 - REACH]).clip(max=len(values) - 1)]
    low, high = min(low, values[labelled].min()), max(high, values[labelled].max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    everything, lenses = (np.histogram(values, edges, weights=w)[0] for w in (None, probability))
    known = np.histogram(values[labelled], edges)[0]
    if name.startswith("score"):
        ax.stairs(everything, edges, color=LIGHT.ink, linestyle=":", label="all images")
    ax.stairs(lenses, edges, color=LIGHT.other, linewidth=1.8, label="lenses, estimated")
    ax.stairs(known, edges, color=LIGHT.lens, fill=True, alpha=0.7, label="labelled")
    ax.set_xlabel(name)
