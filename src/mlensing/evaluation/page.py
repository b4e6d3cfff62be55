"""A report as one HTML page that needs nothing else: no network, no scripts, pictures inside.

A report without metrics (`rank_scores`) becomes a page of the best candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from mlensing.evaluation import figures
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.html import chart, document, figure_text, footer, paragraphs, picture_tag, section, tile
from mlensing.evaluation.report import Estimate, Report, Scores
from mlensing.evaluation.words import CAVEATS, FIGURES, MEANING, MOSAICS, RANKING_CAVEATS
from mlensing.provenance import replacing

Images = Mapping[str, NDArray[np.uint8]] | NDArray[np.uint8]
TILES = 24
"""Images in a mosaic."""
ROWS = 50
"""Rows of the table of scores; the whole table is in the JSON."""
DIVERSE = 0.1
"""Spread of the logits of members from which on the seed document calls them diverse."""
HEADLINE = ("roc_auc", "tpr_at_fpr_1e-2", "tpr0", "ece")


def shown_rows(report: Report, tiles: int = TILES) -> dict[str, list[int]]:
    """Rows that each mosaic of the page shows, so that a caller renders only these images.

    Example:
        >>> from mlensing.evaluation.measure import evaluate_scores
        >>> shown_rows(evaluate_scores([1, 0, 1], [2.0, 1.0, -1.0], resamples=0), tiles=2)
        {'best': [0, 1], 'false': [1], 'missed': [2, 0]}
    """
    logit, label = np.asarray(report.scores.logit, float), np.asarray(report.scores.label, float)
    order = np.argsort(-logit, kind="stable")  # NaN comes last
    order = order[np.isfinite(logit[order])]
    if not report.metrics:
        return {"candidates": order[:tiles].tolist()}
    groups = {"best": order, "false": order[label[order] < LENS], "missed": order[label[order] >= LENS][::-1]}
    return {name: rows[:tiles].tolist() for name, rows in groups.items()}


def write_page(
    report: Report,
    path: str | Path,
    images: Images | None = None,
    *,
    sections: Sequence[tuple[str, str]] = (),
    tiles: int = TILES,
) -> None:
    """Write the page, whole or not at all; the same input gives the same bytes.

    Arguments:
        report: of `evaluate_scores` or `rank_scores`.
        path: HTML file to write.
        images: RGB, uint8: shape [N, H, W, 3] in the order of the report's rows, or file name -> [H, W, 3]
            of at least `shown_rows`; a row without an image gets a blank tile.
        sections: further (heading, HTML) pairs, put in as they are before the mosaics.
        tiles: images in each mosaic.

    Raises:
        ValueError: if an image is not uint8 of shape [H, W, 3].
    """
    body = _labelled(report) if report.metrics else _unlabelled(report)
    body += "".join(section(heading, html) for heading, html in sections)
    body += "".join(_mosaic(report, name, rows, images) for name, rows in shown_rows(report, tiles).items())
    body += section("Highest scores", _table(report)) + footer(report.provenance)
    with replacing(path) as beside:
        beside.write_text(document(report.title, body), encoding="utf-8")


def _labelled(report: Report) -> str:
    shown = [name for name in HEADLINE if name in report.metrics]
    tiles = "".join(tile(report.metrics[name].value, MEANING.get(name, (name, ""))[0]) for name in shown)
    charts = (
        chart(figures.roc, report, FIGURES["roc"])
        + chart(figures.reliability, report, FIGURES["reliability"])
        + chart(figures.reliability_log, report, FIGURES["reliability_log"])
        + chart(figures.histogram, report, FIGURES["histogram"])
        + chart(figures.purity_completeness, report, FIGURES["purity"], wide=True)
    )
    return (
        _head(report)
        + f'<div class="tiles">{tiles}</div>\n'
        + section("Figures", _metrics(report))
        + (section("Members", _members(report)) if report.members else "")
        + (section("Calibration", _calibration(report)) if report.uncalibrated else "")
        + section("What they mean, and what they do not", paragraphs(CAVEATS))
        + section("Curves", f'<div class="charts">{charts}</div>')
    )


def _unlabelled(report: Report) -> str:
    scores = f'<div class="charts">{chart(figures.histogram, report, FIGURES["ranking"])}</div>'
    return _head(report) + section("What this list means", paragraphs(RANKING_CAVEATS)) + section("Scores", scores)


def _head(report: Report) -> str:
    counts = report.counts
    kinds = {"lenses": counts.lenses, "non-lenses": counts.others, "unlabelled": counts.unlabelled}
    parts = [f"{number:,} {kind}" for kind, number in kinds.items() if number]
    if not counts.lenses + counts.others:
        parts = ["none of them labelled"]
    if counts.unscored:
        parts.append(f"{counts.unscored:,} without a score")
    return f'<h1>{escape(report.title)}</h1>\n<p class="lead">{counts.rows:,} images: {", ".join(parts)}.</p>\n'


def _label(name: str) -> str:
    return escape(MEANING.get(name, (name, ""))[0])


def _metrics(report: Report) -> str:
    level = f"{report.level:.0%} interval"
    rows = "\n".join(_metric(name, estimate) for name, estimate in report.metrics.items())
    head = f'<tr><th>Figure</th><th class="n">Value</th><th class="n">{level}</th><th>In words</th></tr>'
    note = f"Intervals from {report.resamples} bootstrap resamples; – marks what this set cannot tell."
    return f'<div class="scroll"><table>\n{head}\n{rows}\n</table></div>\n<p class="note">{note}</p>'


def _metric(name: str, estimate: Estimate) -> str:
    span = f"{figure_text(estimate.low)} … {figure_text(estimate.high)}" if not np.isnan(estimate.low) else "–"
    words = escape(MEANING.get(name, (name, ""))[1])
    numbers = f'<td class="n">{figure_text(estimate.value)}</td><td class="n">{span}</td>'
    return f"<tr><td>{_label(name)}</td>{numbers}<td>{words}</td></tr>"


def _members(report: Report) -> str:
    """Each member by itself beside the ensemble, and how much they differ."""
    whole = {"the ensemble": report.metrics, **{key: member.metrics for key, member in report.members.items()}}
    names = "".join(f'<th class="n">{_label(name)}</th>' for name in HEADLINE)
    rows = "\n".join(
        f"<tr><td>{escape(key)}</td>"
        + "".join(f'<td class="n">{figure_text(metrics[name].value)}</td>' for name in HEADLINE)
        + "</tr>"
        for key, metrics in whole.items()
    )
    apart = report.diversity
    words = (
        f"Their logits differ by {figure_text(apart['spread'])} (standard deviation over members; above "
        f"{DIVERSE} they are diverse). A pair of them disagrees on {apart['disagreement']:.1%} of the images, and "
        f"their errors correlate by {figure_text(apart['error_correlation'])}."
    )
    table = f'<div class="scroll"><table class="narrow">\n<tr><th></th>{names}</tr>\n{rows}\n</table></div>'
    return f"{table}\n<p>{words}</p>"


def _calibration(report: Report) -> str:
    """The calibration errors before and after."""
    rows = "\n".join(
        f'<tr><td>{_label(name)}</td><td class="n">{figure_text(before)}</td>'
        f'<td class="n">{figure_text(report.metrics[name].value)}</td></tr>'
        for name, before in report.uncalibrated.items()
    )
    head = '<tr><th></th><th class="n">Before</th><th class="n">After</th></tr>'
    return f'<div class="scroll"><table class="narrow">\n{head}\n{rows}\n</table></div>'


def _mosaic(report: Report, name: str, rows: list[int], images: Images | None) -> str:
    heading, words = MOSAICS[name]
    tiles = "\n".join(_tile(report, row, images) for row in rows) or "<p>None.</p>"
    return section(heading, f'<p class="note">{escape(words)}</p>\n<div class="mosaic">\n{tiles}\n</div>')


def _tile(report: Report, row: int, images: Images | None) -> str:
    file, image = report.scores.file[row], _find(images, report.scores.file[row], row)
    picture = '<div class="blank">no image</div>'
    if image is not None:
        picture = picture_tag(image, file)
    score = f"<b>{report.scores.probability[row]:.4f}</b> {_mark(report.scores, row)}"
    name = f'<span class="name" title="{escape(file)}">{escape(PurePath(file).name)}</span>'
    return f"<figure>{picture}<figcaption>{score}{name}</figcaption></figure>"


def _mark(scores: Scores, row: int) -> str:
    flag = f'<span class="other">{escape(scores.flag[row])}</span>' if scores.flag and scores.flag[row] else ""
    label = scores.label[row]
    if np.isnan(label):
        return flag
    return flag + ('<span class="lens">✓ lens</span>' if label >= LENS else '<span class="other">✗ non-lens</span>')


def _find(images: Images | None, file: str, row: int) -> NDArray[np.uint8] | None:
    if images is None:
        return None
    return images.get(file) if isinstance(images, Mapping) else images[row]


def _table(report: Report) -> str:
    (first, *_) = shown_rows(report, ROWS).values()
    scores = report.scores
    rows = "\n".join(
        f'<tr><td class="n">{rank}</td><td>{escape(scores.file[row])}</td><td class="n">'
        f'{scores.probability[row]:.4f}</td><td class="n">{scores.logit[row]:.2f}</td>'
        f"<td>{_mark(scores, row)}</td></tr>"
        for rank, row in enumerate(first, start=1)
    )
    head = '<th class="n">Rank</th><th>File</th><th class="n">Probability</th><th class="n">Logit</th><th></th>'
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>'
