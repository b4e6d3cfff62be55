"""What the released finder does on real sky, beside the best single number.

    python benchmarks/real_sky.py DATA [--checkpoint best.ckpt]

DATA holds the development sets described in its own README.md. Thresholds are those that one per cent of the CFHTLS
field non-lenses pass. Files are made in a temporary folder and scored by the public predictor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from PIL import Image
from rich.console import Console
from rich.table import Table

from mlensing.errors import MLensingError
from mlensing.evaluation.metrics import roc_auc
from mlensing.inference import Predictor

RELEASED = "runs/out/release/version_0/checkpoints/best.ckpt"
RESAMPLES = 1000
FALSE_POSITIVES = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--checkpoint", default=RELEASED, help="a trained finder (default: %(default)s)")
    parser.add_argument("--views", type=int, choices=(1, 8), default=8, help="8 averages over flips and turns")
    parser.add_argument("--scores", help="also write every score to this CSV")
    chosen = parser.parse_args()
    data = Path(chosen.data)
    if not (data / "cfhtls_rgb8").is_dir() or not Path(chosen.checkpoint).is_file():
        print(f"skipped: needs the data sets in {data} and the finder {chosen.checkpoint} (runs/release.sh)")
        return 0
    try:
        predictor = Predictor.load(chosen.checkpoint)
    except MLensingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        scores = score_sets(predictor, data, Path(scratch), chosen.views)
    if chosen.scores:
        scores.to_csv(chosen.scores, index=False)
    graded = report(scores)
    print(f"REAL_SKY_GRADED_AUC = {graded:.3f} (aim 0.700)")
    return 0


def score_sets(predictor: Predictor, data: Path, scratch: Path, views: int) -> pd.DataFrame:
    """One row an image: set, label (1 lens, 0 not, NaN between), logit, brightness, colour."""
    sets = [candidates(data), gallery(data), nonlenses(data, scratch), decals(data), legacy(data)]
    sets += [ellipticals(data, scratch), bologna_ground(data, scratch), bologna_space(data), fields(data, scratch)]
    table = pd.concat(sets, ignore_index=True)
    found = predictor.predict(list(table["file"]), views=views)
    bad = found[found["status"] != "ok"]
    for row in bad.itertuples():
        print(f"not scored: {row.file}: {row.status}")
    numbers = [single_numbers(Path(file)) for file in table["file"]]
    return table.assign(logit=found["logit"], brightness=[n[0] for n in numbers], colour=[n[1] for n in numbers])


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


def report(scores: pd.DataFrame) -> float:
    """Print every figure with its interval; the AUC of the graded candidates."""
    field = of(scores, "field")
    threshold = float(np.sort(field)[-1 - int(FALSE_POSITIVES * len(field))])
    table = Table("figure", "finder", "95 % interval", "brightness", "blue - red", title="real sky")
    graded = auc_row(table, "CFHTLS graded >= 2 against <= 1, AUC", scores[scores["set"] == "graded"])
    auc_row(table, "CFHTLS gallery against field, AUC", scores[scores["set"].isin(["gallery", "field"])])
    pair = scores[scores["set"].isin(["legacy real", "decals"])]
    auc_row(table, "Legacy real lenses against DECaLS galaxies, AUC", pair)
    auc_row(table, "Bologna ground, AUC", scores[scores["set"] == "bologna ground"])
    auc_row(table, "Bologna space, AUC", scores[scores["set"] == "bologna space"])
    for name, title in (
        ("gallery", "CFHTLS gallery, recall"),
        ("other", "CFHTLS spirals, stars, trails (dark stretch), rate"),
        ("decals", "DECaLS impostors, rate"),
        ("legacy real", "Legacy real lenses, recall"),
        ("legacy painted", "Legacy painted arcs, recall"),
        ("des ellipticals", "DES ellipticals, rate"),
    ):
        share_row(table, f"{title} at 1 % of the field", of(scores, name), threshold)
    for name in ("field CFHTLS-test", "field CFHTLS-27"):
        part = scores[scores["set"] == name].sort_values("logit", ascending=False)
        best = int(np.argmax(part["label"].to_numpy() == 1)) + 1
        table.add_row(f"{name[6:]}: rank of the known lens", f"{best} of {len(part)}", "", "", "")
    Console(width=150).print(table)
    return graded


def of(scores: pd.DataFrame, name: str) -> np.ndarray:
    logit = scores.loc[scores["set"] == name, "logit"].to_numpy()
    return logit[np.isfinite(logit)]


def auc_row(table: Table, title: str, part: pd.DataFrame) -> float:
    part = part[np.isfinite(part["label"]) & np.isfinite(part["logit"])]
    label = part["label"].to_numpy()
    value = roc_auc(label, part["logit"].to_numpy())
    rng = np.random.default_rng(0)
    draws = [
        np.concatenate([rng.choice(np.flatnonzero(label == k), int((label == k).sum())) for k in (0, 1)])
        for _ in range(RESAMPLES)
    ]
    spread = np.percentile([roc_auc(label[i], part["logit"].to_numpy()[i]) for i in draws], [2.5, 97.5])
    single = [
        roc_auc(label, part[name].to_numpy()) if part[name].notna().all() else np.nan
        for name in ("brightness", "colour")
    ]
    best = [f"{max(v, 1 - v):.2f}" if np.isfinite(v) else "" for v in single]
    table.add_row(title, f"{value:.3f}", f"{spread[0]:.3f} .. {spread[1]:.3f}", *best)
    return float(value)


def share_row(table: Table, title: str, logit: np.ndarray, threshold: float) -> None:
    above = logit > threshold
    rng = np.random.default_rng(0)
    draws = [rng.choice(above, len(above)).mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    table.add_row(f"{title} ({len(above)})", f"{above.mean():.3f}", f"{low:.3f} .. {high:.3f}", "", "")


if __name__ == "__main__":
    sys.exit(main())
