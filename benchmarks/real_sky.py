"""What the released ensemble does on real sky, beside its best member and the best single number.

    python benchmarks/real_sky.py DATA [--checkpoint FOLDER or best.ckpt ...] [--output_dir DIR]

DATA holds the development sets described in its own README.md. Thresholds are those that one per cent of the CFHTLS
field non-lenses pass, each finder's own. Files are made in a temporary folder and scored by the public predictor.
Intervals are over images. The best member is the best of each row, which flatters it. With --output_dir every score is
written there, the report of the CFHTLS pictures for a model card, and mosaics of the lenses that are missed and of the
impostors that rank highest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from real.development_sets import all_sets
from rich.console import Console
from rich.table import Table

from mlensing.contract import ModelContract
from mlensing.data.gather import gather
from mlensing.errors import MLensingError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.measure import evaluate_scores
from mlensing.evaluation.metrics import ece, roc_auc
from mlensing.evaluation.realism_page import write_mosaic
from mlensing.evaluation.report import Report
from mlensing.inference import Predictor
from mlensing.inference.ensemble import RELEASED
from mlensing.inference.evaluate import pictures

RESAMPLES = 1000
FALSE_POSITIVES = 0.01
SHOWN = 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", help="finders, or an ensemble's folder (default: the released one)")
    parser.add_argument("--views", type=int, choices=(1, 8), default=8, help="8 averages over flips and turns")
    parser.add_argument("--output_dir", help="also write scores.csv and mosaics here")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if not (data / "cfhtls_rgb8").is_dir():
        print(f"skipped: needs the data sets in {data}")
        return 0
    try:
        predictor = Predictor.load(chosen.checkpoint or RELEASED)
    except MLensingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        scores = score_sets(predictor, all_sets(data, Path(scratch)), chosen.views)
        members = [f"logit_{member.key}" for member in predictor.ensemble.members]
        if chosen.output_dir:
            write_details(scores, members, predictor.contract, Path(chosen.output_dir))
    graded = report(scores, members)
    print(f"REAL_SKY_GRADED_AUC = {graded:.3f} (aim 0.800)")
    return 0


def write_details(scores: pd.DataFrame, members: list[str], contract: ModelContract, folder: Path) -> None:
    """Scores, report.json, and mosaics: lenses ranked lowest beside impostors ranked highest."""
    folder.mkdir(parents=True, exist_ok=True)
    scores.to_csv(folder / "scores.csv", index=False)
    pictures_report(scores, members).save(folder / "report.json")
    for name, lenses, others in (
        ("graded", scores["set"].isin(["graded"]), scores["set"].isin(["graded"])),
        ("gallery_field", scores["set"] == "gallery", scores["set"] == "field"),
        ("legacy_decals", scores["set"] == "legacy real", scores["set"] == "decals"),
    ):
        missed = scores[lenses & (scores["label"] == 1)].sort_values("logit").head(SHOWN)
        false = scores[others & (scores["label"] == 0)].sort_values("logit", ascending=False).head(SHOWN)
        left, right = (list(pictures(gather(list(part["file"])), contract).values()) for part in (missed, false))
        write_mosaic(folder / f"{name}.png", left, right)


def score_sets(predictor: Predictor, sets: pd.DataFrame, views: int) -> pd.DataFrame:
    """The rows of ``all_sets``, with log-odds of the whole and of each member."""
    found = predictor.predict(list(sets["file"]), views=views, members=True)
    for row in found[found["status"] != "ok"].itertuples():
        print(f"not scored: {row.file}: {row.status}")
    return sets.join(found.drop(columns=["file", "status"]))


def pictures_report(scores: pd.DataFrame, members: list[str]) -> Report:
    """What a model card says of the CFHTLS pictures with a firm label."""
    part = scores[scores["set"].isin(["graded", "gallery", "field"])]
    each = {name.removeprefix("logit_"): part[name].to_numpy() for name in members}
    title = "real CFHTLS pictures: candidates graded by experts, textbook lenses, field galaxies"
    return evaluate_scores(part["label"], part["logit"], members=each, title=title)


def report(scores: pd.DataFrame, members: list[str]) -> float:
    """Print every figure with its interval; the ensemble's AUC of the graded candidates."""
    logits = ["logit", *members]
    threshold, own = (threshold_of(scores, name, logits) for name in ("field", "decals"))
    table = Table("figure", "ensemble", "95 % interval", "members", "brightness", "blue - red", title="real sky")
    graded = auc_row(table, "CFHTLS graded >= 2 against <= 1, AUC", scores, ["graded"], logits)
    auc_row(table, "CFHTLS gallery against field, AUC", scores, ["gallery", "field"], logits)
    auc_row(table, "Legacy real lenses against DECaLS galaxies, AUC", scores, ["legacy real", "decals"], logits)
    auc_row(table, "Bologna ground, AUC", scores, ["bologna ground"], logits)
    auc_row(table, "Bologna space, AUC", scores, ["bologna space"], logits)
    for name, title in (
        ("gallery", "CFHTLS gallery, recall"),
        ("other", "CFHTLS spirals, stars, trails (dark stretch), rate"),
        ("decals", "DECaLS impostors, rate"),
        ("legacy real", "Legacy real lenses, recall"),
        ("legacy painted", "Legacy painted arcs, recall"),
        ("des ellipticals", "DES ellipticals, rate"),
    ):
        part = scores.loc[scores["set"] == name, logits].dropna().to_numpy()
        share_row(table, f"{title} at 1 % of the field", part > threshold)
        if name.startswith("legacy"):
            share_row(table, f"{title} at 1 % of the DECaLS galaxies", part > own)
    for name in ("field CFHTLS-test", "field CFHTLS-27"):
        part = scores[scores["set"] == name]
        ranks = [rank_of_lens(part, logit) for logit in logits]
        others = ", ".join(map(str, ranks[1:]))
        table.add_row(f"{name[6:]}: rank of the known lens of {len(part)}", str(ranks[0]), "", others)
    calibration_row(table, scores)
    Console(width=160).print(table)
    return graded


def threshold_of(scores: pd.DataFrame, name: str, logits: list[str]) -> np.ndarray:
    """The logit of each finder that one per cent of a set of non-lenses pass."""
    found = scores.loc[scores["set"] == name, logits].dropna().to_numpy()
    return np.sort(found, 0)[-1 - int(FALSE_POSITIVES * len(found))]


def rank_of_lens(part: pd.DataFrame, logit: str) -> int:
    """Place of the first cutout of the known lens, from 1."""
    return int(np.argmax(part.sort_values(logit, ascending=False)["label"].to_numpy() == 1)) + 1


def auc_row(table: Table, title: str, scores: pd.DataFrame, sets: list[str], logits: list[str]) -> float:
    part = scores[scores["set"].isin(sets) & np.isfinite(scores["label"])].dropna(subset=logits)
    label, logit = part["label"].to_numpy(), part[logits].to_numpy()
    values = aucs(label, logit)
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([rng.choice(np.flatnonzero(label == k), int((label == k).sum())) for k in (0, 1)])
        for _ in range(RESAMPLES)
    ]
    single = [
        roc_auc(label, part[name].to_numpy()) if part[name].notna().all() else np.nan
        for name in ("brightness", "colour")
    ]
    best = [f"{max(v, 1 - v):.2f}" if np.isfinite(v) else "" for v in single]
    add_row(table, title, values, [aucs(label[i], logit[i, :1])[0] for i in draws], best)
    return values[0]


def aucs(label: np.ndarray, logit: np.ndarray) -> list[float]:
    """ROC AUC of each finder, a column of logits [N, finders]."""
    return [float(roc_auc(label, column)) for column in logit.T]


def share_row(table: Table, title: str, above: np.ndarray) -> None:
    """A row for the share of images [N, finders] above the threshold."""
    rng = np.random.default_rng(0)
    draws = [above[rng.integers(0, len(above), len(above)), 0].mean() for _ in range(RESAMPLES)]
    add_row(table, f"{title} ({len(above)})", list(above.mean(0)), draws, [])


def add_row(table: Table, title: str, values: list[float], draws: list[float], rest: list[str]) -> None:
    low, high = np.percentile(draws, [2.5, 97.5])
    members = ", ".join(f"{value:.3f}" for value in values[1:])
    table.add_row(title, f"{values[0]:.3f}", f"{low:.3f} .. {high:.3f}", members, *rest)


def calibration_row(table: Table, scores: pd.DataFrame) -> None:
    """ECE of the CFHTLS pictures with a firm label, once at their own share of lenses, once as the ensemble says it."""
    part = scores[scores["set"].isin(["graded", "gallery", "field"]) & np.isfinite(scores["label"])]
    label, odds = part["label"].to_numpy(), part["logit"].to_numpy()
    share = float(label.mean())
    shifted = odds + np.log(share / (1 - share))  # the ensemble stands at even odds, up to a hundredth
    values = [ece(label, sigmoid(z)) for z in (shifted, odds)]
    words = f"at their share of lenses, {share:.2f}; {values[1]:.3f} at even odds"
    table.add_row(f"CFHTLS pictures ({len(part)}), ECE", f"{values[0]:.3f}", words)


if __name__ == "__main__":
    sys.exit(main())
