"""Many images as one stack of one kind: to compare with simulated ones, or to paint arcs on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyWarning

from mlensing.contract import CHANNELS, Representation
from mlensing.cutouts import Cutouts
from mlensing.data.cutout import Cutout, select_bands
from mlensing.data.framing import frame
from mlensing.data.gather import Item, gather, read_item
from mlensing.errors import ConfigError, ImageError, MLensingError
from mlensing.survey import Survey

Read = list[tuple[Item, Cutout]]


def read_alike(items: Sequence[Item], size: int) -> Cutouts:
    """The central ``size`` pixels of every readable image, which must be of one survey and one representation.

    Raises:
        ConfigError: images of several kinds or surveys, or of no known survey, or none readable.
    """
    found, skipped = _readable(items)
    cutouts = [cutout for _, cutout in found]
    if not cutouts:
        reason = next(iter(skipped.values()), "none given").rstrip(".")
        raise ConfigError("real", f"not one image can be read; the first: {reason}", "Correct --real.")
    survey = only("survey", {str(cutout.survey) for cutout in cutouts}, "Give one survey's images, or --survey.")
    if survey == "None":
        raise ConfigError("survey", "the images name none that is known", "Say which with --survey.")
    kind = _representation("real", cutouts)
    single = {len(cutout.bands) for cutout in cutouts} == {1}
    bands = _single_band(cutouts[0], survey) if single else CHANNELS
    scale = Survey.load(survey).pixel_scale
    shown = cutouts if single else [select_bands(cutout, CHANNELS, survey, where="real") for cutout in cutouts]
    framed = [replace(frame(cutout, size, (scale, scale)), bands=bands) for cutout in shown]
    return _stack([(item, cutout) for (item, _), cutout in zip(found, framed, strict=True)], kind, survey, skipped)


def read_hosts(
    hosts: str,
    *,
    size: int,
    bands: Sequence[str] | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
) -> Cutouts:
    """Cutouts to paint arcs on: the central ``size`` pixels of each as they are, never resampled.

    Arguments:
        hosts: a folder of FITS, PNG, JPEG or .npy cutouts (searched in depth), a folder with one FITS cube a band, or
            an index CSV. Those labelled as lenses are left out.
        size: pixels a side.
        bands: which, in order; None takes the survey's blue, green and red, or without a survey all there are.
        survey: preset of files whose header names none.
        pixel_scale: of files that state none [arcsec/px].

    Raises:
        ConfigError: not one host that can be used, or hosts of several kinds.
        CatalogError, ImageError, SurveyError: an index or folder that cannot be used, an unknown survey.
    """
    items = [_named(item, Path(hosts)) for item in gather([hosts], survey=survey, pixel_scale=pixel_scale)]
    found, skipped = _readable(items)
    usable: Read = []
    for item, cutout in found:
        try:
            usable.append((item, _host(item, cutout, size, bands)))
        except MLensingError as error:
            skipped[item.file] = str(error)
    if not usable:
        reason = next(iter(skipped.values())).rstrip(".")
        raise ConfigError(hosts, f"not one image can be used as a host; the first: {reason}", "Correct --hosts.")
    cutouts = [cutout for _, cutout in usable]
    name = only("hosts", {cutout.survey or "" for cutout in cutouts}, "Give one survey's images, or --survey.")
    kind = _representation("hosts", cutouts)
    only("hosts", {",".join(cutout.bands) for cutout in cutouts}, "Give images in the same bands.")
    return _stack(usable, kind, name, skipped)


def _named(item: Item, folder: Path) -> Item:
    """The item under the name of its folder, wherever that lies."""
    if not folder.is_dir():
        return item
    return replace(item, file=Path(item.file).relative_to(folder.parent).as_posix())


def _host(item: Item, cutout: Cutout, size: int, bands: Sequence[str] | None) -> Cutout:
    """A cutout in its bands and frame, or why it cannot be a host."""
    where = item.file
    label = cutout.meta.get("label", np.nan) if np.isnan(item.label) else item.label
    if label >= 0.5:
        raise ImageError(where, "it is labelled a lens", "Paint on galaxies without arcs.")
    if min(cutout.image.shape[1:]) < size:
        problem = f"{cutout.image.shape[2]} x {cutout.image.shape[1]} pixels, fewer than the mixture's size of {size}"
        raise ImageError(where, problem, "Give larger cutouts, or a smaller `size` in the mixture.")
    if cutout.pixel_scale is None:
        raise ImageError(where, "no pixel scale", "Name it with --pixel_scale, or the survey with --survey.")
    framed = frame(_in_bands(cutout, bands, where), size)
    if (np.ptp(framed.image, axis=(1, 2)) == 0).any():
        raise ImageError(where, "a band holds one value only", "Leave this image out, or fetch it again.")
    return framed


def _in_bands(cutout: Cutout, bands: Sequence[str] | None, where: str) -> Cutout:
    """The cutout in the bands asked for, else the survey's channels, else its own; colour is colour."""
    if cutout.representation == "composite":
        return cutout
    wanted = tuple(bands or (Survey.load(cutout.survey).channel_bands() if cutout.survey else cutout.bands))
    if cutout.bands in (CHANNELS, ("image",)) and len(cutout.bands) == len(wanted):
        return replace(cutout, bands=wanted)  # an array that names no bands has them in the order asked for
    return select_bands(cutout, wanted, cutout.survey, where=where)


def _stack(found: Read, kind: Representation, survey: str, skipped: dict[str, str]) -> Cutouts:
    images = [cutout.image for _, cutout in found]
    return Cutouts(
        np.stack(images).astype(np.float32),
        found[0][1].bands,
        kind,
        survey,
        skipped,
        files=tuple(item.file for item, _ in found),
        group=tuple(item.group or item.file for item, _ in found),
        pixel_scale=np.array([cutout.pixel_scale for _, cutout in found], dtype=np.float64),
    )


def _readable(items: Sequence[Item]) -> tuple[Read, dict[str, str]]:
    found, skipped = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # what matters of it is among the reasons
        for item in items:
            try:
                found.append((item, read_item(item)))
            except MLensingError as error:
                skipped[item.file] = str(error)
    return found, skipped


def only(where: str, found: set[str], remedy: str) -> str:
    """The one thing in ``found``.

    Raises:
        ConfigError: several.
    """
    if len(found) > 1:
        raise ConfigError(where, f"images of several kinds: {', '.join(sorted(found))}", remedy)
    return found.pop()


def _representation(where: str, cutouts: Sequence[Cutout]) -> Representation:
    remedy = "Give colour pictures or linear images, not both."
    kind = only(where, {cutout.representation for cutout in cutouts}, remedy)
    return "composite" if kind == "composite" else "linear"


def _single_band(cutout: Cutout, survey: str) -> tuple[str, ...]:
    """The survey's band that a single plane is: the one it names, else the survey's green."""
    preset = Survey.load(survey)
    return cutout.bands if cutout.bands[0] in preset.bands else (preset.channels["green"],)
