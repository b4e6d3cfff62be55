"""What the user hands in (files, folders, index CSVs) as a flat list of images, and each as a cutout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlensing.catalog import Catalog
from mlensing.data.cubes import cube_count, read_plane
from mlensing.data.cutout import Cutout, is_image, read_cutout, with_survey
from mlensing.errors import ConfigError, ImageError
from mlensing.survey import Survey, survey_names


@dataclass(frozen=True)
class Item:
    """One image.

    Attributes:
        file: the name of its row: the path as given, or as found under the folder given.
        path: where it lies.
        survey: preset for a file whose header names none.
        pixel_scale: [arcsec/px]; one from an index wins over the header, else it serves a file without one.
        pixel_scale_y: of the y axis, where it differs.
        from_index: whether an index gave the pixel scale.
        label: 0..1, NaN if unknown.
        group: which object it shows, if an index says.
        plane: its number in a folder of cubes, one a band.
        redshifts: z_lens and z_source of an index, NaN where it has none; they win over the header.
    """

    file: str
    path: Path
    survey: str | None = None
    pixel_scale: float | None = None
    pixel_scale_y: float | None = None
    from_index: bool = False
    label: float = float("nan")
    group: str | None = None
    plane: int | None = None
    redshifts: tuple[float, float] = (math.nan, math.nan)


def gather(
    inputs: Sequence[str | Path],
    *,
    survey: str | None = None,
    pixel_scale: float | None = None,
    labelled: bool = False,
) -> list[Item]:
    """Files, folders (searched in depth, in sorted order) and index CSVs as one list, in the order given.

    What is hidden, with a name that begins with a dot, is passed over in folders.

    A folder with one cube a band (``mlensing.data.cubes``) is as many images as the cubes have planes.

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
            found = _in_folder(entry)
        elif entry.suffix.lower() == ".csv":
            found = list(_of_index(entry, labelled))
        else:
            found = [Item(str(entry), entry)]
        items += [_with_defaults(item, survey, pixel_scale) for item in found]
    return items


def _in_folder(folder: Path) -> list[Item]:
    paths = _images_under(folder)
    count = cube_count(paths)
    if count is None:
        return [Item(str(path), path) for path in paths]
    return [Item(f"{paths[0].parent}[{k}]", paths[0].parent, plane=k) for k in range(count)]


def _images_under(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if not _hidden(path.relative_to(folder)))
    paths = sorted(path for path in found if path.is_file() and is_image(path))
    if not paths:
        raise ImageError(folder, "no image in this folder", "Give a folder with FITS, PNG, JPEG or .npy files.")
    return paths


def _hidden(path: Path) -> bool:
    """Whether a name on the way begins with a dot: caches of ours, and what systems leave beside files."""
    return any(part.startswith(".") for part in path.parts)


def _of_index(path: Path, labelled: bool) -> Iterator[Item]:
    catalog = Catalog.read(path, to_score=not labelled)
    names, files = catalog.table["filepath"].tolist(), catalog.paths
    surveys, groups = catalog.text("survey"), catalog.text("group")
    columns = (catalog.column("pixel_scale_arcsec"), catalog.column("pixel_scale_y_arcsec"), catalog.labels)
    redshifts = np.stack([catalog.column("z_lens"), catalog.column("z_source")], 1).tolist()
    for i, (scale, scale_y, label) in enumerate(zip(*columns, strict=True)):
        x, y = (float(s) if np.isfinite(s) else None for s in (scale, scale_y))
        where, scales = (str(names[i]), files[i], surveys[i]), (x, y, x is not None)
        yield Item(*where, *scales, float(label), groups[i], redshifts=tuple(redshifts[i]))


def _with_defaults(item: Item, survey: str | None, pixel_scale: float | None) -> Item:
    return replace(item, survey=item.survey or survey, pixel_scale=item.pixel_scale or pixel_scale)


def read_item(item: Item, maps: Sequence[str] = ()) -> Cutout:
    """The image of an item, with its survey and pixel scale settled, and those of the ``maps`` that its file has.

    Raises:
        ImageError: unreadable.
        SurveyError: an unknown survey.
    """
    cutout = read_cutout(item.path, maps=maps) if item.plane is None else read_plane(item.path, item.plane)
    if item.pixel_scale is not None and (item.from_index or cutout.pixel_scale is None):
        cutout = replace(cutout, pixel_scale=item.pixel_scale, pixel_scale_y=item.pixel_scale_y)
    named = zip(("z_lens", "z_source"), item.redshifts, strict=True)
    cutout.meta.update({name: value for name, value in named if math.isfinite(value)})
    header = (cutout.survey or "").lower()
    known = header if header in survey_names() else None  # a survey without a preset says nothing to us
    return with_survey(replace(cutout, survey=known), known or item.survey)
