"""The model card: what an ensemble is made of, how well it did and on what, and what it cannot do.

Markdown with a head of YAML, as model hubs read it. Every figure comes from a `Report`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from mlensing.contract import Fusion, ModelContract
from mlensing.evaluation.report import Estimate, Report
from mlensing.evaluation.words import MEANING

SHOWN = ("roc_auc", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3", "accuracy", "precision", "recall", "ece", "brier")
LIMITS = """\
- Figures on a simulated sky are just that. Real lenses are missed more often: look at the figures on real images first.
- A probability holds for the share of lenses that is asked for. On the sky one galaxy in a thousand or fewer is a lens:
  give `--prevalence`, and expect most candidates to be none.
- Images unlike the training data get scores too. Rings, mergers and spirals are the usual impostors: look at them.
- Pixel scales and bands outside those named above are resampled or refused.
"""


def model_card(
    name: str,
    contracts: Mapping[str, ModelContract],
    fusion: Fusion,
    report: Report,
    real: Report | None = None,
    about: str = "",
) -> str:
    """The card of an ensemble.

    Arguments:
        name: of the repository, such as ``me/lens-finder``; one without a slash is that of the package's own ensemble.
        contracts: of the members, by key.
        fusion: how their logits become one.
        report: on simulated images.
        real: on real ones.
        about: Markdown to open with: the data, say, that the members have learnt from.

    Example:
        >>> from mlensing.contract import BandStatistics
        >>> from mlensing.evaluation.measure import evaluate_scores
        >>> stats = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
        >>> contract = ModelContract(name="resnet18", bands=("r",), pixel_scale=(0.1, 0.4), statistics=stats)
        >>> report = evaluate_scores([1, 0], [1.0, -1.0], resamples=10, title="A simulated sky")
        >>> card = model_card("me/finder", {"a": contract}, Fusion(), report)
        >>> card.splitlines()[0], "## Figures: A simulated sky" in card
        ('---', True)
    """
    reports = [one for one in (report, real) if one is not None]
    head = yaml.safe_dump(_front(name, reports), sort_keys=False)
    parts = [
        f"---\n{head}---\n\n# {name}\n\nAn ensemble that finds strong gravitational lenses in images of galaxies.\n",
        *([about.strip() + "\n"] if about else []),
        _members(contracts, fusion),
        *map(_figures, reports),
        f"## Limits\n\n{LIMITS}",
        _use(name),
    ]
    return "\n".join(parts)


def _front(name: str, reports: Iterable[Report]) -> dict[str, Any]:
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": report.title, "type": "images"},
            "metrics": [
                {"name": MEANING[key][0], "type": key, "value": round(report.metrics[key].value, 4)}
                for key in SHOWN
                if key in report.metrics and math.isfinite(report.metrics[key].value)
            ],
        }
        for report in reports
    ]
    return {
        "license": "bsd-3-clause",
        "library_name": "mlensing",
        "pipeline_tag": "image-classification",
        "tags": ["astronomy", "gravitational-lensing"],
        "model-index": [{"name": name, "results": results}],
    }


def _members(contracts: Mapping[str, ModelContract], fusion: Fusion) -> str:
    rows = [
        f"| {key} | {c.name} | {', '.join(c.bands)} | {c.input_size} | {c.pixel_scale[0]:g} to {c.pixel_scale[1]:g} | "
        f"{', '.join(c.statistics)} | {c.training_hash or '-'} | {c.calibration.kind} |"
        for key, c in contracts.items()
    ]
    table = [
        "| member | network | bands | pixels | arcsec/px | images | training data | calibration |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "## Members\n\n" + "\n".join(table) + f"\n\nTheir logits become one by the rule `{fusion.rule}`.\n"


def _figures(report: Report) -> str:
    counts = report.counts
    names = [name for name in SHOWN if name in report.metrics]
    lines = [
        f"## Figures: {report.title}",
        "",
        f"{counts.lenses} lenses, {counts.others} others; {report.level:.0%} bootstrap intervals.",
        "",
        "| metric | value | interval |" + "".join(f" {key} |" for key in report.members),
        "|---|---|---|" + "---|" * len(report.members),
    ]
    for name in names:
        alone = "".join(f" {_number(member.metrics[name].value)} |" for member in report.members.values())
        lines.append(f"| {MEANING[name][0]} | {_row(report.metrics[name])} |{alone}")
    spread = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in report.diversity.items())
    return "\n".join([*lines, *(["", f"How members differ: {spread}."] if spread else []), ""])


def _row(estimate: Estimate) -> str:
    return f"{_number(estimate.value)} | {_number(estimate.low)} to {_number(estimate.high)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _use(name: str) -> str:
    folder = name.rsplit("/", 1)[-1]
    fetch = f"mlensing pull {name} --output_dir {folder}\n" if "/" in name else ""
    named = f" --checkpoint {folder}" if fetch else ""
    return f"""## Use

```bash
pip install mlensing
{fetch}mlensing predict my_images/{named} --prevalence 0.001
```
"""
