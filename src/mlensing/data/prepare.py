"""From a folder of images to training, validation and test indices.

Labels come from, in this order: the CSV given; ``index.csv`` in the folder; LABEL in the FITS header; the name of a
sub-folder (``lens*``, ``1``; ``nonlens*``, ``non_lens*``, ``nolens*``, ``0``). What has none of these is unlabelled.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mlensing.catalog import Catalog
from mlensing.data.cutout import is_image, select_bands
from mlensing.data.dataset import read_row, scales_of
from mlensing.data.split import SPLITS, assign_splits, shares_of, write_splits
from mlensing.errors import CatalogError, ConfigError, ContractError, ImageError, MLensingError, SurveyError
from mlensing.provenance import provenance, replacing, write_json
from mlensing.survey import Survey

LENS_FOLDER = re.compile(r"(lens|1$)", re.IGNORECASE)
OTHER_FOLDER = re.compile(r"(non?[ _-]?lens|0$)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """What lies in the folder: the images that can be used, and those that cannot, with the reason."""

    good: pd.DataFrame
    rejected: list[tuple[str, str]]


def prepare(
    fits_dir: str,
    output_dir: str,
    *,
    train_split: float = 0.8,
    val_split: float | None = None,
    seed: int = 42,
    labels: str | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
) -> dict[str, Any]:
    """Write ``{train,val,test}/index.csv``, stratified by label, with no group in two splits.

    Every image is opened and checked; those that cannot be used are listed in ``rejected.csv`` with the reason.

    Arguments:
        fits_dir: folder of FITS, PNG, JPEG or .npy files, searched in depth.
        output_dir: where to write.
        train_split: share of training images.
        val_split: share of validation images; half of the rest without it.
        seed: of the division.
        labels: CSV with columns filepath and label (and any of an index); files are relative to it or to fits_dir.
        survey: preset for files that name none; brings a pixel scale.
        pixel_scale: for files that state none [arcsec/px].

    Returns:
        images a split and label, and how many were rejected, as written to ``provenance.json``.

    Raises:
        ConfigError: no such folder, or shares that do not add up.
        CatalogError: labels that cannot be used, or no usable image.
        SurveyError: an unknown survey.
    """
    shares = shares_of(train_split, val_split)
    folder, output = Path(fits_dir), Path(output_dir)
    if survey is not None:
        Survey.load(survey)  # an unknown one is a mistake even where no file needs it
    if not folder.is_dir():
        raise ConfigError(folder, "no such folder", "Give the folder of your images (--fits_dir).")
    catalog, unlisted = _listed(folder, output, labels)
    found = checked(catalog, survey=survey, pixel_scale=pixel_scale)
    rejected = [*unlisted, *found.rejected]
    if found.good.empty:
        problem = f"none of {len(catalog)} images can be used; the first: {found.rejected[0][1].rstrip('.')}"
        raise CatalogError(folder, problem, "See the reason, and repair the files or name --pixel_scale or --survey.")
    split = assign_splits(found.good, shares, seed)
    config = {
        "train_split": train_split, "val_split": val_split, "labels": labels, "survey": survey,
        "pixel_scale": pixel_scale,
    }  # fmt: skip
    summary = _summary(found.good, split, rejected)
    write_splits(output, Catalog(found.good, folder, folder), split)
    write_rejected(output / "rejected.csv", rejected)
    write_json(output / "provenance.json", {**provenance("prepare", config, seed), "summary": summary})
    _tell(summary, output)
    return summary


def divide(index: str | Path, *, train_split: float = 0.8, val_split: float | None = None, seed: int = 42) -> None:
    """Divide an index that is known to be sound: ``{train,val,test}/index.csv`` beside it, no image opened.

    Raises:
        CatalogError: an index that cannot be used.
        ConfigError: shares that do not add up.
    """
    catalog = Catalog.read(index)
    split = assign_splits(catalog.table, shares_of(train_split, val_split), seed)
    write_splits(Path(index).parent, catalog, split)


def _listed(folder: Path, output: Path, labels: str | None) -> tuple[Catalog, list[tuple[str, str]]]:
    """The images as an unchecked catalog, and the files that the CSV in use does not list."""
    files = _images_under(folder, output)
    csv = Path(labels) if labels is not None else folder / "index.csv"
    if labels is None and not csv.is_file():
        if not files:
            raise CatalogError(folder, "no images in it", "Put FITS, PNG, JPEG or .npy files there.")
        rows = {
            "filepath": [p.resolve().as_posix() for p in files],
            "label": [_folder_label(p, folder) for p in files],
        }
        return Catalog.of(pd.DataFrame(rows), folder), []
    catalog = Catalog.read(csv) if labels is None else _given_labels(csv, folder)
    known = {path.resolve() for path in catalog.paths}
    return catalog, [(p.as_posix(), f"not listed in {csv.name}") for p in files if p.resolve() not in known]


def _images_under(folder: Path, output: Path) -> list[Path]:
    """Image files in depth, sorted; nothing hidden (caches), nothing of the output."""
    output = output.resolve()
    paths = sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())
    hidden = [any(part.startswith(".") for part in path.relative_to(folder).parts) for path in paths]
    inside = [output != folder.resolve() and path.resolve().is_relative_to(output) for path in paths]
    return [path for path, skip, own in zip(paths, hidden, inside, strict=True) if not skip and not own]


def _folder_label(path: Path, folder: Path) -> float:
    """Label that the nearest telling sub-folder gives; NaN without one.

    Example:
        >>> _folder_label(Path("d/nonlenses/a.fits"), Path("d"))
        0.0
    """
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if OTHER_FOLDER.match(part):
            return 0.0
        if LENS_FOLDER.match(part):
            return 1.0
    return float("nan")


def _given_labels(csv: Path, folder: Path) -> Catalog:
    """The labels CSV as a catalog: its files are relative to it, or to the folder of images."""
    if not csv.is_file():
        raise CatalogError(csv, "no such file of labels", "Give a CSV with the columns filepath,label.")
    table = pd.read_csv(csv, dtype={"filepath": str})
    if "filepath" in table:
        beside = [csv.parent / str(name) for name in table["filepath"]]
        table["filepath"] = [
            (path if path.is_file() else folder / str(name)).resolve().as_posix()
            for path, name in zip(beside, table["filepath"], strict=True)
        ]
    return Catalog.of(table, folder, source=csv)


def checked(
    catalog: Catalog, *, survey: str | None, pixel_scale: float | None, bands: Sequence[str] | None = None
) -> Found:
    """Open every image, and fill the catalog's columns with what the headers say.

    Arguments:
        catalog: its files need not be there.
        survey: preset for files that name none.
        pixel_scale: for files that state none [arcsec/px].
        bands: what every image must have, in any order; None asks nothing.
    """
    good: list[dict[str, Any]] = []
    rejected: list[tuple[str, str]] = []
    paths = catalog.paths
    rows = track(range(len(catalog)), "Checking images", console=Console(stderr=True), transient=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # what it warns of ends in rejected.csv
        for i in rows:
            try:
                good.append(_described(catalog, i, survey, pixel_scale, bands))
            except (ImageError, CatalogError, ContractError, SurveyError) as error:
                rejected.append((paths[i].as_posix(), _reason(error, paths[i])))
    known = list(catalog.table.columns)
    table = pd.DataFrame(good)
    return Found(table.reindex(columns=[*known, *[c for c in table if c not in known]]), rejected)


def _reason(error: MLensingError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _described(
    catalog: Catalog, index: int, survey: str | None, pixel_scale: float | None, bands: Sequence[str] | None
) -> dict[str, Any]:
    """One row with the gaps filled from the header."""
    row: dict[str, Any] = {str(k): value for k, value in catalog.table.iloc[index].items()}
    path = catalog.paths[index]
    cutout = read_row(catalog, index, survey=survey, pixel_scale=pixel_scale)
    x, y = scales_of(cutout, path)
    if bands is not None:
        select_bands(cutout, bands, where=path)
    row |= {"filepath": path.resolve().as_posix(), "pixel_scale_arcsec": x}
    if abs(y / x - 1.0) > 1e-6:
        row["pixel_scale_y_arcsec"] = y
    row |= {name: cutout.meta[name] for name in ("sigma_crit", "z_lens", "z_source") if name in cutout.meta}
    if cutout.survey is not None:
        row["survey"] = cutout.survey
    if np.isnan(row["label"]) and "label" in cutout.meta:
        row["label"] = _header_label(cutout.meta["label"], path)
    return row


def _header_label(label: float, path: Path) -> float:
    if label == -1:
        return float("nan")
    if not 0.0 <= label <= 1.0:
        raise ImageError(path, f"LABEL is {label:g}", "A label is 0, 1 or between; -1 if unknown.")
    return label


def write_rejected(path: Path, rejected: list[tuple[str, str]]) -> None:
    """Write files and reasons as CSV; without any, no file is left."""
    if not rejected:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as beside:
        pd.DataFrame(rejected, columns=["filepath", "reason"]).to_csv(beside, index=False, lineterminator="\n")


def _summary(table: pd.DataFrame, split: NDArray[np.int64], rejected: list[tuple[str, str]]) -> dict[str, Any]:
    kinds: Mapping[float, str] = {0.0: "non-lens", 1.0: "lens", -1.0: "unlabelled"}
    kind = table["label"].astype("float64").round().fillna(-1.0).map(dict(kinds))
    counts = {
        name: {str(key): int(n) for key, n in kind[split == number].value_counts().sort_index().items()}
        for number, name in enumerate(SPLITS)
    }
    return {**counts, "rejected": len(rejected)}


def _tell(summary: dict[str, Any], output: Path) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for name in SPLITS:
        counts = ", ".join(f"{count} {kind}" for kind, count in summary[name].items())
        console.print(f"{output / name / 'index.csv'}: {counts or 'empty'}")
    if summary["rejected"]:
        console.print(f"{summary['rejected']} files left out; the reasons are in {output / 'rejected.csv'}")
    unlabelled = sum(summary[name].get("unlabelled", 0) for name in SPLITS)
    if unlabelled:
        console.print(f"Warning: {unlabelled} images have no label and are not trained on; see --labels.")
