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
from mlensing.data.layout import Layout, hdu_name, lay_out, merged_header, sorted_out
from mlensing.errors import ImageError

DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zlib.error, fits.VerifyError)
"""What astropy raises on files that are not whole; which one depends on where the file breaks off."""


def read_fits(path: Path, *, band_hdus: Mapping[str, int | str] | None, maps: Sequence[str]) -> Cutout:
    """Read one FITS file; arguments and errors as ``read_cutout``."""
    with opened(path) as hdus:
        band_map, extras = sorted_out(hdus, band_hdus, path)
        layout = lay_out(band_map, named=band_hdus is not None, hdus=hdus, path=path)
        stack = _stack(layout, path)
        header = merged_header(hdus, next(iter(band_map.values())))
        known = read_header(header, path)
        mask = _mask(extras, stack.shape[1:], path)
        planes = {name: _map(name, extras, stack.shape[1:], path) for name in maps if _has(name, extras)}
    image, filled = fill_bad_pixels(stack, where=path)
    meta = {**known.meta, "bad_pixels": int(filled.sum())}
    return Cutout(
        image,
        layout.bands,
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
    # A memory map of a small file costs more than reading it.
    with told_damage(path), fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
        yield hdus


@contextmanager
def told_damage(path: Path) -> Iterator[None]:
    """Whatever astropy stumbles over becomes one error that names the file."""
    try:
        yield
    except DAMAGE as error:
        problem = f"damaged or truncated, or not FITS ({_first_line(error)})"
        raise ImageError(path, problem, "Fetch or write it again.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _stack(layout: Layout, path: Path) -> Image:
    """All pixels [band, y, x]."""
    if layout.axis is not None:
        cube = _pixels(layout.hdus[0], path)
        return np.ascontiguousarray(np.moveaxis(cube, layout.axis, 0))
    planes = {band: _plane(hdu, band, path) for band, hdu in zip(layout.bands, layout.hdus, strict=True)}
    _same_shape(planes, path)
    return np.stack(list(planes.values()))


def _pixels(hdu: Any, path: Path) -> Image:
    """Pixels as float32 in native byte order."""
    data: NDArray[Any] | None = hdu.data
    if data is None or data.size == 0:
        raise ImageError(path, f"HDU {hdu_name(hdu)} holds no pixels", "Fetch or write it again.")
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
