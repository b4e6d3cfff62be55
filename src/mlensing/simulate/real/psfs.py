"""Point-spread functions that were measured, in place of Moffat profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlensing.provenance import fingerprint
from mlensing.simulate.camera.instrument import Instrument, Observation, fine_cells
from mlensing.simulate.draws import Draws
from mlensing.simulate.real.psf_files import Image, read_psfs
from mlensing.simulate.render.interpolation import lanczos_weights

LARGEST = 151  # pixels a side that are kept about the peak
ZOOM = 8  # samples per pixel where centre and width are measured


@dataclass
class RealPsfs:
    """A stock of PSFs.

    Attributes:
        path, given_scale: where they were read from, and the scale that was given for files that state none.
        pixels: [N, size, size], each summing to 1, padded with zeros.
        scale: [N] arcsec/px.
        centre: [N, 2] x, y of the centre of light near the peak [px].
        fwhm: [N] diameter of the circle as large as the area above half of the peak [arcsec].
        names: of each; the name of a survey's band among them makes it serve that band alone.
        dropped: images of the files that are no PSF.
    """

    path: str
    given_scale: float | None
    pixels: Tensor
    scale: Tensor
    centre: Tensor
    fwhm: Tensor
    names: list[frozenset[str]]
    dropped: int

    def __len__(self) -> int:
        return len(self.pixels)

    def __reduce__(self) -> tuple[Any, tuple[str, float | None]]:
        return _loaded, (self.path, self.given_scale)  # worker processes read them for themselves, once each

    @classmethod
    def load(cls, path: str | Path, scale: float | None = None) -> RealPsfs:
        """The PSFs of a FITS cube, of a file with one image an HDU, or of a folder of such files.

        Arguments:
            scale: of files that state none in ``PIXSCALE`` or a WCS [arcsec/px].

        Raises:
            ConfigError: no such file, a damaged one, one without a pixel scale, or no PSF in any.
        """
        images, dropped = read_psfs(path, scale)
        size = min(max(max(psf.pixels.shape) for psf in images) | 1, LARGEST)
        pixels = torch.from_numpy(np.stack([_prepared(psf.pixels, size) for psf in images]))
        step = torch.tensor([psf.scale for psf in images])
        measured = torch.stack([_measure(image) for image in pixels])
        names = [psf.names for psf in images]
        return cls(str(path), scale, pixels, step, measured[:, :2], measured[:, 2] * step, names, dropped)

    def to(self, device: torch.device) -> RealPsfs:
        """On a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("pixels", "scale", "centre", "fwhm")}
        return replace(self, **tensors)

    def serving(self, band: str, bands: Sequence[str]) -> list[int]:
        """Those named for a band; else those named for none of a survey's ``bands``; else all."""
        every, known = range(len(self)), {name.upper() for name in bands}
        own = [i for i in every if band.upper() in self.names[i]]
        return own or [i for i in every if not known & self.names[i]] or list(every)

    def record(self) -> dict[str, Any]:
        """What stands in ``provenance.json``."""
        digest = fingerprint(self.pixels.cpu().numpy().tobytes(), self.scale.cpu().numpy().tobytes())
        return {"path": self.path, "hash": digest, "used": len(self), "dropped": self.dropped}


@lru_cache(maxsize=2)
def _loaded(path: str, scale: float | None) -> RealPsfs:
    return RealPsfs.load(path, scale)


def _prepared(image: Image, size: int) -> Image:
    """``size`` pixels a side about the peak, free of background, summing to 1."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    clean = np.clip(image - np.median(edge), 0, None)
    row, column = (int(v) for v in np.unravel_index(int(clean.argmax()), clean.shape))
    half = size // 2
    around = np.pad(clean, half)[row : row + size, column : column + size]
    return np.asarray(around / around.sum(), np.float32)


def _measure(image: Tensor) -> Tensor:
    """Centre x, y of the light above half of the peak, and FWHM, on a grid ``ZOOM`` times finer; [3] px."""
    size, reach = len(image), min(len(image) // 2, 24)
    line = (torch.arange(2 * reach * ZOOM + 1) / ZOOM + size // 2 - reach)[None]
    weights = lanczos_weights(line, size, torch.ones(1))[0]
    fine = weights @ image @ weights.T
    core = torch.where(fine > 0.5 * fine.max(), fine, 0.0)
    x, y = (core.sum(axis) @ line[0] / core.sum() for axis in (0, 1))
    return torch.stack([x, y, 2 * torch.sqrt((core > 0).sum() / torch.pi) / ZOOM])


@dataclass
class RealObservation(Observation):
    """An observation whose PSFs are those ``chosen`` [B, bands] of a stock."""

    stock: RealPsfs
    chosen: Tensor

    def __getitem__(self, rows: Tensor) -> RealObservation:
        own = ("stock", "chosen")
        seen = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in own}
        return RealObservation(**seen, stock=self.stock, chosen=self.chosen[rows])

    def psf(self, *, size: int, spacing: Tensor) -> Tensor:
        """PSFs with the centre at [0, 0] and wrap-around, each summing to 1; [B, bands, size, size]."""
        offset = torch.fft.fftfreq(size, d=1.0 / size, device=spacing.device) * spacing[:, None]
        which, bands = self.chosen.flatten(), self.chosen.shape[1]
        step = self.stock.scale[which]
        line = offset.repeat_interleave(bands, 0) / step[:, None]
        stretch, count = spacing.repeat_interleave(bands) / step, self.stock.pixels.shape[-1]
        across, along = (
            lanczos_weights(line + self.stock.centre[which, axis, None], count, stretch) for axis in (0, 1)
        )
        kernel = along @ self.stock.pixels[which] @ across.mT
        kernel = kernel / kernel.sum((-2, -1), keepdim=True)
        return kernel.view(len(spacing), bands, size, size)


class PsfChoice:
    """Which PSFs of a stock serve which band of which survey.

    Arguments:
        stock: the PSFs.
        bands: of each survey, in the simulator's order.
    """

    def __init__(self, stock: RealPsfs, bands: Sequence[Sequence[str]]) -> None:
        self.stock = stock
        self._rows = [[stock.serving(band, names) for band in names] for names in bands]
        longest = max(len(row) for rows in self._rows for row in rows)
        padded = [[row + row[:1] * (longest - len(row)) for row in rows] for rows in self._rows]
        device = stock.pixels.device
        self._table = torch.tensor(padded, device=device)
        self._count = torch.tensor([[len(row) for row in rows] for rows in self._rows], device=device)

    def instrument(self, view: Instrument, survey: Tensor) -> Instrument:
        """Instruments with the width of these PSFs, and a grid that samples them; ``survey`` is that of each row."""
        fwhm = torch.stack([torch.stack([self.stock.fwhm[row].median() for row in rows]) for rows in self._rows])
        fwhm = fwhm[survey]
        cells = [fine_cells(*pair) for pair in zip(fwhm.amin(1).tolist(), view.pixel_scale.tolist(), strict=True)]
        fine = torch.tensor(cells, device=fwhm.device)
        return replace(view, fwhm=fwhm, scatter=torch.zeros_like(fwhm), fine=fine)

    def observe(self, seen: Observation, draws: Draws, survey: Tensor) -> RealObservation:
        """An observation [B] with a PSF drawn for each exposure; ``survey`` [B] as in the simulator."""
        count = self._count[survey]
        place = (draws.uniform("psf/real", count.shape[1]) * count).long()
        chosen = self._table[survey].gather(2, torch.minimum(place, count - 1)[..., None])[..., 0]
        return RealObservation(**{f.name: getattr(seen, f.name) for f in fields(seen)}, stock=self.stock, chosen=chosen)
