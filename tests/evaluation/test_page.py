import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mlensing.evaluation.measure import evaluate_scores, rank_scores
from mlensing.evaluation.page import shown_rows, write_page
from mlensing.evaluation.words import CAVEATS, MEANING


def scores(size=60):
    generator = np.random.default_rng(4)
    labels = (generator.random(size) < 0.4).astype(float)
    return labels, generator.normal(0, 1.5, size) + 2 * labels - 1


FILES = [f"folder/object_{row:03d}.fits" for row in range(60)]
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def report():
    return evaluate_scores(
        *scores(), files=FILES, resamples=10, prevalence=1e-3, title="Held <out>", provenance={"seed": 1}
    )


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(report, path, IMAGES, sections=[("By size", "<p>larger is easier</p>")], tiles=6)
    return path.read_text(encoding="utf-8")


def test_nothing_is_loaded_from_outside(page):
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    for source in re.findall(r'(?:src|srcset|href)="([^"]*)"', page):
        assert source.startswith("data:image/")


def test_all_sections_stand_in_the_page(page):
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Figures", "What they mean, and what they do not", "Curves", "By size", "Best-ranked",
        "Worst false positives", "Missed lenses", "Highest scores",
    ]  # fmt: skip
    for label, words in MEANING.values():
        assert label in page and words in page
    assert all(caveat in page for caveat in CAVEATS)
    assert page.count("image/svg+xml") == 10  # five figures, light and dark


def test_what_comes_from_the_user_is_escaped(page):
    assert "Held &lt;out&gt;" in page and "Held <out>" not in page


def test_mosaics_hold_the_images_of_their_rows(page, report):
    embedded = re.findall(r"data:image/png;base64,([^\"]+)", page)
    rows = [row for rows in shown_rows(report, 6).values() for row in rows]
    assert len(embedded) == len(rows)
    for text, row in zip(embedded, rows, strict=True):
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        np.testing.assert_array_equal(image, IMAGES[row])


def test_shown_rows_are_the_best_the_worst_and_the_missed(report):
    labels, logits = scores()
    rows = shown_rows(report, 5)
    assert rows["best"] == np.argsort(-logits)[:5].tolist()
    assert rows["false"] == [row for row in np.argsort(-logits).tolist() if labels[row] == 0][:5]
    assert rows["missed"] == [row for row in np.argsort(logits).tolist() if labels[row] == 1][:5]


def test_the_same_input_gives_the_same_bytes(page, report, tmp_path):
    write_page(report, tmp_path / "a.html", IMAGES, sections=[("By size", "<p>larger is easier</p>")], tiles=6)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page


def test_images_may_be_few_and_by_name_or_none(report, tmp_path):
    (best, *_) = shown_rows(report, 2)["best"]
    write_page(report, tmp_path / "a.html", {FILES[best]: IMAGES[best]}, tiles=2)
    text = (tmp_path / "a.html").read_text()
    assert 1 <= text.count("image/png") <= 2 and "no image" in text
    write_page(report, tmp_path / "b.html")
    assert "image/png" not in (tmp_path / "b.html").read_text()


def test_an_image_of_another_kind_is_named_and_nothing_is_written(report, tmp_path):
    with pytest.raises(ValueError, match=r"object_\d+\.fits: expected uint8"):
        write_page(report, tmp_path / "a.html", IMAGES.astype(float))
    assert not list(tmp_path.iterdir())


def test_a_ranking_without_labels_shows_candidates_and_claims_nothing(tmp_path):
    logits = np.append(scores()[1][:-1], np.nan)
    write_page(rank_scores(logits, files=FILES), tmp_path / "a.html", IMAGES, tiles=6)
    text = (tmp_path / "a.html").read_text()
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == ["What this list means", "Scores", "Best candidates", "Highest scores"]
    assert text.count("image/png") == 6 and "ROC" not in text
    assert "60 images: none of them labelled, 1 without a score." in text


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, 0.0]])
def test_one_class_is_a_page(labels, tmp_path):
    write_page(evaluate_scores(labels, [1.0, 2.0], resamples=3, prevalence=1e-3), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "–" in text and "nan" not in re.sub(r"base64,[^\"]+", "", text)


def test_an_empty_ranking_is_a_page(tmp_path):
    write_page(rank_scores([]), tmp_path / "a.html")
    assert "0 images" in (tmp_path / "a.html").read_text()


def test_members_and_calibration_stand_beside_the_whole(tmp_path):
    labels, logits = scores()
    members = {"first<1>": logits + 0.3, "second": 2 * logits}
    found = evaluate_scores(labels, logits, members=members, raw=3 * logits, resamples=5)
    write_page(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<h2>Members</h2>" in text and "first&lt;1&gt;" in text and "errors correlate" in text
    assert "<h2>Calibration</h2>" in text
    assert found.uncalibrated["ece"] > found.metrics["ece"].value
    assert found.diversity["spread"] == pytest.approx(np.std([logits + 0.3, 2 * logits], axis=0).mean())


def test_one_member_alone_is_the_report(tmp_path):
    labels, logits = scores()
    found = evaluate_scores(labels, logits, members={"only": logits}, resamples=0)
    assert found.members == {} and found.diversity == {}


def test_flags_stand_beside_their_images(tmp_path):
    flags = ["", "unlike <the> training data", ""]
    write_page(rank_scores([2.0, 1.0, 0.0], files=FILES[:3], flags=flags), tmp_path / "page.html", IMAGES[:3])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count('<span class="other">unlike &lt;the&gt; training data</span>') == 2  # tile and table
    assert text.count('<span class="other">') == 2
