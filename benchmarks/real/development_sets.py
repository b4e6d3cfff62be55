"""The real development images as one table, as `train_live --labelled` takes them, and without labels for `pretrain`.

    python benchmarks/real/development_sets.py DATA --output_dir DIR

DATA holds the sets described in its own README.md. What has to be cut from larger files is written beside the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from PIL import Image

from mlensing.provenance import fingerprint

LEARNT_FROM = ("graded", "gallery", "field", "other", "decals", "legacy real", "des ellipticals")
LEGACY, CFHTLS = ("legacy", 0.262), ("cfhtls", 0.187)
SURVEYS = dict.fromkeys(("decals", "legacy real", "legacy painted"), LEGACY) | {
    "des ellipticals": ("des", 0.263),
    "bologna ground": ("kids", 0.2),
    "bologna space": ("euclid", 0.1),
}
VALIDATES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of the development sets")
    parser.add_argument(
        "--output_dir", required=True, help="train/index.csv, val/index.csv, images.csv and images go here"
    )
    chosen = parser.parse_args()
    sets = all_sets(Path(chosen.data), Path(chosen.output_dir) / "images")
    print(f"wrote {labelled(sets[sets['label'].notna()], Path(chosen.output_dir))}")
    indexed(sets).assign(label="").to_csv(Path(chosen.output_dir) / "images.csv", index=False)


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
    rows = indexed(table)
    held = table["object"].map(lambda name: int(fingerprint(f"val {name}".encode()), 16) % VALIDATES == 0)
    for name, part in (("train", rows[~held]), ("val", rows[held])):
        (folder / name).mkdir(parents=True)
        part.to_csv(folder / name / "index.csv", index=False)
    return folder


def indexed(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of an index CSV."""
    surveys = [SURVEYS.get(name, CFHTLS) for name in table["set"]]
    rows = pd.DataFrame({"filepath": table["file"].map(os.path.abspath), "label": table["label"]})
    rows["survey"], rows["pixel_scale_arcsec"] = zip(*surveys, strict=True)
    return rows


if __name__ == "__main__":
    main()
