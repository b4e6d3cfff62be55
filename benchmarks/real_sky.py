"""What the released ensemble does on real sky, beside its best member and the best single number.

    python benchmarks/real_sky.py DATA [--checkpoint FOLDER or best.ckpt ...] [--output_dir DIR]
    python benchmarks/real_sky.py DATA --labelled DIR

DATA holds the development sets described in its own README.md. Thresholds are those that one per cent of the CFHTLS
field non-lenses pass, each finder's own. Files are made in a temporary folder and scored by the public predictor.
Intervals are over images. The best member is the best of each row, which flatters it. With --output_dir every score is
written there, the report of the CFHTLS pictures for a model card, and mosaics of the lenses that are missed and of the
impostors that rank highest.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from PIL import Image
from rich.console import Console
from rich.table import Table

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
from mlensing.provenance import fingerprint

RESAMPLES = 1000
FALSE_POSITIVES = 0.01
SHOWN = 24
LEARNT_FROM = ("graded", "gallery", "field", "other", "decals", "legacy real", "des ellipticals")
SURVEYS = {"decals": ("legacy", 0.262), "legacy real": ("legacy", 0.262), "des ellipticals": ("des", 0.263)}
VALIDATES = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", nargs="+", help="finders, or an ensemble's folder (default: the released one)")
    parser.add_argument("--views", type=int, choices=(1, 8), default=8, help="8 averages over flips and turns")
    parser.add_argument("--labelled", metavar="DIR", help="only write the images as train_live --labelled takes them")
    parser.add_argument("--output_dir", help="also write scores.csv and mosaics here")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if not (data / "cfhtls_rgb8").is_dir():
        print(f"skipped: needs the data sets in {data}")
        return 0
    if chosen.labelled:
        sets = all_sets(data, Path(chosen.labelled) / "images")
        print(f"wrote {labelled(sets[sets['label'].notna()], Path(chosen.labelled))}")
        return 0
    try:
        predictor = Predictor.load(chosen.checkpoint or RELEASED)
    except MLensingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        scores = score_sets(predictor, all_sets(data, Path(scratch)), chosen.views)
        if chosen.output_dir:
            write_details(scores, predictor, Path(chosen.output_dir))
    keys = [member.key for member in predictor.ensemble.members]
    if chosen.output_dir:
        pictures_report(scores, keys).save(Path(chosen.output_dir) / "report.json")
    graded = report(scores, [f"logit_{key}" for key in keys])
    print(f"REAL_SKY_GRADED_AUC = {graded:.3f} (aim 0.800)")
    return 0


def write_details(scores: pd.DataFrame, predictor: Predictor, folder: Path) -> None:
    """Scores, and mosaics: lenses ranked lowest beside impostors ranked highest, of the sets the aims are about."""
    folder.mkdir(parents=True, exist_ok=True)
    scores.to_csv(folder / "scores.csv", index=False)
    for name, lenses, others in (
        ("graded", scores["set"].isin(["graded"]), scores["set"].isin(["graded"])),
        ("gallery_field", scores["set"] == "gallery", scores["set"] == "field"),
        ("legacy_decals", scores["set"] == "legacy real", scores["set"] == "decals"),
    ):
        missed = scores[lenses & (scores["label"] == 1)].sort_values("logit").head(SHOWN)
        false = scores[others & (scores["label"] == 0)].sort_values("logit", ascending=False).head(SHOWN)
        left, right = (
            list(pictures(gather(list(part["file"])), predictor.contract).values()) for part in (missed, false)
        )
        write_mosaic(folder / f"{name}.png", left, right)


def score_sets(predictor: Predictor, sets: pd.DataFrame, views: int) -> pd.DataFrame:
    """The rows of ``all_sets``, with log-odds of the whole and of each member."""
    found = predictor.predict(list(sets["file"]), views=views, members=True)
    for row in found[found["status"] != "ok"].itertuples():
        print(f"not scored: {row.file}: {row.status}")
    return sets.join(found.drop(columns=["file", "status"]))


def all_sets(data: Path, scratch: Path) -> pd.DataFrame:
    """One row an image: set, file, label (1 lens, 0 not, NaN between), brightness, colour, and the object's name.

    What has to be cut is written to ``scratch``.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    pictures = [candidates(data), gallery(data), nonlenses(data, scratch), decals(data), legacy(data)]
    linear = [ellipticals(data, scratch), bologna_ground(data, scratch), bologna_space(data), fields(data, scratch)]
    table = pd.concat([*pictures, *linear], ignore_index=True)
    numbers = [single_numbers(Path(file)) for file in table["file"]]
    table = table.assign(brightness=[n[0] for n in numbers], colour=[n[1] for n in numbers])
    return table.assign(object=objects(table["file"], data))


def objects(files: pd.Series, data: Path) -> list[str]:
    """Name of what each image shows: a gallery image shows the object of a candidate."""
    pairs = pd.read_csv(data / "cfhtls_rgb8/gallery.csv").dropna(subset=["same_object_as"])
    same = {Path(f).stem: Path(c).stem for f, c in zip(pairs["file"], pairs["same_object_as"], strict=True)}
    return [same.get(Path(f).stem, Path(f).stem) for f in files]


def single_numbers(path: Path) -> tuple[float, float]:
    """Mean brightness, and blue minus red, of the central 64 pixels of a colour image; NaN for FITS."""
    if path.suffix != ".png":
        return np.nan, np.nan
    image = np.asarray(Image.open(path).convert("RGB"), float)
    top, left = ((n - min(n, 64)) // 2 for n in image.shape[:2])
    cut = image[top : top + 64, left : left + 64]
    return float(cut.mean()), float(cut[..., 2].mean() - cut[..., 0].mean())


def rows(name: str, files: list[Path], label: float | list[float]) -> pd.DataFrame:
    return pd.DataFrame({"set": name, "file": [str(f) for f in files], "label": label})


def candidates(data: Path) -> pd.DataFrame:
    table = pd.read_csv(data / "cfhtls_rgb8/candidates.csv")
    grade = table["expert_grade"]
    label = np.where(grade >= 2, 1.0, np.where(grade <= 1, 0.0, np.nan))
    return rows("graded", [data / "cfhtls_rgb8" / f for f in table["file"]], list(label))


def gallery(data: Path) -> pd.DataFrame:
    return rows("gallery", sorted((data / "cfhtls_rgb8/gallery").glob("*.png")), 1.0)


def nonlenses(data: Path, scratch: Path) -> pd.DataFrame:
    content = np.load(data / "cfhtls_rgb8/nonlenses_cut64.npz")
    made = []
    for i, (image, kind, stretch) in enumerate(
        zip(content["images"], content["kind"], content["stretch"], strict=True)
    ):
        path = scratch / f"{i:03d}_{kind}.png"
        Image.fromarray(image).save(path)
        made.append(rows("field" if stretch == "gallery" else "other", [path], 0.0))
    return pd.concat(made)


def decals(data: Path) -> pd.DataFrame:
    return rows("decals", sorted((data / "decals_rgb8_galaxies/png128").glob("*.png")), 0.0)


def legacy(data: Path) -> pd.DataFrame:
    folder = data / "legacy_rgb8_lenses/png101"
    real = rows("legacy real", sorted(folder.glob("REAL*.png")), 1.0)
    return pd.concat([real, rows("legacy painted", sorted(folder.glob("INJ*.png")), 1.0)])


def ellipticals(data: Path, scratch: Path) -> pd.DataFrame:
    bands = "grizY"
    cubes = np.stack([fits.getdata(data / f"des_grizY_ellipticals/{b}.fits") for b in bands], -1)
    made = [write(scratch / f"des_{i:02d}.fits", cube, bands, 0.263, "des") for i, cube in enumerate(cubes)]
    return rows("des ellipticals", made, 0.0)


def bologna_ground(data: Path, scratch: Path) -> pd.DataFrame:
    """Bands 3, 2, 1 are g, r, i's order g = 3, r = 1, i = 2; 100 marks masked pixels."""
    made = []
    for label, kind in ((1.0, "lens"), (0.0, "nolens")):
        folder = data / "bologna_challenge_sample/ground_based" / kind
        bands = [sorted((folder / f"Band{n}").glob("*.fits")) for n in (3, 1, 2)]
        for number, files in enumerate(zip(*bands, strict=True)):
            cube = np.stack([fits.getdata(f) for f in files], -1).astype("f4")
            cube[cube == 100] = np.nan
            made.append(
                rows("bologna ground", [write(scratch / f"{kind}_{number}.fits", cube, "gri", 0.2, "kids")], label)
            )
    return pd.concat(made)


def bologna_space(data: Path) -> pd.DataFrame:
    folder = data / "bologna_challenge_sample/space_based"
    lens = rows("bologna space", sorted((folder / "lens").glob("*.fits")), 1.0)
    return pd.concat([lens, rows("bologna space", sorted((folder / "nolens").glob("*.fits")), 0.0)])


def fields(data: Path, scratch: Path) -> pd.DataFrame:
    """Each CFHTLS field in overlapping cutouts; the known lens is near the middle."""
    made = []
    for name, pattern in (("field CFHTLS-test", "CFHTLS-test_{}"), ("field CFHTLS-27", "examples_CFHTLS_27_{}_sci")):
        bands = [fits.getdata(data / "fields" / f"{pattern.format(b)}.fits") for b in "gri"]
        cube = np.stack(bands, -1).astype("f4")
        height, width = cube.shape[:2]
        for y in range(0, height - 63, 32):
            for x in range(0, width - 63, 32):
                path = write(scratch / f"{name[6:]}_{y}_{x}.fits", cube[y : y + 64, x : x + 64], "gri", 0.186, "cfhtls")
                near = max(abs(y + 32 - height / 2), abs(x + 32 - width / 2)) <= 32
                made.append(rows(name, [path], float(near)))
    return pd.concat(made)


def write(path: Path, cube: np.ndarray, bands: str, scale: float, survey: str) -> Path:
    header = fits.Header({"BANDS": bands, "PIXSCALE": scale, "SURVEY": survey})
    fits.writeto(path, cube.astype("f4"), header)
    return path


def labelled(table: pd.DataFrame, folder: Path) -> Path:
    """The images to learn from as ``prepare`` would divide them: one object in six validates."""
    table = table[table["set"].isin(LEARNT_FROM)]
    surveys = [SURVEYS.get(name, ("cfhtls", 0.187)) for name in table["set"]]
    rows = pd.DataFrame({"filepath": table["file"].map(os.path.abspath), "label": table["label"]})
    rows["survey"], rows["pixel_scale_arcsec"] = zip(*surveys, strict=True)
    held = table["object"].map(lambda name: int(fingerprint(f"val {name}".encode()), 16) % VALIDATES == 0)
    for name, part in (("train", rows[~held]), ("val", rows[held])):
        (folder / name).mkdir(parents=True)
        part.to_csv(folder / name / "index.csv", index=False)
    return folder


def pictures_report(scores: pd.DataFrame, keys: list[str]) -> Report:
    """What a model card says of the CFHTLS pictures with a firm label."""
    part = scores[scores["set"].isin(["graded", "gallery", "field"])]
    members = {key: part[f"logit_{key}"].to_numpy() for key in keys}
    title = "real CFHTLS pictures: candidates graded by experts, textbook lenses, field galaxies"
    return evaluate_scores(part["label"], part["logit"], members=members, title=title)


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
