"""A cutout: one image as read from disk, and how it is made to fit a network's contract.

Conventions: images are [band, y, x] float32; ``x`` is the last axis; pixel scales are in arcsec/px. A linear image
holds flux, in any unit; a composite holds 0..255 in the order blue, green, red.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlensing.contract import CHANNELS, Representation
from mlensing.data.normalise import sky
from mlensing.errors import ContractError, ImageError
from mlensing.survey import Survey, survey_names

FITS_ENDINGS = (".fits", ".fit", ".fz", ".fits.gz", ".fit.gz")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".npy")
MAPS = ("kappa", "psi", "alpha", "psf", "variance")

Image = NDArray[np.float32]


@dataclass
class Cutout:
    """One image with what its file says of it.

    Attributes:
        image: [band, y, x].
        bands: their names, in order.
        representation: ``linear`` or ``composite``.
        pixel_scale, pixel_scale_y: along x and y [arcsec/px], None if unknown.
        survey: preset it belongs to, None if unknown.
        meta: what the header says: z_lens, z_source, sigma_crit, label; ``bad_pixels`` counts NaN and inf.
        mask: [y, x], True where there was no usable pixel (NaN and inf are filled with the sky level).
        maps: kappa, psi, variance [y, x]; alpha [2, y, x] = x, y components [arcsec]; psf [y, x].
    """

    image: Image
    bands: tuple[str, ...]
    representation: Representation
    mask: NDArray[np.bool_]
    pixel_scale: float | None = None
    pixel_scale_y: float | None = None
    survey: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, Image] = field(default_factory=dict)

    @property
    def scales(self) -> tuple[float, float] | None:
        """Pixel scale along x and y [arcsec/px], None if unknown."""
        if self.pixel_scale is None:
            return None
        return self.pixel_scale, self.pixel_scale_y or self.pixel_scale


def is_image(path: str | Path) -> bool:
    """Whether the ending is one that ``read_cutout`` reads.

    Example:
        >>> is_image("a.fits.gz"), is_image("index.csv")
        (True, False)
    """
    return str(path).lower().endswith(FITS_ENDINGS + PICTURE_ENDINGS)


def read_cutout(
    path: str | Path,
    *,
    band_hdus: Mapping[str, int | str] | None = None,
    survey: str | None = None,
    maps: Sequence[str] = MAPS,
) -> Cutout:
    """Read a FITS, PNG, JPEG or .npy file.

    Arguments:
        path: the file; its ending says how it is read.
        band_hdus: for FITS with one image an HDU: the HDU (number or EXTNAME) of each band, in the order wanted.
        survey: preset it belongs to, if the header names none; its pixel scale serves a file that states none.
        maps: which of ``MAPS`` to read if there; none of them is faster.

    Raises:
        ImageError: a file that is missing, damaged, empty, of an unknown kind, or without usable pixels.
        SurveyError: an unknown survey.
    """
    # The readers import Cutout from here; importing them late also keeps astropy out of colour images.
    from mlensing.data.fits import read_fits
    from mlensing.data.images import read_picture

    path = Path(path)
    require_file(path)
    name = path.name.lower()
    if name.endswith(FITS_ENDINGS):
        cutout = read_fits(path, band_hdus=band_hdus, maps=maps)
    elif name.endswith(PICTURE_ENDINGS):
        cutout = read_picture(path)
    else:
        known = " ".join(FITS_ENDINGS + PICTURE_ENDINGS)
        raise ImageError(path, f"unknown kind of file {path.suffix!r}", f"Known endings: {known}.")
    return with_survey(cutout, survey)


def require_file(path: Path) -> None:
    """Refuse a path where no file with content is.

    Raises:
        ImageError: missing or empty.
    """
    if not path.is_file():
        raise ImageError(path, "no such file", "Check the path.")
    if path.stat().st_size == 0:
        raise ImageError(path, "the file is empty (0 bytes)", "Fetch or write it again.")


def with_survey(cutout: Cutout, survey: str | None) -> Cutout:
    """The cutout as one of this survey, if its header names no preset; a missing pixel scale becomes the survey's.

    Raises:
        SurveyError: an unknown survey.
    """
    if survey is None:
        return cutout
    named = (cutout.survey or "").lower()
    name = named if named in survey_names() else survey
    scale, scale_y = cutout.pixel_scale, cutout.pixel_scale_y
    if scale is None:
        scale, scale_y = _preset(name).pixel_scale, None
    return replace(cutout, survey=name, pixel_scale=scale, pixel_scale_y=scale_y)


@functools.lru_cache(maxsize=64)
def _preset(name: str) -> Survey:
    return Survey.load(name)


def fill_bad_pixels(image: Image, *, where: object) -> tuple[Image, NDArray[np.bool_]]:
    """Fill NaN and inf with the sky level of their band.

    Returns:
        image [band, y, x], and the mask [y, x] of filled pixels (in any band).

    Raises:
        ImageError: a band without a single finite pixel.
    """
    good = np.isfinite(image)
    if good.all():
        return image, np.zeros(image.shape[1:], dtype=bool)
    empty = np.flatnonzero(~good.any(axis=(1, 2)))
    if len(empty):
        problem = f"band {int(empty[0])} holds no finite pixel (NaN or inf only)"
        raise ImageError(where, problem, "Leave this image out, or fetch it again.")
    levels = np.array([np.median(band[ok]) for band, ok in zip(image, good, strict=True)], dtype=np.float32)
    filled = np.where(good, image, levels[:, None, None]).astype(np.float32)
    whole: Image = np.where(good, image, sky_level(filled)[:, None, None])
    return whole, np.logical_not(good.all(axis=0))


def sky_level(image: Image) -> Image:
    """Level of the sky of each band: [band, y, x] -> [band], in the image's own unit.

    Example:
        >>> sky_level(np.full((2, 8, 8), 3.0, np.float32)).round(4).tolist()
        [3.0, 3.0]
    """
    level: Image = sky(torch.from_numpy(np.ascontiguousarray(image))[None])[0][0].numpy()
    return level


def select_bands(
    cutout: Cutout, contract_bands: Sequence[str], survey: str | None = None, *, where: object = "image"
) -> Cutout:
    """The cutout with the bands a network wants, in its order.

    Bands of these very names come first. For the channels blue, green, red the survey says which of its bands plays
    which part; without a survey g, r, i or g, r, z do; a single band is repeated. A composite serves any three bands,
    blue to red.

    Raises:
        ContractError: bands that cannot be had from this image, naming both lists.
        SurveyError: an unknown ``survey``.

    Example:
        >>> image = np.stack([np.full((2, 2), value, np.float32) for value in (1, 2, 3)])
        >>> cutout = Cutout(image, ("i", "r", "g"), "linear", np.zeros((2, 2), bool))
        >>> select_bands(cutout, ("blue", "green", "red")).image[:, 0, 0]
        array([3., 2., 1.], dtype=float32)
    """
    wanted = tuple(contract_bands)
    if cutout.bands == wanted:
        return cutout
    source = wanted if set(wanted) <= set(cutout.bands) else _stand_ins(cutout, wanted, survey, where)
    order = [cutout.bands.index(name) for name in source]
    return replace(cutout, image=np.ascontiguousarray(cutout.image[order]), bands=wanted)


def _stand_ins(cutout: Cutout, wanted: tuple[str, ...], survey: str | None, where: object) -> tuple[str, ...]:
    """The cutout's bands that take the places of ``wanted``."""
    if cutout.representation == "composite" and len(wanted) == 3:
        return CHANNELS
    if wanted == CHANNELS:
        for names in _channel_candidates(cutout, survey):
            if set(names) <= set(cutout.bands):
                return names
        if len(cutout.bands) == 1:
            return cutout.bands * 3
    problem = f"expected bands {','.join(wanted)}, got {','.join(cutout.bands)}"
    remedy = "Name the survey (--survey, or SURVEY in the header), or the HDU of each band (band_hdus)."
    raise ContractError(where, problem, remedy)


def _channel_candidates(cutout: Cutout, survey: str | None) -> list[tuple[str, ...]]:
    candidates: list[tuple[str, ...]] = [("g", "r", "i"), ("g", "r", "z")]
    if survey is None and cutout.survey is not None:
        # A header may name a survey there is no preset for; only one that was asked for must be known.
        named = cutout.survey.lower()
        survey = named if named in survey_names() else cutout.survey if named.endswith((".yaml", ".yml")) else None
    return candidates if survey is None else [_preset(survey).channel_bands(), *candidates]
