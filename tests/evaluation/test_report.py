import json
import math

import numpy as np
import pytest

from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.measure import evaluate_scores, rank_scores
from mlensing.evaluation.metrics import METRICS
from mlensing.evaluation.report import Report


def scores(size=600, seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.3).astype(float)
    return labels, generator.normal(0, 1.5, size) + 3 * labels - 1.5


@pytest.fixture(scope="module")
def report():
    return evaluate_scores(*scores(), resamples=30, prevalence=5e-4, provenance={"command": "evaluate"})


def test_every_metric_has_a_value_within_its_interval(report):
    assert set(report.metrics) == set(METRICS)
    for name in ("roc_auc", "pr_auc", "accuracy", "recall", "brier"):
        estimate = report.metrics[name]
        assert estimate.low <= estimate.value <= estimate.high


def test_round_trip_and_equal_bytes(report, tmp_path):
    report.save(tmp_path / "a.json")
    Report.load(tmp_path / "a.json").save(tmp_path / "b.json")
    evaluate_scores(*scores(), resamples=30, prevalence=5e-4, provenance={"command": "evaluate"}).save(
        tmp_path / "c.json"
    )
    first = (tmp_path / "a.json").read_bytes()
    assert first == (tmp_path / "b.json").read_bytes() == (tmp_path / "c.json").read_bytes()


def test_file_is_strict_json_with_null_for_what_is_not_known(tmp_path):
    evaluate_scores([1, 1, np.nan], [2.0, np.inf, np.nan], resamples=3).save(tmp_path / "a.json")

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert content["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert content["scores"]["label"] == [1.0, 1.0, None]
    back = Report.load(tmp_path / "a.json")
    assert math.isnan(back.metrics["roc_auc"].value) and back.scores.probability[1] == 1.0


def test_rows_without_label_or_score_are_counted_and_change_no_figure():
    labels, logits = scores()
    more = evaluate_scores(
        np.append(labels, [np.nan, np.nan, 1.0]), np.append(logits, [9.0, np.nan, np.nan]), resamples=0
    )
    alone = evaluate_scores(labels, logits, resamples=0)
    assert {k: v.value for k, v in more.metrics.items()} == {k: v.value for k, v in alone.metrics.items()}
    counts = more.counts
    assert (counts.rows, counts.unlabelled, counts.unscored) == (603, 1, 2)
    assert counts.lenses + counts.others + counts.unlabelled + counts.unscored == counts.rows
    assert len(more.scores.file) == 603


def test_ranks_come_from_logits_that_no_probability_tells_apart():
    found = evaluate_scores([1, 1, 0], [60.0, 50.0, 40.0], resamples=0)
    assert found.scores.probability == (1.0, 1.0, 1.0)
    assert found.metrics["tpr0"].value == 1.0


def test_soft_labels_rank_as_lenses_and_calibrate_as_they_are():
    found = evaluate_scores([0.8, 0.2], [math.log(4), -math.log(4)], resamples=0).metrics
    assert found["roc_auc"].value == 1.0
    assert found["ece"].value == pytest.approx(0.0, abs=1e-12)
    assert found["brier"].value == pytest.approx(0.0, abs=1e-12)


def test_curves_end_where_they_must_and_are_thin():
    found = evaluate_scores(*scores(20_000), resamples=0, prevalence=1e-3).curves
    assert (found.fpr[0], found.tpr[0]) == (0.0, 0.0) and (found.fpr[-1], found.tpr[-1]) == (1.0, 1.0)
    assert max(len(column) for _, column in found) <= 301
    assert found.completeness[-1] == 1.0 and found.purity[-1] == pytest.approx(0.3, abs=0.02)
    assert found.sky_purity[-1] == pytest.approx(1e-3)


def test_thinned_roc_never_claims_more_than_the_curve():
    labels, logits = scores(5000)
    found = evaluate_scores(labels, logits, resamples=0).curves
    for fpr, tpr in zip(found.fpr[1:], found.tpr[1:], strict=True):
        allowed = np.sort(logits[labels == 0])[::-1][round(fpr * np.sum(labels == 0)) :]
        bound = allowed[0] if allowed.size else -np.inf
        assert tpr == pytest.approx(np.mean(logits[labels == 1] > bound))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_a_report_and_not_a_crash(label):
    found = evaluate_scores([label] * 5, [1.0, 2.0, 3.0, -1.0, 0.0], resamples=5)
    assert math.isnan(found.metrics["roc_auc"].value) and found.prevalence == label


def test_what_a_user_gets_wrong_is_told():
    with pytest.raises(CatalogError, match="one label, one logit"):
        evaluate_scores([1, 0], [0.5])
    with pytest.raises(CatalogError, match=r"b\.fits.*label 3 is outside"):
        evaluate_scores([1, 3], [0.5, 0.1], files=["a.fits", "b.fits"])
    with pytest.raises(CatalogError, match="no row has both"):
        evaluate_scores([np.nan], [0.5])
    with pytest.raises(ConfigError, match="prevalence"):
        evaluate_scores([1, 0], [0.5, 0.1], prevalence=2.0)


def test_load_names_a_missing_or_foreign_file(tmp_path):
    with pytest.raises(ConfigError, match="no report here"):
        Report.load(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="not a report"):
        Report.load(tmp_path / "other.json")


def test_a_ranking_has_scores_and_no_metrics(tmp_path):
    found = rank_scores([1.0, np.nan], files=["a.fits", "b.fits"])
    assert not found.metrics and (found.counts.unlabelled, found.counts.unscored) == (1, 1)
    found.save(tmp_path / "a.json")
    assert Report.load(tmp_path / "a.json").scores.file == ("a.fits", "b.fits")


def test_a_report_cannot_be_changed(report):
    with pytest.raises(ValueError, match="frozen"):
        report.title = "better"
