"""The PSF of each band of a cutout: of its file, of a file given, of a width given, or of its survey.

PSFs are odd squares of pixels with the peak in the middle, that sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mlensing.data.cutout import Cutout, Image
from mlensing.errors import ConfigError, ImageError
from mlensing.survey import Band, Survey

MOST = 41
"""Pixels a side that are used of a larger PSF."""
MOFFAT = 3.5
"""Exponent of a ground-based PSF: the middle of the 2.5 to 4.8 that surveys show."""
Profile = Literal["moffat", "gaussian"]


@dataclass(frozen=True)
class PsfChoice:
    """What serves files without a PSF.

    Attributes:
        image: PSF on the pixels of the images, from a FITS file; it comes first.
        fwhm: full width at half maximum of all bands [arcsec]; without it, the seeing of the survey preset.
        profile: the shape of a PSF of which only the width is known.
    """

    image: Image | None = None
    fwhm: float | None = None
    profile: Profile = "moffat"

    @classmethod
    def of(cls, path: str | Path | None, fwhm: float | None, profile: Profile) -> PsfChoice:
        """As the user names it.

        Raises:
            ImageError: a file that is no PSF.
            ConfigError: an impossible width.
        """
        if fwhm is not None and not 0 < fwhm < 20:
            raise ConfigError("psf_fwhm", f"expected arcsec above 0, got {fwhm}", "Correct it.")
        return cls(None if path is None else _read(Path(path)), fwhm, profile)


def _read(path: Path) -> Image:
    from mlensing.data.cutout import read_cutout

    return _checked(read_cutout(path, maps=()).image[0], path)


def _checked(psf: Image, where: object) -> Image:
    """The middle of a PSF, normalised."""
    height, width = psf.shape
    if height != width or height % 2 == 0:
        problem = f"the PSF has {height} x {width} pixels, expected an odd square"
        raise ImageError(where, problem, "Cut it so that the peak is its middle pixel.")
    if not (np.isfinite(psf).all() and psf.sum() > 0):
        raise ImageError(where, "the PSF has NaN, or no positive sum", "Write it anew.")
    cut = max(0, (height - MOST) // 2)
    psf = psf[cut : height - cut, cut : width - cut]
    return np.asarray(psf / psf.sum(), dtype=np.float32)


def psf_of(cutout: Cutout, choice: PsfChoice, *, where: object) -> Image:
    """PSFs [band, k, k] of a cutout.

    Raises:
        ImageError: a PSF that cannot be used, or none to be had.
    """
    if "psf" in cutout.maps:
        return np.stack([_checked(cutout.maps["psf"], where)] * len(cutout.bands))
    if choice.image is not None:
        return np.stack([choice.image] * len(cutout.bands))
    assert cutout.scales is not None
    widths = [choice.fwhm or _seeing(cutout, band, where) for band in cutout.bands]
    half = min(MOST // 2, int(np.ceil(2.5 * max(widths) / min(cutout.scales))) + 1)
    return np.stack([round_psf(width, cutout.scales, half, choice.profile) for width in widths])


def _seeing(cutout: Cutout, band: str, where: object) -> float:
    """FWHM [arcsec] of a band by the survey's preset."""
    if cutout.survey is not None:
        known = preset_band(Survey.load(cutout.survey), band)
        if known is not None:
            return known.psf_fwhm
    remedy = "Add an HDU PSF, or give --psf, --psf_fwhm or --survey."
    raise ImageError(where, f"nothing says what the PSF of band {band!r} is", remedy)


def preset_band(survey: Survey, name: str) -> Band | None:
    """The band of a survey that an image's band, or channel, is; None if it has no such band.

    Example:
        >>> preset_band(Survey.load("des"), "red") == Survey.load("des").band("i")
        True
    """
    channels = {str(channel): band for channel, band in survey.channels.items()}
    return survey.bands.get(channels.get(name, name))


def round_psf(fwhm: float, scales: tuple[float, float], half: int, profile: Profile = "moffat") -> Image:
    """A round PSF [2 half + 1, 2 half + 1] of this width on pixels of these sizes, all in arcsec.

    Example:
        >>> psf = round_psf(0.8, (0.2, 0.2), 6, "gaussian")
        >>> round(float(psf[6, 8] / psf[6, 6]), 4)  # half a width from the peak
        0.5
    """
    steps = np.arange(-half, half + 1)
    square = (steps * scales[0]) ** 2 + ((steps * scales[1]) ** 2)[:, None]
    if profile == "gaussian":
        psf = np.exp(-4 * np.log(2) * square / fwhm**2)
    else:
        psf = (1 + 4 * (2 ** (1 / MOFFAT) - 1) * square / fwhm**2) ** -MOFFAT
    return np.asarray(psf / psf.sum(), dtype=np.float32)
