"""P(lens | x) and the propensity of labels, by simulation at prevalences of 1e-3 and 1e-4.

A survey is a table of counts on a grid of score and attribute: scores are N(0, 1) for non-lenses and N(apart, 1) for
lenses, the attribute N(0, 1) and N(0.5, 1); so the log-odds of a lens are linear, as the model has them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlensing.evaluation.bootstrap import percentiles
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.census import bootstrap
from mlensing.evaluation.curves import Array
from mlensing.evaluation.positive_unlabelled import labelling_share, lens_probability
from mlensing.evaluation.propensity import fit_propensity, log_odds, posterior, rows_of

AWAY = 0.5
"""Of the lenses' attribute from that of the others."""


class Grid(NamedTuple):
    """Cells of a survey: score, attribute, expected lenses and others, propensity; all [cells]."""

    score: Array
    attribute: Array
    lenses: Array
    others: Array
    propensity: Array

    def drawn(self, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
        """Score, attribute, label and number of rows of the cells that a survey fills."""
        labelled = rng.poisson(self.lenses * self.propensity)
        unlabelled = rng.poisson(self.lenses * (1 - self.propensity) + self.others)
        counts = np.append(labelled, unlabelled).astype(float)
        full = counts > 0
        s = np.arange(len(counts)) < len(labelled)
        return np.tile(self.score, 2)[full], np.tile(self.attribute, 2)[full], s[full], counts[full]


def grid(pi: float, images: float, *, apart: float, share: float, bias: float) -> Grid:
    axes = np.linspace(-1.5, apart + 3.5, 60), np.linspace(-2.5, 3.0, 7)
    z, t = (values.ravel() for values in np.meshgrid(*axes, indexing="ij"))
    others = np.exp(-(z**2) / 2 - t**2 / 2)
    lenses = np.exp(-((z - apart) ** 2) / 2 - (t - AWAY) ** 2 / 2)
    e = sigmoid(np.log(share / (1 - share)) + bias * (t - AWAY))
    return Grid(z, t, images * pi * lenses / lenses.sum(), images * (1 - pi) * others / others.sum(), e)


SURVEYS = {1e-3: {"images": 2e5, "apart": 5.0}, 1e-4: {"images": 1e6, "apart": 5.5}}


@pytest.mark.parametrize("pi", SURVEYS)
@pytest.mark.parametrize("bias", [0.0, 1.0], ids=["random", "biased"])
def test_the_number_has_no_bias_and_its_interval_covers(pi: float, bias: float) -> None:
    sky, rng = grid(pi, **SURVEYS[pi], share=0.3, bias=bias), np.random.default_rng(1)
    truth, numbers, covered = sky.lenses.sum(), [], []
    for seed in range(40):
        z, t, s, w = sky.drawn(rng)
        x, a = (np.column_stack([z, t]), t) if bias else (z + 0.1 * t, None)  # the true log-odds: 5 z + 0.5 t
        fit = fit_propensity(x, a, s, weights=w)
        low, high = percentiles(bootstrap(rows_of(x, a, s, w), fit.parameters, 50, seed=seed)[0], 0.95)
        numbers.append(fit.number)
        covered.append(low <= truth <= high)
    scatter = np.std(numbers) / truth / np.sqrt(len(numbers))
    assert np.mean(numbers) / truth == pytest.approx(1.0, abs=0.03 + 2 * scatter)
    assert scatter < 0.05
    assert np.mean(covered) >= 0.85  # 0.95 aimed at; of 40 replicates the mean is uncertain by 0.05


def test_biased_labels_mislead_elkan_and_noto_and_not_the_propensity() -> None:
    """Where lenses stand apart, Elkan & Noto with the true g count E[min(e / c, 1)] of them, c = E[e^2] / E[e]."""
    sky = grid(1e-3, 1e6, apart=10.0, share=0.2, bias=2.0)
    e, f = sky.propensity, sky.lenses / sky.lenses.sum()
    rng, plain, ours, slopes = np.random.default_rng(0), [], [], []
    for _ in range(10):
        z, t, s, w = sky.drawn(rng)
        cell = {key: k for k, key in enumerate(zip(sky.score, sky.attribute, strict=True))}
        where = np.array([cell[key] for key in zip(z, t, strict=True)])
        g = (sky.lenses * e / (sky.lenses + sky.others))[where]
        c = labelling_share(np.repeat(g, w.astype(int)), np.repeat(s, w.astype(int)))
        plain.append(w @ lens_probability(g, c) / sky.lenses.sum())
        fit = fit_propensity(np.column_stack([z, t]), t, s, weights=w)
        ours.append(fit.number / sky.lenses.sum())
        slopes.append(fit.labelling[1])
    expected = float(f @ np.minimum(e * (f @ e) / (f @ e**2), 1.0))
    assert expected < 0.65
    assert np.mean(plain) == pytest.approx(expected, abs=0.02)
    assert np.mean(ours) == pytest.approx(1.0, abs=0.05)
    assert np.mean(slopes) == pytest.approx(2.0, abs=0.2)


def test_expectation_maximisation_ends_at_the_same_place() -> None:
    """SAR-EM as published, with scikit-learn's weighted logistic regressions."""
    sky = grid(0.02, 2e4, apart=4.0, share=0.4, bias=1.0)
    z, t, s, w = sky.drawn(np.random.default_rng(3))
    x, a = np.column_stack([z, t]), t[:, None]
    p, e = np.where(s, 0.9, 0.1), np.full(len(z), 0.5)
    plain = {"C": 1e4, "max_iter": 1000, "tol": 1e-8}
    for _ in range(300):
        lens = posterior(p, e, s)
        twice = np.append(lens * w, (1 - lens) * w)
        of_lens = LogisticRegression(**plain).fit(np.tile(x, (2, 1)), np.repeat([1, 0], len(z)), twice)
        of_label = LogisticRegression(**plain).fit(a, s, lens * w)
        p, e = of_lens.predict_proba(x)[:, 1], of_label.predict_proba(a)[:, 1]
    fit = fit_propensity(x, a, s, weights=w)
    assert fit.number == pytest.approx(float(w @ posterior(p, e, s)), rel=0.02)
    np.testing.assert_allclose(sigmoid(log_odds(fit.labelling, a, len(a))), e, atol=0.03)
    np.testing.assert_allclose(sigmoid(log_odds(fit.lens, x, len(x))), p, atol=0.05)


def test_labels_at_random_leave_as_many_lenses_as_c_says() -> None:
    """The score of the likelihood in the intercept of e: labelled = c times the expected number of lenses."""
    sky = grid(1e-3, 1e6, apart=6.0, share=0.3, bias=0.0)
    z, _, s, w = sky.drawn(np.random.default_rng(5))
    fit = fit_propensity(z, None, s, weights=w)
    assert w[s].sum() / fit.number == pytest.approx(float(sigmoid(fit.labelling[0])), rel=0.01)


def test_units_do_not_matter() -> None:
    sky = grid(1e-3, 1e5, apart=6.0, share=0.3, bias=1.0)
    z, t, s, w = sky.drawn(np.random.default_rng(6))
    one = fit_propensity(np.column_stack([z, t]), t, s, weights=w)
    other = fit_propensity(np.column_stack([10 * z + 3, t - 20]), 100 * t, s, weights=w)
    assert other.number == pytest.approx(one.number, rel=1e-3)
    assert other.labelling[1] == pytest.approx(one.labelling[1] / 100, rel=1e-3)


@pytest.mark.parametrize(
    ("features", "attributes", "labelled", "said"),
    [
        ([1.0, 2.0, 3.0], None, [True, False, False], "two labelled"),
        ([1.0, np.nan, 3.0], None, [True, True, False], "finite"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], [True, True, False], "3 rows, got 2"),
    ],
)
def test_mistakes_are_told(features: list[float], attributes: list[float], labelled: list[bool], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_propensity(features, attributes, labelled)
