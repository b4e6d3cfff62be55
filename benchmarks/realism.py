"""How well each survey's simulated sky passes for the real one, for every development set that has a preset.

    python benchmarks/realism.py DATA [--full] [--checkpoint best.ckpt] [--output_dir runs/out/realism]

DATA holds the development sets described in its own README.md. Prints a markdown table; the last line is the largest
AUC that any discriminator reaches on any set of 30 real images or more. Without ``--full``: few images, no intervals.
``--output_dir`` also writes a page and a mosaic for each set (they show real images: keep them to yourself).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from PIL import Image

from mlensing.errors import MLensingError
from mlensing.evaluation.realism import Realism
from mlensing.inference.realism import realism, write_realism

AIM, MANY, CUT = 0.65, 30, 64
KINDS = ("pixels", "appearance", "finder")
SMALL, LARGE = 128, 512
"""Simulated images of each set, without and with ``--full``."""


@dataclass(frozen=True)
class Sample:
    """A real set: how to get its files, and what of the simulated sky stands beside it."""

    survey: str
    classes: tuple[str, ...]
    files: Callable[[Path, Path], list[Path]]
    stretch: int | None = None


def pattern(glob: str) -> Callable[[Path, Path], list[Path]]:
    return lambda data, scratch: sorted(data.glob(glob))


def stretched(name: str) -> Callable[[Path, Path], list[Path]]:
    def files(data: Path, scratch: Path) -> list[Path]:
        content = np.load(data / "cfhtls_rgb8/nonlenses_cut64.npz")
        made = []
        for i in np.flatnonzero(content["stretch"] == name):
            made.append(scratch / f"{i:03d}.png")
            Image.fromarray(content["images"][i]).save(made[-1])
        return made

    return files


def ellipticals(data: Path, scratch: Path) -> list[Path]:
    cubes = np.stack([fits.getdata(data / f"des_grizY_ellipticals/{band}.fits") for band in "grizY"], -1)
    return [write(scratch / f"{i:02d}.fits", cube, "grizY") for i, cube in enumerate(cubes)]


def bologna_ground(data: Path, scratch: Path) -> list[Path]:
    """Bands 3, 1, 2 are g, r, i; 100 marks masked pixels."""
    made = []
    for kind in ("lens", "nolens"):
        folder = data / "bologna_challenge_sample/ground_based" / kind
        bands = [sorted((folder / f"Band{number}").glob("*.fits")) for number in (3, 1, 2)]
        for number, files in enumerate(zip(*bands, strict=True)):
            cube = np.stack([fits.getdata(file) for file in files], -1).astype("f4")
            made.append(write(scratch / f"{kind}{number}.fits", np.where(cube == 100, np.nan, cube), "gri"))
    return made


def scenes(data: Path, scratch: Path) -> list[Path]:
    """Three, the smaller ones padded: too few to tell anything, which the table then says."""
    cubes = {name: np.load(data / f"hsc_scenes/{name}.npz")["images"] for name in ("hsc_cosmos", "hsc_cosmos_35")}
    cubes["Cut_HSC1"] = fits.getdata(data / "hsc_scenes/Cut_HSC1.fits")
    return [write(scratch / f"{name}.fits", np.moveaxis(cube, 0, -1), "grizy") for name, cube in cubes.items()]


def fields(data: Path, scratch: Path) -> list[Path]:
    made = []
    for form in ("CFHTLS-test_{}", "examples_CFHTLS_27_{}_sci"):
        cube = np.stack([fits.getdata(data / "fields" / f"{form.format(band)}.fits") for band in "gri"], -1)
        made += tiles(scratch / form[:10], cube, "gri")
    return made


def tiles(stem: Path, cube: np.ndarray, bands: str) -> list[Path]:
    """Cutouts side by side, each of ``CUT`` pixels."""
    corners = [(y, x) for y in range(0, cube.shape[0] - CUT + 1, CUT) for x in range(0, cube.shape[1] - CUT + 1, CUT)]
    parts = [(f"{stem}_{y}_{x}.fits", cube[y : y + CUT, x : x + CUT]) for y, x in corners]
    return [write(Path(name), part, bands) for name, part in parts]


def write(path: Path, cube: np.ndarray, bands: str) -> Path:
    fits.writeto(path, cube.astype("f4"), fits.Header({"BANDS": bands}))
    return path


LENS, BLIND, NEARBY = ("lens",), ("field",), ("nearby", "nearby_ring", "irregular")
SETS = {
    "CFHTLS gallery, lenses": Sample("cfhtls", LENS, pattern("cfhtls_rgb8/gallery/*.png"), 0),
    "CFHTLS candidates": Sample("cfhtls", (), pattern("cfhtls_rgb8/candidates/*.png"), 1),
    "CFHTLS field, gallery stretch": Sample("cfhtls", BLIND, stretched("gallery"), 0),
    "CFHTLS spirals, stars, dark stretch": Sample("cfhtls", ("field", "spiral"), stretched("dark"), 0),
    "CFHTLS blank fields, linear": Sample("cfhtls", ("empty",), fields),
    "DECaLS galaxies": Sample("legacy", NEARBY, pattern("decals_rgb8_galaxies/png128/*.png"), 2),
    "Legacy lenses": Sample("legacy", LENS, pattern("legacy_rgb8_lenses/png101/REAL*.png"), 0),
    "Legacy painted lenses": Sample("legacy", LENS, pattern("legacy_rgb8_lenses/png101/INJ*.png"), 0),
    "DES ellipticals, linear": Sample("des", ("elliptical", "companions"), ellipticals),
    "HSC scenes, linear": Sample("hsc", BLIND, scenes),
    "Bologna ground, linear": Sample("kids", (), bologna_ground),
    "Bologna space, linear": Sample("euclid", (), pattern("bologna_challenge_sample/space_based/*/*.fits")),
}
"""Each beside the classes nearest to it, in the survey's stretch of its pictures."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="../shared/data", help="folder of the development sets")
    parser.add_argument("--simulated", default="configs/release_sky.yaml", help="mixture (default: %(default)s)")
    parser.add_argument("--checkpoint", help="a trained finder (default: the newest in lightning_logs, if any)")
    parser.add_argument("--output_dir", help="also write a page and a mosaic of each set below this folder")
    parser.add_argument("--full", action="store_true", help="four times as many simulated images, and intervals")
    chosen = parser.parse_args()
    if not (Path(chosen.data) / "cfhtls_rgb8").is_dir():
        print(f"skipped: no development sets in {chosen.data}")
        return 0
    print("| set | real | pixels | appearance | finder | most telling |\n|---|---|---|---|---|---|")
    found = []
    for name, sample in SETS.items():
        try:
            found.append(compared(name, sample, chosen))
        except MLensingError as error:
            print(f"| {name} | | skipped: {error} | | | |")
            continue
        print(row(name, found[-1]), flush=True)
    print(f"\nThe largest AUC, of sets of {MANY} images or more:")
    for kind in KINDS:
        values = [r.discriminators[kind].value for r in found if r.real >= MANY and kind in r.discriminators]
        print(f"REALISM_WORST_{kind.upper()}_AUC = {max(values):.3f}" if values else f"no {kind}: see --checkpoint")
    print(f"REALISM_WORST_AUC = {max(r.worst for r in found if r.real >= MANY):.3f} (aim {AIM})")
    return 0


def compared(name: str, sample: Sample, chosen: argparse.Namespace) -> Realism:
    with tempfile.TemporaryDirectory() as scratch:
        files = sample.files(Path(chosen.data), Path(scratch))
        result, real, made = realism(
            files if chosen.full else files[:: max(1, len(files) // 60)],
            chosen.simulated,
            survey=sample.survey,
            classes=sample.classes,
            stretch=sample.stretch,
            checkpoint=chosen.checkpoint,
            num_samples=LARGE if chosen.full else SMALL,
            resamples=500 if chosen.full else 0,
            title=name,
        )
    if chosen.output_dir:
        folder = name.lower().replace(",", "").replace(" ", "_")
        write_realism(Path(chosen.output_dir) / folder, result, real, made)
    return result


def row(name: str, result: Realism) -> str:
    """One line of the table."""
    cells = []
    for kind in KINDS:
        found = result.discriminators.get(kind)
        span = f" ({found.low:.2f} .. {found.high:.2f})" if found and not np.isnan(found.low) else ""
        cells.append(f"{found.value:.2f}{span}" if found else "-")
    telling = ", ".join(f"{t.feature} {t.simulated_is} ({t.auc:.2f})" for t in result.telling[:3])
    return f"| {name} | {result.real} | {' | '.join(cells)} | {telling} |"


if __name__ == "__main__":
    sys.exit(main())
