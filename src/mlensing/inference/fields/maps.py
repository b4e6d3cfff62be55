"""What a finder says of a whole field, as files: maps with the field's WCS, a table of candidates, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mlensing.data.cutout import Image, select_bands
from mlensing.data.field import Field, open_field
from mlensing.data.framing import resample
from mlensing.data.planes import STRIP, Rows, write_planes
from mlensing.data.preview import Picture, picture
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import sigmoid
from mlensing.evaluation.field_figure import write_field_figure
from mlensing.inference.fields.heat_map import HeatMap, slide
from mlensing.inference.fields.sources import find_sources, windows_on
from mlensing.inference.fields.windows import Peak, Window, framed, highest, judge
from mlensing.inference.lenses import joint_maps, mappers
from mlensing.inference.predictor import UNLIKE, Predictor
from mlensing.inference.scores import write_scores
from mlensing.physics import gradient

COLUMNS = ("x", "y", "ra", "dec", "probability", "logit", "unlike", "flag")
MAPS = ("KAPPA", "PSI", "ALPHA_X", "ALPHA_Y")
SHOWN = 1200
"""Pixels of the picture along the field's longer side, at most."""


def map_field(
    predictor: Predictor,
    fields: Sequence[str | Path],
    *,
    output: str = "maps.fits",
    bands: Sequence[str] | None = None,
    survey: str | None = None,
    pixel_scale: float | None = None,
    prevalence: float | None = None,
    stride: int = 4,
    coarse: int = 8,
    refine: float = 0.1,
    places: Literal["sources", "grid"] = "sources",
    detection: float = 20.0,
    candidates: int = 20,
    accept: float = 0.5,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Write the heat-map of a field, its candidates (CSV) and a picture of both (PNG), all named as the output.

    The primary HDU is ``PROBABILITY``, on the field's own pixels. If a member has a map head, ``KAPPA``, ``PSI``
    [arcsec^2], ``ALPHA_X`` and ``ALPHA_Y`` [arcsec] follow: of the accepted candidates, each within its own window, the
    more probable above; NaN elsewhere. They are not blended: psi is known up to a plane, another one in each window.

    Arguments:
        predictor: the finders.
        fields: one FITS file with all bands, or one a band.
        output: FITS file of the maps; the others are named after it.
        bands: names of the bands, in the order of the files, where headers do not say.
        survey: preset of the field if its header names none.
        pixel_scale: of files that state none [arcsec/px].
        prevalence: share of lenses among the places looked at, such as 1e-4; None keeps that of the training.
        stride: spacing of the places of the heat-map [px].
        coarse: spacing of the places looked at first.
        refine: share of those around which the finer ones are looked at; 1 looks at all.
        places: what candidates are: ``sources`` of the field, each judged in the middle of a window, as finders have
            learned it; or maxima of the heat-map's ``grid``.
        detection: least signal over noise of a source.
        candidates: rows of the table, at most.
        accept: probability from which maps are made of a candidate.
        batch_size: windows a step of the network.

    Returns:
        the table: ``COLUMNS``, the most probable first; x and y count pixels from 0, ra and dec are in degrees.

    Raises:
        ImageError, SurveyError, ConfigError, ContractError: a field or setting that cannot be used.
    """
    target = Path(output)
    if target.suffix.lower() not in (".fits", ".fit"):
        raise ConfigError("output", f"expected a name that ends in .fits, got {output!r}", "Take maps.fits.")
    if candidates < 1:
        raise ConfigError("candidates", f"expected 1 or more, got {candidates}", "Take 20.")
    with open_field(fields, bands=bands, survey=survey, pixel_scale=pixel_scale) as field:
        judging: dict[str, Any] = {"batch_size": batch_size, "prevalence": prevalence}
        heat = slide(predictor, field, stride=stride, coarse=coarse, refine=refine, **judging)
        if places == "grid":
            peaks = heat.peaks(candidates)
        else:
            peaks = source_peaks(predictor, field, heat.window, candidates, detection, **judging)
        table = candidate_table(field, peaks)
        accepted = [peak for peak in peaks if sigmoid(peak.logit) >= accept]
        write_planes(target, field.shape, _planes(predictor, field, heat, accepted), field.cards)
        write_scores(table, target.with_suffix(".csv"))
        _draw(target.with_suffix(".png"), predictor, field, heat, peaks)
    return table


def source_peaks(
    predictor: Predictor, field: Field, window: Window, most: int, detection: float, **judging: Any
) -> list[Peak]:
    """The most probable of the field's sources, no two within half a window of each other."""
    places = find_sources(field, predictor.contract.bands, window, detection=detection)
    corners = windows_on(places, window, field.shape)
    logit, unlike = judge(predictor, field, window, corners, **judging)
    y, x = (corners + (np.array([window.rows, window.columns]) - 1) / 2).T
    return highest(y, x, logit, unlike, window, most)


def _planes(predictor: Predictor, field: Field, heat: HeatMap, accepted: Sequence[Peak]) -> dict[str, Rows]:
    """How to make the rows of each map."""
    planes = {"PROBABILITY": _probability(heat, field.shape[1])}
    if any(member.has_maps for member in predictor.ensemble.members):
        planes |= _pasted(window_maps(predictor, field, heat, accepted), heat, accepted, field.shape[1])
    return planes


def _draw(path: Path, predictor: Predictor, field: Field, heat: HeatMap, peaks: Sequence[Peak]) -> None:
    """The picture: field and heat-map, both in blocks of pixels."""
    shown, step = shrunk(field, predictor)
    y, x = (np.arange(n, dtype=np.float64) * step + (step - 1) / 2 for n in shown.shape[:2])
    places = [((peak.x + 0.5) / step - 0.5, (peak.y + 0.5) / step - 0.5) for peak in peaks]
    scores = sigmoid(np.array([peak.logit for peak in peaks]))
    write_field_figure(path, shown, sigmoid(heat.sample(y, x)), places, scores, heat.window.columns / step / 4)


def candidate_table(field: Field, peaks: Sequence[Peak]) -> pd.DataFrame:
    """Local maxima as a table with the columns ``COLUMNS``."""
    x, y, logit, unlike = np.array([*peaks], float).reshape(-1, 4).T
    ra, dec = field.sky(x, y)
    flag = np.where(unlike > 1, UNLIKE, "")
    content = (x, y, ra, dec, sigmoid(logit), logit, unlike, flag)
    return pd.DataFrame(dict(zip(COLUMNS, content, strict=True)))


def window_maps(predictor: Predictor, field: Field, heat: HeatMap, peaks: Sequence[Peak]) -> dict[str, Image]:
    """Maps [N, rows, columns] of the windows at some peaks, on the field's own pixels; alpha at their spacing."""
    window, members, found = heat.window, mappers(predictor.ensemble.members), []
    for peak in peaks:
        row, column = _corner(peak, heat)
        strip = select_bands(field.rows(row, row + window.rows), predictor.contract.bands, where=field.where)
        pixels = torch.from_numpy(framed([strip.image[:, :, column : column + window.columns]], window))
        maps = joint_maps(members, pixels, torch.zeros(1, dtype=torch.bool), torch.tensor([window.spacing]))
        both = torch.cat([maps.kappa, maps.psi]).numpy()
        found.append(resample(both, (window.rows, window.columns), conserve_sum=False))
    stack = np.stack(found) if found else np.empty((0, 2, window.rows, window.columns), np.float32)
    psi = torch.from_numpy(stack[:, 1].copy())
    dx, dy = field.empty.scales or (1.0, 1.0)
    along = gradient(psi, dx=dx, dy=dy)
    return dict(zip(MAPS, (stack[:, 0], stack[:, 1], *(part.numpy() for part in along)), strict=True))


def _corner(peak: Peak, heat: HeatMap) -> tuple[int, int]:
    """First row and column of the window about a peak."""
    return round(peak.y - (heat.window.rows - 1) / 2), round(peak.x - (heat.window.columns - 1) / 2)


def _probability(heat: HeatMap, width: int) -> Rows:
    columns = np.arange(width, dtype=float)
    return lambda start, stop: sigmoid(heat.sample(np.arange(start, stop, dtype=float), columns)).astype(np.float32)


def _pasted(maps: Mapping[str, Image], heat: HeatMap, peaks: Sequence[Peak], width: int) -> dict[str, Rows]:
    """Rows of each map, NaN but in the windows of the peaks; the first peak lies above the others."""
    corners = [_corner(peak, heat) for peak in peaks]

    def rows_of(stack: Image) -> Rows:
        def rows(start: int, stop: int) -> NDArray[np.float32]:
            strip = np.full((stop - start, width), np.nan, np.float32)
            for (row, column), content in reversed(list(zip(corners, stack, strict=True))):
                first, last = max(start, row), min(stop, row + heat.window.rows)
                if first < last:
                    across = slice(column, column + heat.window.columns)
                    strip[first - start : last - start, across] = content[first - row : last - row]
            return strip

        return rows

    return {name: rows_of(stack) for name, stack in maps.items()}


def shrunk(field: Field, predictor: Predictor) -> tuple[Picture, int]:
    """The field as RGB, averaged over blocks of so many pixels that it is no larger than ``SHOWN``."""
    step = -(-max(field.shape) // SHOWN)
    rows, columns = (length // step for length in field.shape)
    at_once = max(1, STRIP // step)
    parts = []
    for start in range(0, rows, at_once):
        stop = min(start + at_once, rows)
        strip = select_bands(field.rows(start * step, stop * step), predictor.contract.bands, where=field.where)
        blocks = strip.image[:, :, : columns * step].reshape(-1, stop - start, step, columns, step)
        parts.append(blocks.mean((2, 4)))
    return picture(torch.from_numpy(np.concatenate(parts, 1)), composite=False), step
