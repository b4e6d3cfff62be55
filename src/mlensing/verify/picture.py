"""A picture of each fit: data, lens model, what is left of it, the source, and what is left of the best alternative."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlensing.provenance import replacing
from mlensing.verify.exposure import Exposure
from mlensing.verify.fit import Comparison
from mlensing.verify.hypotheses import HYPOTHESES, LENS
from mlensing.verify.render import brightness

Plane = NDArray[np.float64]
PANELS = ("data", "less lens light", "lens model", "residual [noise]", "source", "without lens: residual")
SOURCE_PIXELS = 80


def write_picture(path: Path, found: Comparison, exposure: Exposure, k: int, *, title: str) -> None:
    """Draw image ``k`` of a comparison, in the band in which its arcs are clearest, as PNG; whole or not at all."""
    band, panels = _panels(found, k)
    figure = Figure(figsize=(15.6, 3.1), dpi=90, layout="constrained")
    width, height = (exposure.image.shape[-1] * scale / 2 for scale in exposure.scales)
    span = float(np.exp(found.minima[LENS].parameters[k, HYPOTHESES[LENS].index("log_theta_E")].item()))
    for number, (name, plane) in enumerate(zip(PANELS, panels, strict=True)):
        axes = figure.add_subplot(1, len(PANELS), number + 1)
        x, y = (span, span) if name == "source" else (width, height)
        shown: dict[str, Any] = {"origin": "lower", "extent": (-x, x, -y, y), "interpolation": "nearest"}
        signed = "residual" in name
        limits: dict[str, Any] = (
            {"vmin": -5, "vmax": 5, "cmap": "RdBu_r"} if signed else {**_stretch(plane), "cmap": "gray"}
        )
        axes.imshow(plane, **shown, **limits)
        axes.set_title(name if number else f"{name}, {exposure.bands[band]}", fontsize=9)
        axes.tick_params(labelsize=7)
    figure.suptitle(_caption(found, k, title), fontsize=9)
    with replacing(path) as beside:
        FigureCanvasAgg(figure)
        figure.savefig(beside, format="png", metadata={"Software": "mlensing"})


def _caption(found: Comparison, k: int, title: str) -> str:
    theta = HYPOTHESES[LENS].index("log_theta_E")
    value = float(found.minima[LENS].parameters[k, theta].exp())
    sigma, other = value * float(found.deviations()[k, theta]), found.best_alternative()[k]
    gain = float(found.bic[other][k] - found.bic[LENS][k])
    return f'{title}: theta_E {value:.3f}" ± {sigma:.3f}", BIC of "{other}" less that of the lens {gain:.0f}'


def _stretch(plane: Plane) -> dict[str, float]:
    low, high = np.percentile(plane, (1, 99.7))
    return {"vmin": float(low), "vmax": float(max(high, low + 1e-12))}


def _panels(found: Comparison, k: int) -> tuple[int, list[Plane]]:
    """The band shown, and the panels [y, x] in order."""
    row = torch.tensor([k], device=found.exposures.data.device)
    exposures, lens = found.exposures[row], found.models[LENS]
    other = found.models[found.best_alternative()[k]]
    shown = lens.flux[k, :, :, None] * lens.basis[k]
    light, arcs = shown[:, :-2].sum(1), shown[:, -2]
    band = int(arcs.square().sum(1).argmax())
    weight = exposures.weight[0, band]
    noise = torch.where(weight > 0, 1 / weight.clamp(min=1e-30), 0.0)
    used, shape = weight > 0, weight.shape
    data, sky = exposures.data[0, band], lens.flux[k, band, -1]
    left = [p.residual[k, band].reshape(shape) for p in (lens, other)]
    bright = [torch.asinh((image - sky) / (3 * noise[used].min())) * used for image in (data, data - left[0] * noise)]
    unlensed = (data - sky - light[band].reshape(shape) * noise) * used
    planes = [bright[0], unlensed, bright[1], left[0], _source(found, row), left[1]]
    return band, [plane.cpu().double().numpy() for plane in planes]


def _source(found: Comparison, row: torch.Tensor) -> torch.Tensor:
    """The source plane, theta_E to each side of the lens."""
    hypothesis = HYPOTHESES[LENS]
    point = hypothesis.limited(found.minima[LENS].parameters[row])
    reach = point[:, hypothesis.index("log_theta_E")].exp()
    line = torch.linspace(-1, 1, SOURCE_PIXELS, device=point.device) * reach
    numbers = point[:, list(hypothesis.components[-1].positions)]
    x, y = line[None, None, :].expand(1, SOURCE_PIXELS, -1), line[None, :, None].expand(1, -1, SOURCE_PIXELS)
    return torch.asinh(brightness(numbers, x, y)[0])
