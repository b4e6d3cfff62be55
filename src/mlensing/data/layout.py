"""Which HDU, or which plane of a cube, is which band of a FITS file; the layouts are those of ``data.fits``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlensing.errors import ImageError

EXTRAS = ("KAPPA", "PSI", "ALPHA", "ALPHA_X", "ALPHA_Y", "MASK", "PSF", "VARIANCE")


class Layout(NamedTuple):
    """Where the bands are: an image HDU each, or along one axis (0 or 2) of a cube."""

    bands: tuple[str, ...]
    hdus: tuple[Any, ...]
    axis: int | None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Rows and columns of each HDU, as its header says."""
        return [tuple(n for axis, n in enumerate(hdu.shape) if axis != self.axis) for hdu in self.hdus]


def find_layout(hdus: Any, path: Path) -> Layout:
    """Where the bands of a file are; no pixel is read.

    Raises:
        ImageError: no image, or one whose layout is not that of ``data.fits``.
    """
    return lay_out(sorted_out(hdus, None, path)[0], named=False, hdus=hdus, path=path)


def lay_out(band_map: Mapping[str, Any], *, named: bool, hdus: Any, path: Path) -> Layout:
    """Where the bands of these HDUs are; ``named`` by the caller, or by their headers."""
    first = next(iter(band_map.values()))
    text = str(merged_header(hdus, first).get("BANDS", "")).strip()
    if not named:
        if first.header["NAXIS"] != 2:
            names, axis = _cube_axis(first.shape, text, path)
            return Layout(names, (first,), axis)
        if len(band_map) == 1:
            return Layout((text or _filter_name(first, hdus),), (first,), None)
        band_map = _named_by(text, band_map, path)
    return Layout(tuple(band_map), tuple(band_map.values()), None)


def sorted_out(
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
            bands.setdefault(hdu_name(hdu), hdu)
    if not bands:
        raise ImageError(path, f"only maps ({', '.join(extras)}), no image", "Name the band by EXTNAME or BANDS.")
    return bands, extras


def _hdu(hdus: Any, key: int | str, band: str, path: Path) -> Any:
    try:
        return hdus[key]
    except (IndexError, KeyError) as error:
        there = ", ".join(f"{number} {hdu.name}".strip() for number, hdu in enumerate(hdus))
        raise ImageError(path, f"no HDU {key!r} for band {band}", f"It has: {there}; correct band_hdus.") from error


def hdu_name(hdu: Any) -> str:
    """EXTNAME, or a stand-in for a nameless HDU; astropy writes ``g`` as ``G``, which is undone for u, g, r, i, z."""
    name = str(hdu.header.get("EXTNAME", "")).strip() or f"image{hdu.ver if hdu.ver > 1 else ''}"
    return name.lower() if name in tuple("UGRIZ") else name


def _named_by(text: str, band_map: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
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


def _cube_axis(shape: tuple[int, ...], text: str, path: Path) -> tuple[tuple[str, ...], int]:
    """Names of a cube's bands, and the axis along which they lie."""
    if len(shape) != 3:
        raise ImageError(path, f"{len(shape)} axes {shape}, expected 2 or 3", "Write [y, x, band] or [y, x].")
    if not text:
        remedy = "Add BANDS to the header, for example BANDS = 'g,r,i'."
        raise ImageError(path, f"a cube of shape {shape} without the field BANDS", remedy)
    for names in _spellings(text):
        last, first = shape[2] == len(names), shape[0] == len(names)
        if last and first:
            problem = f"the cube {shape} fits {len(names)} BANDS ({text}) both as [y, x, band] and [band, y, x]"
            raise ImageError(path, problem, "Write one image an HDU, with EXTNAME, instead.")
        if last or first:
            _distinct(names, path)
            return tuple(names), 2 if last else 0
    problem = f"BANDS {text!r} does not fit a cube of shape {shape}"
    raise ImageError(path, problem, "Name as many bands as there are planes.")


def _distinct(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        raise ImageError(path, f"BANDS names a band twice ({','.join(names)})", "Name each band once.")


def _filter_name(hdu: Any, hdus: Any) -> str:
    header = merged_header(hdus, hdu)
    words = str(header.get("FILTER", "")).replace(".", " ").split()  # "g.MP9401", "g DECam SDSS c0001"
    return words[0] if words else hdu_name(hdu)


def merged_header(hdus: Any, hdu: Any) -> Mapping[str, Any]:
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
