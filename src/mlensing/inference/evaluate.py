"""A checkpoint against a labelled split: scores, their report, and pictures of what was found and missed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mlensing.contract import ModelContract
from mlensing.data.gather import Item, gather, read_item
from mlensing.data.preview import Picture, picture
from mlensing.errors import CatalogError, ConfigError, MLensingError
from mlensing.evaluation.measure import evaluate_scores
from mlensing.evaluation.page import shown_rows
from mlensing.evaluation.report import Report
from mlensing.inference.ensemble import RELEASED, EnsembleScores
from mlensing.inference.inputs import fit_to
from mlensing.inference.member import Views
from mlensing.inference.predictor import Predictor
from mlensing.provenance import provenance


def evaluate_split(
    data_dir: str | Path,
    *,
    checkpoint: str | Path | Sequence[str | Path] = RELEASED,
    survey: str | None = None,
    batch_size: int = 64,
    views: Views = 1,
    device: str = "auto",
    prevalence: float | None = None,
    sky_prevalence: float | None = None,
    resamples: int = 200,
    seed: int = 0,
    title: str = "Evaluation",
) -> tuple[Report, dict[str, Picture]]:
    """Score every image of a split, in the order of its index, and measure the scores against the labels.

    Arguments:
        data_dir: folder with an ``index.csv``, or the index itself.
        checkpoint: a trained finder, several, or an ensemble's folder; the released ensemble if none is named.
        survey: preset of files whose header and row name none.
        batch_size: images a step.
        views: 8 averages over flips and quarter turns.
        device: ``auto`` takes a GPU when there is one.
        prevalence: share of lenses among the images, for which probabilities are stated; None keeps the training's.
        sky_prevalence: share of lenses on the sky at which the report states purity.
        resamples, seed: of the bootstrap.
        title: head of the report.

    Returns:
        the report, and RGB pictures [H, W, 3] by file of what its page shows (``evaluation.page.write_page``).

    Raises:
        ConfigError: no index there.
        CatalogError: an index that cannot be used, or without labels, or not one readable image.
        ContractError: a checkpoint that cannot be used, or not for these images.
    """
    predictor = Predictor.load(checkpoint, device)
    items, table, scores = score_split(
        predictor, data_dir, survey=survey, batch_size=batch_size, prevalence=prevalence, views=views
    )
    keys = [member.key for member in predictor.ensemble.members]
    config = {
        "checkpoint": [str(path) for path in ([checkpoint] if isinstance(checkpoint, str | Path) else checkpoint)],
        "data_dir": str(data_dir),
        "survey": survey,
        "views": views,
        "prevalence": prevalence,
    }
    report = evaluate_scores(
        [item.label for item in items],
        table["logit"].to_numpy(),
        members=dict(zip(keys, predictor.log_odds(scores, prevalence), strict=True)),
        raw=predictor.shifted(scores.logit.mean(0), prevalence),
        files=[item.file for item in items],
        seed=seed,
        resamples=resamples,
        prevalence=sky_prevalence,
        title=title,
        provenance=provenance("evaluate", config, seed),
    )
    shown = sorted({row for rows in shown_rows(report).values() for row in rows})
    return report, pictures([items[row] for row in shown], predictor.contract)


def score_split(
    predictor: Predictor,
    data_dir: str | Path,
    *,
    survey: str | None = None,
    batch_size: int = 64,
    prevalence: float | None = None,
    views: Views = 1,
    maps: bool = False,
) -> tuple[list[Item], pd.DataFrame, EnsembleScores]:
    """The images of a labelled split in the order of its index, their table, and each member's scores [M, N].

    With ``maps`` the residuals of the members' maps are among these.

    Raises:
        ConfigError: no index there.
        CatalogError: an index that cannot be used, or without labels, or not one image that can be scored.
    """
    items = list(gather([index_of(Path(data_dir))], survey=survey, labelled=True))
    table, scores = predictor.score_items(items, batch_size, prevalence=prevalence, views=views, maps=maps)
    if (table["status"] != "ok").all():
        problem = f"not one of {len(table)} images can be scored; the first: {table['status'].iloc[0].rstrip('.')}"
        raise CatalogError(data_dir, problem, "Repair the files, or correct the index.")
    return items, table, scores


def pictures(items: Sequence[Item], contract: ModelContract) -> dict[str, Picture]:
    """What the network saw of each image, as RGB [H, W, 3] by file; unreadable ones are left out."""
    found: dict[str, Picture] = {}
    for item in items:
        try:
            pixels = fit_to(read_item(item), contract, where=item.file)
        except MLensingError:  # its row has the reason
            continue
        found[item.file] = picture(pixels.image, composite=pixels.composite)
    return found


def index_of(path: Path) -> Path:
    """The index of a split's folder, or the index itself.

    Raises:
        ConfigError: none there.
    """
    index = path / "index.csv" if path.is_dir() else path
    if index.suffix.lower() != ".csv" or not index.is_file():
        problem = "no index.csv there"
        raise ConfigError(path, problem, "Give the folder of one split, such as O/test/, or its index.")
    return index
