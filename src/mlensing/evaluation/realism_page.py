"""The page of a comparison with the real sky, and its mosaic: the fakest simulated images beside the realest real."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlensing.evaluation import figures
from mlensing.evaluation.html import chart, document, figure_text, footer, paragraphs, picture_tag, section, tile
from mlensing.evaluation.realism import AIM, Realism
from mlensing.provenance import replacing

Picture = NDArray[np.uint8]
SHOWN = 24
"""Images of each mosaic."""
GAP, COLUMNS = 2, 6
NAMES = {
    "pixels": ("Pixels", "Random filters pooled in rings: texture, PSF, shapes."),
    "appearance": ("Appearance", "Trees on the named features below."),
    "finder": ("Finder", "What the trained finder itself sees before its last layer: what matters for finding lenses."),
}
WORDS = (
    "A discriminator was trained to tell simulated images from real ones, and asked about images that it had not seen. "
    "At 0.5 it guesses: the two skies look alike. At 1 it always knows.",
    "An interval tells the chance of the draw of these images only. Whatever differs counts, also what is no fault of "
    "the simulation: how the real images were chosen, how bright they are, how they were saved.",
)


def write_realism_page(
    result: Realism, path: str | Path, real: Sequence[Picture], simulated: Sequence[Picture]
) -> None:
    """Write the page, whole or not at all.

    Arguments:
        result: of ``compare``.
        path: HTML file to write.
        real: RGB [y, x, 3] of ``result.realest``; in their order.
        simulated: RGB [y, x, 3] of ``result.fakest``, in their order.
    """
    body = f'<h1>{escape(result.title)}</h1>\n<p class="lead">{result.real:,} real images beside '
    body += f"{result.simulated:,} simulated ones.</p>\n"
    body += f'<div class="tiles">{"".join(tile(e.value, NAMES[n][0]) for n, e in result.discriminators.items())}</div>'
    body += section("Can they be told apart?", _discriminators(result) + paragraphs(WORDS))
    caption = "One feature alone as a discriminator; bars to the right: higher in the simulated images."
    drawn = chart(figures.telling, result, caption, wide=True)
    body += section("What tells them apart", f'<div class="charts">{drawn}</div>' + _features(result))
    body += section("Simulated, most obviously so", _tiles(simulated))
    body += section("Real, least like any simulated", _tiles(real))
    with replacing(path) as beside:
        beside.write_text(document(result.title, body + footer(result.provenance)), encoding="utf-8")


def _discriminators(result: Realism) -> str:
    rows = [
        f'<tr><td>{NAMES[name][0]}</td><td class="n">{figure_text(e.value)}</td><td class="n">{figure_text(e.low)} … '
        f"{figure_text(e.high)}</td><td>{NAMES[name][1]}</td></tr>"
        for name, e in result.discriminators.items()
    ]
    rows += [
        f'<tr><td>{NAMES[name][0]}</td><td class="n">–</td><td class="n">–</td><td>skipped: {escape(why)}</td></tr>'
        for name, why in result.skipped.items()
    ]
    head = '<tr><th>Seen</th><th class="n">ROC AUC</th><th class="n">95 % interval</th><th>In words</th></tr>'
    note = f'<p class="note">The aim is {AIM:.2f} or less.</p>'
    return f'<div class="scroll"><table>\n{head}\n{"".join(rows)}\n</table></div>\n{note}'


def _features(result: Realism) -> str:
    rows = "".join(
        f'<tr><td>{escape(t.feature)}</td><td class="n">{t.auc:.3f}</td><td>{t.simulated_is}</td>'
        f'<td class="n">{t.real:.3g}</td><td class="n">{t.simulated:.3g}</td></tr>'
        for t in result.telling
    )
    head = '<tr><th>Feature</th><th class="n">ROC AUC</th><th>Simulated</th><th class="n">Median real</th>'
    return f'<div class="scroll"><table>\n{head}<th class="n">Median simulated</th></tr>\n{rows}\n</table></div>'


def _tiles(pictures: Sequence[Picture]) -> str:
    tiles = "".join(f"<figure>{picture_tag(picture, str(i))}</figure>" for i, picture in enumerate(pictures))
    return f'<div class="mosaic">{tiles}</div>'


def write_mosaic(
    path: str | Path, left: Sequence[Picture], right: Sequence[Picture] = (), *, columns: int = COLUMNS
) -> None:
    """Write a PNG of pictures in rows; with ``right``, those stand beside, behind a white line.

    Arguments:
        path: PNG to write.
        left, right: RGB [y, x, 3], all of one size.
        columns: pictures a row, of each side.
    """
    sides = [_sheet(side, columns) for side in (left, right) if len(side)]
    height = max(side.shape[0] for side in sides)
    sides = [np.pad(side, ((0, height - side.shape[0]), (0, 0), (0, 0))) for side in sides]
    line = np.full((height, 2 * GAP, 3), 255, np.uint8)
    content = sides[0] if len(sides) == 1 else np.concatenate([sides[0], line, sides[1]], 1)
    with replacing(path) as beside:
        Image.fromarray(content).save(beside, optimize=True)


def _sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    size = pictures[0].shape[0] + GAP
    sheet = np.zeros((-(-len(pictures) // columns) * size, columns * size, 3), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * size, i % columns * size
        sheet[y : y + size - GAP, x : x + size - GAP] = picture
    return sheet
