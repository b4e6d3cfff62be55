import matplotlib as mpl
import numpy as np
import pytest

from mlensing.evaluation import figures
from mlensing.evaluation.measure import evaluate_scores, rank_scores

DRAWN = [
    figures.roc, figures.purity_completeness, figures.reliability, figures.reliability_log, figures.histogram
]  # fmt: skip


@pytest.fixture(scope="module")
def report():
    generator = np.random.default_rng(4)
    labels = (generator.random(300) < 0.4).astype(float)
    labels[:5] = np.nan
    logits = generator.normal(size=300) + 2 * np.nan_to_num(labels)
    return evaluate_scores(labels, logits, resamples=5, prevalence=1e-3)


@pytest.mark.parametrize("draw", DRAWN)
def test_equal_bytes_without_date(draw, report):
    first = figures.svg(draw, report)
    assert first == figures.svg(draw, report)
    assert b"<dc:date>" not in first


@pytest.mark.parametrize("draw", DRAWN)
def test_themes_differ_in_colour_and_leave_matplotlib_as_it_was(draw, report):
    before = dict(mpl.rcParams)
    light, dark = (figures.svg(draw, report, theme) for theme in (figures.LIGHT, figures.DARK))
    assert figures.LIGHT.lens.encode() in light and figures.LIGHT.ink.encode() not in dark
    again = figures.recolour(light, figures.LIGHT, figures.DARK)
    assert not [colour for colour in figures.LIGHT if colour.encode() in again]
    assert dict(mpl.rcParams) == before


def test_a_figure_says_what_its_axes_are(report):
    (ax,) = figures.roc(report, figures.LIGHT).axes
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "false positive rate", "recall")


def test_histogram_counts_every_scored_image(report):
    (ax,) = figures.histogram(report, figures.LIGHT).axes
    counted = {patch.get_label(): patch.get_data().values.sum() for patch in ax.patches}
    counts = report.counts
    assert counted == {
        "lenses": counts.lenses, "non-lenses": counts.others, "unlabelled": counts.unlabelled
    }  # fmt: skip


@pytest.mark.parametrize("draw", [figures.roc, figures.reliability, figures.reliability_log])
def test_no_curve_runs_through_a_legend(draw, report):
    figure = draw(report, figures.LIGHT)
    figure.canvas.draw()
    (ax,) = figure.axes
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1
    assert legend.x1 <= figure.bbox.x1


def test_a_bin_without_lenses_is_an_upper_limit_and_not_a_share():
    logits = np.linspace(-8, 2, 200)
    report = evaluate_scores((logits > -2).astype(float), logits, resamples=0)
    (ax,) = figures.reliability_log(report, figures.LIGHT).axes
    limits = next(line for line in ax.lines if line.get_marker() == "v").get_ydata()
    _, high = figures.wilson(np.zeros(1), np.array([20.0]))
    np.testing.assert_allclose(limits, high.repeat(len(limits)), rtol=0.05)  # bins of 20 images each
    (curve,) = ax.containers[0].lines[:1]
    assert len(limits) + len(curve.get_ydata()) == 10
    assert curve.get_ydata().min() > 0


def test_wilson_range_agrees_with_the_known_value():
    low, high = figures.wilson(np.array([0.0, 0.5]), np.array([10.0, 100.0]))
    np.testing.assert_allclose(low, [0.0, 0.4038], atol=1e-4)  # Brown, Cai & DasGupta 2001
    np.testing.assert_allclose(high, [0.2775, 0.5962], atol=1e-4)


@pytest.mark.parametrize("logits", [[], [1.0], [2.0, 2.0]])
def test_tiny_sets_are_drawn(logits, recwarn):
    assert figures.svg(figures.histogram, rank_scores(logits)).startswith(b"<?xml")
    assert not [w for w in recwarn.list if issubclass(w.category, RuntimeWarning)]
