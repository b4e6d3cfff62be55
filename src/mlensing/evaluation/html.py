"""Pieces of the pages that the package writes: one look, nothing loaded from outside."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from mlensing.evaluation import figures

Shown = TypeVar("Shown")


def document(title: str, body: str) -> str:
    """A whole page.

    Example:
        >>> document("Title", "<p>Body</p>").startswith("<!DOCTYPE html>")
        True
    """
    style = resources.files("mlensing.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title>\n<style>\n{style}</style>"
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}</body>\n</html>\n'


def section(heading: str, html: str) -> str:
    """A heading with what stands below it; ``html`` goes in as it is."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{html}\n</section>\n"


def paragraphs(texts: Iterable[str]) -> str:
    """Plain texts as paragraphs."""
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def figure_text(value: float) -> str:
    """A figure to three places, a dash for one that there is not."""
    return "–" if np.isnan(value) else f"{value:.3f}"


def tile(value: float, label: str) -> str:
    """A figure in large type with its name."""
    return f'<div class="tile"><b>{figure_text(value)}</b><span>{escape(label)}</span></div>'


def chart(draw: Callable[[Shown, figures.Theme], Figure], shown: Shown, caption: str, *, wide: bool = False) -> str:
    """A figure in the light and the dark theme, with its caption."""
    drawn = figures.svg(draw, shown, figures.LIGHT)
    light, dark = (
        _embed(drawn, "svg+xml"),
        _embed(figures.recolour(drawn, figures.LIGHT, figures.DARK), "svg+xml"),
    )
    source = f'<source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
    picture = f'<picture>{source}<img src="{light}" alt="{escape(caption)}"></picture>'
    kind = "chart wide" if wide else "chart"
    return f'<figure class="{kind}">{picture}<figcaption>{escape(caption)}</figcaption></figure>\n'


def picture_tag(image: NDArray[np.uint8], name: str) -> str:
    """RGB [H, W, 3] as an image inside the page.

    Raises:
        ValueError: another shape or kind of number.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{name}: expected uint8 [H, W, 3], got {image.dtype} {image.shape}")
    stream = io.BytesIO()
    Image.fromarray(image, mode="RGB").save(stream, format="PNG")
    return f'<img src="{_embed(stream.getvalue(), "png")}" alt="">'


def footer(provenance: Mapping[str, Any]) -> str:
    """How the page was made."""
    origin = escape(json.dumps(provenance, indent=2, sort_keys=True, default=str))
    made = f"<details><summary>How this was made</summary><pre>{origin}</pre></details>" if provenance else ""
    return f"<footer>{made}<p>Written by mlensing. Nothing is loaded from outside.</p></footer>\n"


def _embed(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
