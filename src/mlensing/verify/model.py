"""Files in, one row each out: is it a lens by its light, of what Einstein radius, and how sure is that.

Angles in arcsec, position angles in degrees counter-clockwise from +x. ``delta_bic`` is the BIC of the best hypothesis
without a lens less that of the lens: above 10 a lens explains the image better, below 0 it is not needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from mlensing.data.gather import Item, gather, read_item
from mlensing.errors import ConfigError, MLensingError
from mlensing.verify.candidates import top_candidates
from mlensing.verify.exposure import Exposure, expose, stacked
from mlensing.verify.fit import Comparison, compare
from mlensing.verify.hypotheses import HYPOTHESES, LENS
from mlensing.verify.psf import Profile, PsfChoice
from mlensing.verify.render import shape_of

NUMBERS = (
    "theta_E", "theta_E_sigma", "mass_q", "mass_phi", "gamma1", "gamma2", "centre_x", "centre_y",
    "lens_radius", "lens_n", "source_x", "source_y", "source_radius", "source_n", "magnification", "arc_signal",
    "chi2_lens", "chi2_alternative", "pixels", "chi2_reduced", "delta_bic", "agreeing",
)  # fmt: skip
COLUMNS = ("file", *NUMBERS, "alternative", "converged", "status")
READ = ("psf", "variance")


def model(
    inputs: Sequence[str],
    *,
    survey: str | None = None,
    pixel_scale: float | None = None,
    bands: list[str] | None = None,
    psf: str | None = None,
    psf_fwhm: float | None = None,
    psf_profile: Profile = "moffat",
    size: int = 121,
    scores: str | None = None,
    top: int = 50,
    pictures: str | None = None,
    batch_size: int = 8,
    device: str = "auto",
) -> pd.DataFrame:
    """Fit a lens, and galaxies without a lens, to images.

    Args:
        inputs: files, folders and index CSVs.
        survey: preset of files whose header names none; its seeing serves where no PSF is given.
        pixel_scale: of files that state none [arcsec/px].
        bands: which bands to fit; None for all.
        psf: FITS file with the PSF, on the pixels of the images, for files without an HDU PSF.
        psf_fwhm: width of the PSF [arcsec] for files without an HDU PSF.
        psf_profile: shape of a PSF of which only the width is known.
        size: most pixels a side that are fitted, about the galaxy in the middle.
        scores: table of ``predict``; only its best candidates are modelled, best first.
        top: how many of them.
        pictures: folder for a picture of each image: data, models, residuals, source.
        batch_size: images fitted together.
        device: auto, cpu or cuda.

    Returns:
        columns ``COLUMNS``, with ``scores`` also ``rank`` and ``score``; status is ``ok``, or why there are no numbers.

    Raises:
        CatalogError, ImageError, SurveyError, ConfigError: an input or setting that is wrong as a whole.
    """
    if size < 21 or batch_size < 1:
        raise ConfigError("size or batch_size", f"{size} and {batch_size} fit nothing", "Leave them out.")
    choice = PsfChoice.of(psf, psf_fwhm, psf_profile)
    items, known = _listed(inputs, survey, pixel_scale, scores, top)
    target = _device(device)
    rows: list[dict[str, Any]] = []
    for batch in _batches(items, batch_size):
        read = [_exposure(item, choice, size, bands) for item in batch]
        rows += _modelled([item.file for item in batch], read, target, len(rows), pictures)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table if known is None else pd.concat([known, table.drop(columns="file")], axis=1)


def _listed(
    inputs: Sequence[str], survey: str | None, pixel_scale: float | None, scores: str | None, top: int
) -> tuple[list[Item], pd.DataFrame | None]:
    """What to model, and with scores the rank and score of each."""
    if scores is None:
        if not inputs:
            raise ConfigError("inputs", "nothing to model", "Name images, or a table of predict with --scores.")
        return gather(inputs, survey=survey, pixel_scale=pixel_scale), None
    best = top_candidates(scores, top)
    there = {item.file: item for item in gather(inputs, survey=survey, pixel_scale=pixel_scale)}
    return [there.get(name, Item(name, Path(name), survey, pixel_scale)) for name in best["file"]], best


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda") and not available:
        raise ConfigError("device", f"{name} is not there", "Take auto or cpu.")
    return torch.device(name)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    yield from track(chunks, "modelling", console=Console(stderr=True), transient=True, disable=len(chunks) < 2)


def _exposure(item: Item, choice: PsfChoice, size: int, bands: Sequence[str] | None) -> Exposure | Exception:
    """The pixels of an item, or why there are none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header's oddities; what matters ends in the status
            return expose(read_item(item, maps=READ), choice, size=size, bands=bands, where=item.file)
    except (MLensingError, OSError, ValueError) as error:
        return error


def _modelled(
    files: Sequence[str], read: Sequence[Exposure | Exception], device: torch.device, first: int, folder: str | None
) -> list[dict[str, Any]]:
    """Rows of a batch; exposures of one kind are fitted together."""
    found: dict[int, dict[str, Any]] = {i: _failed(r) for i, r in enumerate(read) if isinstance(r, Exception)}
    kinds: dict[Any, list[int]] = {}
    for i, exposure in enumerate(read):
        if isinstance(exposure, Exposure):
            kinds.setdefault(exposure.kind, []).append(i)
    for members in kinds.values():
        exposures = [e for e in (read[i] for i in members) if isinstance(e, Exposure)]
        try:
            comparison = compare(stacked(exposures, device))
        except LinAlgError as error:
            found |= {i: _failed(error) for i in members}
            continue
        for k, i in enumerate(members):
            found[i] = row_of(comparison, exposures[k], k)
            if folder is not None:
                from mlensing.verify.picture import write_picture  # matplotlib is slow to import

                name = f"{first + i:05d}_{Path(files[i]).name.split('.')[0]}.png"
                write_picture(Path(folder) / name, comparison, exposures[k], k, title=files[i])
    return [{"file": file, **found[i]} for i, file in enumerate(files)]


def _failed(error: Exception) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(NUMBERS, np.nan)
    return nothing | {"alternative": "", "converged": False, "status": " ".join(str(error).split())}


def row_of(found: Comparison, exposure: Exposure, k: int) -> dict[str, Any]:
    """The numbers of image ``k`` of a comparison, without its file."""
    hypothesis, minimum = HYPOTHESES[LENS], found.minima[LENS]
    values = hypothesis.limited(minimum.parameters[k : k + 1])[0].cpu()
    p = {parameter.name: float(value) for parameter, value in zip(hypothesis.parameters, values, strict=True)}
    theta = float(np.exp(p["log_theta_E"]))
    q, phi = shape_of(*(torch.tensor(p[name]) for name in ("mass_v1", "mass_v2")))
    alternative = found.best_alternative()[k]
    row: dict[str, Any] = {
        "theta_E": theta,
        "theta_E_sigma": theta * float(found.deviations()[k, hypothesis.index("log_theta_E")]),
        "mass_q": float(q),
        "mass_phi": float(np.degrees(float(phi)) % 180),
        "gamma1": p["gamma1"],
        "gamma2": p["gamma2"],
        "centre_x": p["central_x"] + exposure.offset[0],
        "centre_y": p["central_y"] + exposure.offset[1],
        "lens_radius": float(np.exp(p["central_log_radius"])),
        "lens_n": float(np.exp(p["central_log_n"])),
        "source_x": p["source_x"] + exposure.offset[0],
        "source_y": p["source_y"] + exposure.offset[1],
        "source_radius": float(np.exp(p["source_log_radius"])),
        "source_n": float(np.exp(p["source_log_n"])),
        "magnification": float(found.magnification[k]),
        "arc_signal": float(found.arc_signal[k]),
        "chi2_lens": float(found.models[LENS].chi2[k]),
        "chi2_alternative": float(found.models[alternative].chi2[k]),
        "pixels": int((found.exposures.weight[k] > 0).sum()),
        "chi2_reduced": float(found.reduced[k]),
        "delta_bic": float(found.bic[alternative][k] - found.bic[LENS][k]),
        "agreeing": float(found.agreeing[k]),
    }
    return row | {"alternative": alternative, "converged": bool(minimum.converged[k]), "status": "ok"}
