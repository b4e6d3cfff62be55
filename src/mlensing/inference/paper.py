"""The paper's evaluation: members and their ensemble, fitted on validation, measured on test, beside the claims."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlensing.contract import Calibration
from mlensing.data.split import SPLITS
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.bootstrap import Interval
from mlensing.evaluation.curves import LENS
from mlensing.evaluation.fusion import fit_fusion, fuse, members_log_odds
from mlensing.evaluation.paper import CLAIMS, FULL, Paper, apart, claims, measure, plain
from mlensing.evaluation.paper_figures import write_figures
from mlensing.inference.assemble import Validation, calibrated, split_validation
from mlensing.inference.ensemble import Ensemble, EnsembleScores, keys_of
from mlensing.inference.evaluate import index_of
from mlensing.inference.member import Member
from mlensing.inference.selection import Selection, select
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.provenance import provenance, write_json

Array = NDArray[np.float64]
LIBRARIES = ("torch", "lightning", "numpy", "scipy", "scikit-learn", "caustics", "astropy")
"""What figures may depend on besides ourselves."""


def evaluate_paper(
    data_dir: str = "data/simulated/test",
    *,
    log_dir: str = "lightning_logs",
    checkpoints: list[str] | None = None,
    output_dir: str = "results",
    generate_figures: bool = False,
    calibration: Literal["temperature", "beta", "isotonic"] = "beta",
    survey: str | None = None,
    device: str = "auto",
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure trained members and their ensemble on the test split, and write ``metrics.json``.

    Calibrations, members and rule are chosen on the validation split beside it (``../val``); nothing is fitted on test.

    Arguments:
        data_dir: the test split's folder; ``val`` is beside it.
        log_dir: where runs are looked for, in depth: the newest finished one of each architecture, seed and data.
        checkpoints: trained finders in place of those of ``log_dir``.
        output_dir: folder of ``metrics.json`` and ``figures``.
        generate_figures: also draw the figures, as PDF and PNG.
        calibration: of each member: temperature, beta or isotonic.
        survey: preset of files whose header and row name none.
        device: auto, cpu or cuda.
        resamples, seed: of the bootstrap; the seed is also that of the folds of the selection.

    Returns:
        what ``metrics.json`` holds.

    Raises:
        ConfigError: no split there, no finished run, too few labelled images, an unknown calibration.
        CatalogError: a split of which nothing can be measured.
        ContractError: finders that do not fit together, or not to the images.
    """
    settings = dict(locals())
    index, validation = index_of(Path(data_dir)), _validation_of(data_dir)
    found = [read_checkpoint(path) for path in checkpoints] if checkpoints else finished_runs(log_dir)
    keys = keys_of(found)
    members = [Member(key, c.contract, c.network(), device) for key, c in zip(keys, found, strict=True)]
    ensemble = Ensemble(members)
    seen = split_validation(ensemble, validation, survey)
    fitted = calibrated(found, seen, calibration)
    maps = {key: checkpoint.contract.calibration for key, checkpoint in zip(keys, fitted, strict=True)}
    chosen = select(*seen.scores[:2], seen.label, maps, seed=seed, physics=seen.scores.physics)
    test = _known(split_validation(ensemble, index, survey), data_dir)
    paper = _scores(chosen, maps, test)
    seeds_rule = _seeds_fusion(maps, seen, test)
    content = {
        **_table(paper, test, chosen, seeds_rule, resamples, seed),
        **_images(index.parent.parent, paper.label),
        "provenance": _origin(settings, dict(zip(keys, found, strict=True)), index.parent.parent),
    }
    write_json(Path(output_dir) / "metrics.json", content)
    if generate_figures:
        note = f"{content['images']['train']:,} training images" + (" (small set)" if content["small"] else "")
        write_figures(paper, Path(output_dir) / "figures", note=note)
    return content


def finished_runs(log_dir: str | Path) -> list[Checkpoint]:
    """``best.ckpt`` of the newest finished run of each architecture, seed and training data, in that order.

    A run is finished when its checkpoint says what images it was trained on, which training writes last.

    Raises:
        ConfigError: none there.
        ContractError: a damaged checkpoint.
    """
    paths = sorted(Path(log_dir).rglob("version_*/checkpoints/best.ckpt"), key=lambda path: path.stat().st_mtime)
    runs = [checkpoint for checkpoint in map(read_checkpoint, paths) if checkpoint.domain() is not None]
    newest = {(c.contract.name, str(c.config.get("seed")), c.contract.training_hash): c for c in runs}
    if not newest:
        remedy = "Train with `mlensing train`, or name --checkpoints."
        raise ConfigError(log_dir, f"no finished run among {len(paths)} in it", remedy)
    return [newest[key] for key in sorted(newest)]


def _validation_of(data_dir: str) -> Path:
    """The validation split beside the test split."""
    folder = index_of(Path(data_dir)).parent
    if folder.name == "val":
        raise ConfigError(data_dir, "this is the validation split, on which all is fitted", "Give the test split.")
    return index_of(folder.with_name("val"))


def _known(split: Validation, data_dir: str) -> Validation:
    """What of a split has a label and a score of every member.

    Raises:
        CatalogError: only one class has.
    """
    known = np.isfinite(split.label) & np.isfinite(split.scores.logit).all(0)
    label = split.label[known]
    if len(set(label >= LENS)) < 2:
        raise CatalogError(data_dir, "no lenses, or no non-lenses, that can be scored", "Give a test split of both.")
    return Validation(EnsembleScores(*(part[:, known] for part in split.scores)), label, split.domains)


def _scores(chosen: Selection, maps: Mapping[str, Calibration], test: Validation) -> Paper:
    """Calibrated log-odds of all members and of those chosen together."""
    keys, scores = list(maps), test.scores
    rows = [keys.index(key) for key in chosen.keys]
    logit, variance, physics = (part[rows] for part in (scores.logit, scores.variance, scores.physics))
    odds, _ = fuse(chosen.fusion, logit, variance, [maps[key] for key in chosen.keys], physics)
    own = members_log_odds(scores.logit, list(maps.values()))
    return Paper(test.label, dict(zip(keys, own, strict=True)), odds, logit.mean(0))


def _seeds_fusion(maps: Mapping[str, Calibration], seen: Validation, test: Validation) -> Array:
    """Log-odds of all members under the seed's rule: inverse variance of dropout."""
    own, known = list(maps.values()), np.isfinite(seen.label)
    fit, scored = seen.scores, test.scores
    rule = fit_fusion("inverse_variance", fit.logit[:, known], fit.variance[:, known], seen.label[known], own)
    return fuse(rule, scored.logit, scored.variance, own)[0]


def _table(
    paper: Paper, test: Validation, chosen: Selection, seeds_rule: Array, resamples: int, seed: int
) -> dict[str, Any]:
    """Figures of members, of the ensemble and of the seed's rule; diversity; claims."""
    bootstrap = {"seed": seed, "count": resamples}

    def figures(odds: Array, raw: Array) -> dict[str, Interval]:
        return measure(paper.label, odds, raw, **bootstrap)

    pairs = zip(paper.members.items(), test.scores.logit, strict=True)
    whole = figures(paper.ensemble, paper.raw)
    differ = apart(paper.label, list(paper.members.values()), **bootstrap) if len(paper.members) > 1 else {}
    measured = {name: whole[name] for name in CLAIMS if name in whole}
    measured |= {"disagreement": differ["spread"]} if differ else {}
    return {
        "members": {key: plain(figures(odds, raw)) for (key, odds), raw in pairs},
        "ensemble": {"members": list(chosen.keys), "rule": chosen.fusion.rule, **plain(whole)},
        "inverse_variance_of_all": plain(figures(seeds_rule, test.scores.logit.mean(0))),
        "diversity": plain(differ),
        "claims": claims(measured),
        "selection": chosen.record,
        "resamples": resamples,
    }


def _images(folder: Path, label: Array) -> dict[str, Any]:
    """Images of each split, lenses among those measured, and whether the set is smaller than the paper's."""
    indexes = {split: folder / split / "index.csv" for split in SPLITS}
    rows = {split: len(pd.read_csv(path)) if path.is_file() else 0 for split, path in indexes.items()}
    lenses = int(np.sum(label >= LENS))
    images = {**rows, "measured": label.size, "measured_lenses": lenses}
    return {"images": images, "small": sum(rows.values()) < FULL}


def _origin(settings: Mapping[str, Any], found: Mapping[str, Checkpoint], folder: Path) -> dict[str, Any]:
    """The command behind the figures, those behind the members and the images, and versions."""
    note = folder / "provenance.json"
    return {
        **provenance("eval_paper", dict(settings), settings["seed"]),
        "members": {key: _training(checkpoint) for key, checkpoint in found.items()},
        "images": json.loads(note.read_text()) if note.is_file() else None,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def _training(found: Checkpoint) -> dict[str, Any]:
    contract = found.contract
    weights = sum(value.numel() for key, value in found.content["state_dict"].items() if key.startswith("net."))
    return {
        "command": "train",
        "config": found.config,
        "version": contract.version,
        "training_hash": contract.training_hash,
        "parameters": weights,
    }
