"""FITS files as cutouts.

Two layouts: (a) one HDU with a cube, [y, x, band] in numpy order and named by the header's ``BANDS`` ("g,r,i" or
"gri"; [band, y, x] is recognised by the number of bands); (b) one image an HDU, named by ``band_hdus`` or EXTNAME.
Further HDUs by EXTNAME: KAPPA, PSI, ALPHA (or ALPHA_X, ALPHA_Y), MASK (non-zero is bad), PSF, VARIANCE.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mlensing.data.cutout import Cutout, Image, fill_bad_pixels
from mlensing.data.header import read_header
from mlensing.errors import ImageError

EXTRAS = ("KAPPA", "PSI", "ALPHA", "ALPHA_X", "ALPHA_Y", "MASK", "PSF", "VARIANCE")
DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zlib.error, fits.VerifyError)
"""What astropy raises on files that are not whole; which one depends on where the file breaks off."""


def read_fits(path: Path, *, band_hdus: Mapping[str, int | str] | None, maps: Sequence[str]) -> Cutout:
    """Read one FITS file; arguments and errors as ``read_cutout``."""
    with opened(path) as hdus:
        band_map, extras = _sorted_out(hdus, band_hdus, path)
        bands, stack = _layout(band_map, named=band_hdus is not None, hdus=hdus, path=path)
        header = _merged_header(hdus, next(iter(band_map.values())))
        known = read_header(header, path)
        mask = _mask(extras, stack.shape[1:], path)
        planes = {name: _map(name, extras, stack.shape[1:], path) for name in maps if _has(name, extras)}
    image, filled = fill_bad_pixels(stack, where=path)
    meta = {**known.meta, "bad_pixels": int(filled.sum())}
    return Cutout(
        image,
        bands,
        "linear",
        filled | mask,
        known.pixel_scale,
        known.pixel_scale_y,
        known.survey,
        meta,
        planes,
    )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDU list; whatever astropy stumbles over becomes one error that names the file."""
    try:
        # A memory map of a small file costs more than reading it.
        with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
            yield hdus
    except DAMAGE as error:
        problem = f"damaged or truncated, or not FITS ({_first_line(error)})"
        raise ImageError(path, problem, "Fetch or write it again.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _sorted_out(
    hdus: Any, band_hdus: Mapping[str, int | str] | None, path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Image HDUs by name: those with bands, and the extras."""
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    if not images:
        raise ImageError(path, "no HDU holds an image", "Write the pixels to the primary or an image HDU.")
    extras = {hdu.name.upper(): hdu for hdu in images if hdu.name.upper() in EXTRAS}
    if band_hdus is not None:
        return {band: _hdu(hdus, key, band, path) for band, key in band_hdus.items()}, extras
    bands: dict[str, Any] = {}
    for hdu in images:
        if hdu.name.upper() not in EXTRAS:
            bands.setdefault(_hdu_name(hdu), hdu)
    if not bands:
        raise ImageError(path, f"only maps ({', '.join(extras)}), no image", "Name the band by EXTNAME or BANDS.")
    return bands, extras


def _hdu(hdus: Any, key: int | str, band: str, path: Path) -> Any:
    try:
        return hdus[key]
    except (IndexError, KeyError) as error:
        there = ", ".join(f"{number} {hdu.name}".strip() for number, hdu in enumerate(hdus))
        raise ImageError(path, f"no HDU {key!r} for band {band}", f"It has: {there}; correct band_hdus.") from error


def _hdu_name(hdu: Any) -> str:
    """EXTNAME, or a stand-in for a nameless HDU; astropy writes ``g`` as ``G``, which is undone for u, g, r, i, z."""
    name = str(hdu.header.get("EXTNAME", "")).strip() or f"image{hdu.ver if hdu.ver > 1 else ''}"
    return name.lower() if name in tuple("UGRIZ") else name


def _layout(band_map: dict[str, Any], *, named: bool, hdus: Any, path: Path) -> tuple[tuple[str, ...], Image]:
    """Band names and pixels [band, y, x] of either layout."""
    text = str(_merged_header(hdus, next(iter(band_map.values()))).get("BANDS", "")).strip()
    if not named:
        first = next(iter(band_map.values()))
        if first.header["NAXIS"] != 2:
            return _cube(_pixels(first, path), text, path)
        if len(band_map) == 1:
            return (text or _filter_name(first, hdus),), _pixels(first, path)[None]
        band_map = _named_by(text, band_map, path)
    planes = {band: _plane(hdu, band, path) for band, hdu in band_map.items()}
    _same_shape(planes, path)
    return tuple(planes), np.stack(list(planes.values()))


def _named_by(text: str, band_map: dict[str, Any], path: Path) -> dict[str, Any]:
    """The HDUs that ``BANDS`` lists, in its order; all of them without ``BANDS``."""
    if not text:
        return band_map
    by_name = {name.upper(): hdu for name, hdu in band_map.items()}
    for names in _spellings(text):
        if all(name.upper() in by_name for name in names):
            return {name: by_name[name.upper()] for name in names}
    problem = f"BANDS is {text!r}, but the image HDUs are named {', '.join(band_map)}"
    raise ImageError(path, problem, "Make EXTNAME and BANDS agree, or give band_hdus.")


def _spellings(text: str) -> list[list[str]]:
    """Band names that a ``BANDS`` value can mean: separated words, or letters run together, or one word.

    Example:
        >>> _spellings("g,r"), _spellings("VIS")
        ([['g', 'r']], [['V', 'I', 'S'], ['VIS']])
    """
    words = text.replace(",", " ").split()
    return [words] if len(words) != 1 else [list(words[0]), words]


def _cube(cube: Image, text: str, path: Path) -> tuple[tuple[str, ...], Image]:
    if cube.ndim != 3:
        raise ImageError(path, f"{cube.ndim} axes {cube.shape}, expected 2 or 3", "Write [y, x, band] or [y, x].")
    if not text:
        remedy = "Add BANDS to the header, for example BANDS = 'g,r,i'."
        raise ImageError(path, f"a cube of shape {cube.shape} without the field BANDS", remedy)
    for names in _spellings(text):
        last, first = cube.shape[2] == len(names), cube.shape[0] == len(names)
        if last and first:
            problem = f"the cube {cube.shape} fits {len(names)} BANDS ({text}) both as [y, x, band] and [band, y, x]"
            raise ImageError(path, problem, "Write one image an HDU, with EXTNAME, instead.")
        if last or first:
            _distinct(names, path)
            return tuple(names), np.ascontiguousarray(np.moveaxis(cube, 2, 0) if last else cube)
    problem = f"BANDS {text!r} does not fit a cube of shape {cube.shape}"
    raise ImageError(path, problem, "Name as many bands as there are planes.")


def _distinct(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        raise ImageError(path, f"BANDS names a band twice ({','.join(names)})", "Name each band once.")


def _filter_name(hdu: Any, hdus: Any) -> str:
    header = _merged_header(hdus, hdu)
    return str(header.get("FILTER", "") or _hdu_name(hdu)).strip()


def _merged_header(hdus: Any, hdu: Any) -> Mapping[str, Any]:
    """The image's own header, with the primary one behind it."""
    return hdu.header if hdu is hdus[0] else _Chain(hdu.header, hdus[0].header)


class _Chain(Mapping[str, Any]):
    """Two headers as one mapping; a copy of a whole header would take longer than reading the pixels."""

    def __init__(self, *headers: Any) -> None:
        self.headers = headers

    def __getitem__(self, key: str) -> Any:
        for header in self.headers:
            if key in header:
                return header[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (key for header in self.headers for key in header)

    def __len__(self) -> int:
        return sum(len(header) for header in self.headers)


def _pixels(hdu: Any, path: Path) -> Image:
    """Pixels as float32 in native byte order."""
    data: NDArray[Any] | None = hdu.data
    if data is None or data.size == 0:
        raise ImageError(path, f"HDU {_hdu_name(hdu)} holds no pixels", "Fetch or write it again.")
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 becomes inf, which is masked
        return np.ascontiguousarray(data, dtype=np.float32)


def _plane(hdu: Any, name: str, path: Path) -> Image:
    plane = _pixels(hdu, path)
    if plane.ndim != 2:
        raise ImageError(path, f"{name} has {plane.ndim} axes {plane.shape}, expected 2", "One image an HDU.")
    return plane


def _same_shape(planes: Mapping[str, Image], path: Path) -> None:
    shapes = {name: plane.shape for name, plane in planes.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        problem = f"bands differ in shape: {told}"
        raise ImageError(path, problem, "Bring them to one grid, or choose the HDUs with band_hdus.")


def _has(name: str, extras: Mapping[str, Any]) -> bool:
    return name.upper() in extras or (name == "alpha" and {"ALPHA_X", "ALPHA_Y"} <= set(extras))


def _map(name: str, extras: Mapping[str, Any], shape: tuple[int, ...], path: Path) -> Image:
    """One map, checked against the image's shape (a PSF has its own)."""
    if name == "alpha" and "ALPHA" not in extras:
        plane = np.stack([_plane(extras[key], key, path) for key in ("ALPHA_X", "ALPHA_Y")])
    else:
        plane = _pixels(extras[name.upper()], path)
    expected = (2, *shape) if name == "alpha" else shape
    if plane.shape != expected and not (name == "psf" and plane.ndim == 2):
        problem = f"{name.upper()} has shape {plane.shape}, expected {expected} as the image"
        raise ImageError(path, problem, "Write maps on the image's grid.")
    return plane


def _mask(extras: Mapping[str, Any], shape: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    if "MASK" not in extras:
        return np.zeros(shape, dtype=bool)
    return np.not_equal(_map("mask", extras, shape, path), 0.0)
