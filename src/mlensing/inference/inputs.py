"""What the user hands in for prediction, as a flat list of images, and each image as the network's pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlensing.catalog import Catalog
from mlensing.contract import ModelContract
from mlensing.data.cutout import Cutout, frame, is_image, read_cutout, select_bands, with_survey
from mlensing.errors import ConfigError, ContractError, ImageError
from mlensing.survey import Survey, survey_names


@dataclass(frozen=True)
class Item:
    """One image to score.

    Attributes:
        file: the name of its row: the path as given, or as found under the folder given.
        path: where it lies.
        survey: preset for a file whose header names none.
        pixel_scale: [arcsec/px]; one from an index wins over the header, else it serves a file without one.
        pixel_scale_y: of the y axis, where it differs.
        from_index: whether an index gave the pixel scale.
        label: 0..1, NaN if unknown.
    """

    file: str
    path: Path
    survey: str | None = None
    pixel_scale: float | None = None
    pixel_scale_y: float | None = None
    from_index: bool = False
    label: float = float("nan")


@dataclass(frozen=True)
class Pixels:
    """An image as the network takes it: raw values [band, y, x], and whether they are 8-bit colour."""

    image: Tensor
    composite: bool


def gather(
    inputs: Sequence[str | Path],
    *,
    survey: str | None = None,
    pixel_scale: float | None = None,
    labelled: bool = False,
) -> list[Item]:
    """Files, folders (searched in depth, in sorted order) and index CSVs as one list, in the order given.

    Arguments:
        survey, pixel_scale: of files that state none.
        labelled: an index must have labels and all its images; otherwise each missing image becomes a row.

    Raises:
        CatalogError: an index that cannot be used.
        ImageError: a folder without a single image.
        SurveyError, ConfigError: an unknown survey, an impossible pixel scale.
    """
    if survey is not None:
        Survey.load(survey)  # an unknown one is a mistake of the call, not of each file
    if pixel_scale is not None and not 0 < pixel_scale < math.inf:
        raise ConfigError("pixel_scale", f"expected arcsec/px above 0, got {pixel_scale}", "Correct it.")
    items: list[Item] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            found = [Item(str(path), path) for path in _images_under(entry)]
        elif entry.suffix.lower() == ".csv":
            found = list(_of_index(entry, labelled))
        else:
            found = [Item(str(entry), entry)]
        items += [_with_defaults(item, survey, pixel_scale) for item in found]
    return items


def _images_under(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and is_image(path))
    if not paths:
        raise ImageError(folder, "no image in this folder", "Give a folder with FITS, PNG, JPEG or .npy files.")
    return paths


def _of_index(path: Path, labelled: bool) -> Iterator[Item]:
    catalog = Catalog.read(path, to_score=not labelled)
    names, files, surveys = catalog.table["filepath"].tolist(), catalog.paths, catalog.text("survey")
    columns = (catalog.column("pixel_scale_arcsec"), catalog.column("pixel_scale_y_arcsec"), catalog.labels)
    for i, (scale, scale_y, label) in enumerate(zip(*columns, strict=True)):
        x, y = (float(s) if np.isfinite(s) else None for s in (scale, scale_y))
        yield Item(str(names[i]), files[i], surveys[i], x, y, x is not None, float(label))


def _with_defaults(item: Item, survey: str | None, pixel_scale: float | None) -> Item:
    return replace(item, survey=item.survey or survey, pixel_scale=item.pixel_scale or pixel_scale)


def read_item(item: Item) -> Cutout:
    """The image of an item, with its survey and pixel scale settled.

    Raises:
        ImageError: unreadable.
        SurveyError: an unknown survey.
    """
    cutout = read_cutout(item.path, maps=())
    if item.pixel_scale is not None and (item.from_index or cutout.pixel_scale is None):
        cutout = replace(cutout, pixel_scale=item.pixel_scale, pixel_scale_y=item.pixel_scale_y)
    header = (cutout.survey or "").lower()
    known = header if header in survey_names() else None  # a survey without a preset says nothing to us
    return with_survey(replace(cutout, survey=known), known or item.survey)


def fit_to(cutout: Cutout, contract: ModelContract, *, where: object, resample: bool = True) -> Pixels:
    """A cutout in the bands, scale and size of a contract; without a pixel scale it is taken as it is.

    Raises:
        ContractError: bands, representation or (without ``resample``) scale it was not trained for.
    """
    contract.require_representation(cutout.representation, where=where)
    cutout = select_bands(cutout, contract.bands, cutout.survey, where=where)
    scale = cutout.pixel_scale
    if scale is not None and not resample and not contract.accepts_scale(scale):
        low, high = contract.pixel_scale
        problem = f'its pixel scale is {scale:.3f}", the model takes {low:.3f}" to {high:.3f}"'
        raise ContractError(where, problem, "Allow resampling (resample=True).")
    framed = frame(cutout, contract.input_size, contract.pixel_scale if resample else None)
    image = torch.from_numpy(np.ascontiguousarray(framed.image, dtype=np.float32))
    return Pixels(image, cutout.representation == "composite")
