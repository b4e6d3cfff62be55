"""The paper's figures: what they are made of, what they say, and the same bytes every time."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from mlensing.evaluation import paper_figures
from mlensing.evaluation.bootstrap import Interval
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.figures import LIGHT
from mlensing.evaluation.fusion import diversity
from mlensing.evaluation.metrics import METRICS
from mlensing.evaluation.paper import CLAIMS, Paper, apart, claims, confusion, measure
from mlensing.evaluation.paper_figures import FIGURES, write_figures


@pytest.fixture(scope="module")
def paper() -> Paper:
    generator = np.random.default_rng(4)
    label = (generator.random(400) < 0.5).astype(float)
    odds = {key: 3 * label - 1.5 + generator.normal(size=400) for key in ("resnet18-42", "vit_b16-42")}
    whole = np.mean(list(odds.values()), axis=0)
    return Paper(label, odds, 1.5 * whole, 3 * whole + 1)


def test_every_figure_is_written_twice_with_the_same_bytes(paper, tmp_path):
    before = dict(mpl.rcParams)
    written = [write_figures(paper, tmp_path / name, note="a small set") for name in "ab"]
    assert [path.name for path in written[0]] == [f"{name}.{end}" for name in FIGURES for end in ("pdf", "png")]
    for first, second in zip(*written, strict=True):
        content = first.read_bytes()
        assert content == second.read_bytes()
        assert content.startswith(b"%PDF" if first.suffix == ".pdf" else b"\x89PNG")
        assert b"CreationDate" not in content and b"tIME" not in content
    assert dict(mpl.rcParams) == before


def test_one_member_agrees_with_nobody(paper, tmp_path, monkeypatch):
    for name in ("reliability", "purity_completeness", "roc"):
        monkeypatch.delitem(FIGURES, name)
    alone = paper._replace(members={"resnet18-42": paper.ensemble})
    assert [path.name for path in write_figures(alone, tmp_path)] == ["confusion_matrix.pdf", "confusion_matrix.png"]
    (ax,) = paper_figures.roc(alone, LIGHT).axes
    assert [line.get_label() for line in ax.get_lines()][:2] == ["ensemble", "guessing"]


def test_curves_are_named_after_members(paper):
    (roc,) = paper_figures.roc(paper, LIGHT).axes
    assert [text.get_text() for text in roc.get_legend().get_texts()] == [*paper.members, "ensemble", "guessing"]
    assert (roc.get_xlabel(), roc.get_xscale()) == ("false positive rate", "log")
    here, sky = paper_figures.purity_completeness(paper, LIGHT).axes
    assert sky.get_title() == "1 lens in 1,000 images" and len(sky.get_lines()) == len(here.get_lines()) == 3
    assert sky.get_lines()[-1].get_ydata()[-1] == pytest.approx(1e-3, rel=1e-6), "who accepts all gets the prevalence"


def test_the_matrix_holds_every_image(paper):
    cells = confusion(paper.label, paper.ensemble)
    assert cells.sum() == 400 and (cells[0, 0] + cells[1, 1]) / 400 == METRICS["accuracy"](
        paper.label, sigmoid(paper.ensemble)
    )
    (ax,) = paper_figures.confusion_matrix(paper, LIGHT).axes
    assert ax.texts[1].get_text() == f"{int(cells[0, 1])}\n{cells[0, 1] / cells[0].sum():.1%}"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("called", "truth")


def test_agreement_states_the_pairs_and_the_spread(paper):
    left, right = paper_figures.agreement(paper, LIGHT).axes
    logit = np.stack(list(paper.members.values()))
    found = diversity(logit, paper.label)
    assert left.texts[1].get_text() == f"{found.error_correlation:.2f}\n{found.disagreement:.1%}"
    assert [label.get_text() for label in left.get_yticklabels()] == list(paper.members)
    assert sum(stairs.get_data().values.sum() for stairs in right.patches) == 400
    assert f"mean {found.spread:.2f}" in [line.get_label() for line in right.get_lines()]


def test_reliability_shows_before_and_after_on_both_scales(paper):
    linear, logarithmic = paper_figures.reliability(paper, LIGHT).axes
    assert [text.get_text() for text in linear.get_legend().get_texts()] == ["before calibration", "calibrated"]
    assert (linear.get_xscale(), logarithmic.get_xscale(), logarithmic.get_yscale()) == ("linear", "log", "log")
    assert len(logarithmic.containers) == 2


def test_a_tiny_and_perfect_set_is_drawn(tmp_path):
    label = np.array([0.0, 1.0])
    odds = 8 * label - 4
    assert len(write_figures(Paper(label, {"a": odds, "b": odds}, odds, odds), tmp_path)) == 2 * len(FIGURES)


def test_figures_agree_with_those_of_the_report(paper):
    found = measure(paper.label, paper.ensemble, paper.raw, count=20)
    for name in ("accuracy", "roc_auc", "tpr_at_fpr_1e-3", "tpr_at_fpr_1e-2", "ece", "mce"):
        assert found[name].value == METRICS[name](paper.label, sigmoid(paper.ensemble))
        assert found[name].low < found[name].high
    assert found["ece_before"].value == METRICS["ece"](paper.label, sigmoid(paper.raw))
    logit = np.stack(list(paper.members.values()))
    differ = apart(paper.label, logit, count=20)
    for name, value in diversity(logit, paper.label)._asdict().items():
        given = differ[name]
        assert (given.value if isinstance(given, Interval) else given) == pytest.approx(value)
    assert differ["spread"].low < differ["spread"].value < differ["spread"].high


def test_claims_are_reached_from_the_right_side():
    exact = claims({name: Interval(aim, aim, aim) for name, aim in CLAIMS.items()})
    assert {name: claim["reached"] for name, claim in exact.items()} == {
        "accuracy": True, "roc_auc": True, "ece": False, "disagreement": True
    }  # fmt: skip
    assert claims({"ece": Interval(np.nan, np.nan, np.nan)})["ece"] == {
        "claim": 0.05, "measured": {"value": None, "low": None, "high": None}, "reached": False
    }  # fmt: skip
