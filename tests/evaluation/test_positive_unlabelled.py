"""Elkan & Noto and measures without non-lenses, against simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from mlensing.contract import Calibration
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.calibrators import calibrate
from mlensing.evaluation.curves import Array
from mlensing.evaluation.positive_unlabelled import (
    fit_unlabelled,
    labelling_share,
    lens_probability,
    out_of_fold,
    unlabelled_auc,
    unlabelled_share,
)


def survey(pi: float, images: int, *, apart: float, c: float, seed: int) -> tuple[Array, Array, Array]:
    """Scores, truth and labels (1 or NaN) of lenses labelled at random."""
    rng = np.random.default_rng(seed)
    lens = rng.random(images) < pi
    labels = np.where(lens & (rng.random(images) < c), 1.0, np.nan)
    return rng.normal(apart * lens), lens.astype(float), labels


@pytest.mark.parametrize(("pi", "images"), [(1e-3, 100_000), (1e-4, 400_000)])
def test_elkan_noto_finds_c_and_the_prevalence_of_lenses_that_stand_apart(pi: float, images: int) -> None:
    ratios, shares, labelled_of_all = [], [], []
    for seed in range(4):
        z, lens, labels = survey(pi, images, apart=12.0, c=0.5, seed=seed)
        labelled = labels == 1
        g = out_of_fold(z, labelled, seed=seed)
        shares.append(labelling_share(g, labelled))
        labelled_of_all.append(labelled.sum() / lens.sum())
        ratios.append(lens_probability(g, shares[-1]).sum() / lens.sum())
    assert np.mean(shares) == pytest.approx(np.mean(labelled_of_all), abs=0.06)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.2)  # min(g / c, 1) cuts off upward noise of g, 10 % or so


def test_c_is_too_small_where_lenses_and_nonlenses_overlap() -> None:
    """The mean of g over labelled lenses is c E[P(lens | x) | lens], here by numerical integration."""
    pi, apart, c = 1e-3, 4.0, 0.5
    z, _, labels = survey(pi, 200_000, apart=apart, c=c, seed=0)
    posterior = sigmoid(apart * z - apart**2 / 2 + np.log(pi / (1 - pi)))
    grid = np.linspace(-2, 10, 4001)
    density = np.exp(-((grid - apart) ** 2) / 2) / np.sqrt(2 * np.pi)
    expected = c * np.trapezoid(density * sigmoid(apart * grid - apart**2 / 2 + np.log(pi / (1 - pi))), grid)
    assert expected < 0.8 * c
    assert labelling_share(c * posterior, labels == 1) == pytest.approx(expected, rel=0.12)


def test_no_row_is_judged_by_a_classifier_that_has_seen_it() -> None:
    """A tree that remembers every row knows nothing of rows that it has not seen."""
    rng = np.random.default_rng(0)
    noise, labelled = rng.normal(size=(400, 2)), rng.random(400) < 0.5
    tree = DecisionTreeClassifier(random_state=0)
    seen = tree.fit(noise, labelled).predict_proba(noise)[:, 1]
    assert labelling_share(seen * 0.999, labelled) > 0.99
    assert labelling_share(out_of_fold(noise, labelled, estimator=tree), labelled) == pytest.approx(0.5, abs=0.12)


def test_weights_stand_for_so_many_rows() -> None:
    """As scikit-learn's own sample weights: rows thrice in the data."""
    z, _, labels = survey(0.1, 600, apart=3.0, c=0.5, seed=1)
    model = LogisticRegression()
    once = out_of_fold(z, labels == 1, estimator=model, weights=np.where(labels == 1, 1.0, 3.0))
    plain = LogisticRegression().fit(
        np.repeat(z, np.where(labels == 1, 1, 3))[:, None], np.repeat(labels == 1, np.where(labels == 1, 1, 3))
    )
    assert np.abs(once - plain.predict_proba(z[:, None])[:, 1]).max() < 0.08


def test_few_labels_are_told() -> None:
    with pytest.raises(ValueError, match="two labelled"):
        out_of_fold(np.arange(5.0), np.arange(5) == 0)


@pytest.mark.parametrize(("g", "c"), [(0.0, 1e-6), (1.0, 1 - 1e-6)])
def test_c_is_clipped_with_a_warning(g: float, c: float) -> None:
    with pytest.warns(UserWarning, match="c is"):
        assert labelling_share([g, g], [True, False]) == pytest.approx(c, rel=1e-9)


def test_the_auc_without_nonlenses_is_that_with_them() -> None:
    z, lens, labels = survey(0.2, 40_000, apart=1.5, c=0.3, seed=2)
    free = np.isnan(labels)
    found = unlabelled_auc(labels, z, float(lens[free].mean()))
    assert found == pytest.approx(roc_auc_score(lens, z), abs=0.01)
    assert roc_auc_score(labels == 1, z) < found - 0.03  # as it stands, it would be too low


def test_known_nonlenses_join_the_others() -> None:
    z, lens, labels = survey(0.2, 40_000, apart=1.5, c=0.3, seed=3)
    free = np.flatnonzero(np.isnan(labels))
    prior = float(lens[free].mean())
    known = free[lens[free] == 0][:4000]
    more = labels.copy()
    more[known] = 0.0
    left = np.isnan(more)
    assert unlabelled_share(more, float(lens[left].mean())) == pytest.approx(prior, rel=1e-9)
    assert unlabelled_auc(more, z, float(lens[left].mean())) == pytest.approx(unlabelled_auc(labels, z, prior))


@pytest.mark.parametrize("known", [0, 5000])
def test_calibration_without_nonlenses_gives_the_true_log_odds(known: int) -> None:
    """Logits that are thrice too sure and shifted; the truth is 2 z - 2 + log-odds of the prior."""
    pi = 0.02
    z, lens, labels = survey(pi, 60_000, apart=2.0, c=0.5, seed=4)
    labels[np.flatnonzero(np.isnan(labels) & (lens == 0))[:known]] = 0.0
    free, others = np.isnan(labels), labels != 1
    found = fit_unlabelled(6 * z - 3, labels, float(lens[free].mean()))
    told = calibrate(6 * z - 3, found)
    assert sigmoid(told[others]).mean() == pytest.approx(lens[others].mean(), rel=1e-3)
    share = lens[others].mean()
    truth = 2 * z - 2 + np.log(share / (1 - share))
    best, got = (log_loss(lens[others], sigmoid(odds)[others]) for odds in (truth, told))
    assert got < 1.02 * best and np.polyfit(z, told, 1)[0] == pytest.approx(2.0, rel=0.15)


def test_calibration_needs_lenses_and_others_that_overlap() -> None:
    assert fit_unlabelled([1.0, 2.0], [np.nan, np.nan], 0.1) == Calibration()
    assert fit_unlabelled([1.0, 2.0], [np.nan, 1.0], 0.1) == Calibration()
