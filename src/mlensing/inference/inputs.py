"""Each image as the network's pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlensing.contract import ModelContract
from mlensing.data.cutout import Cutout, select_bands
from mlensing.data.framing import frame
from mlensing.errors import ContractError


@dataclass(frozen=True)
class Pixels:
    """An image as the network takes it: raw values [band, y, x], and whether they are 8-bit colour.

    ``spacing`` is dx, dy [arcsec/px] and ``redshifts`` z_lens, z_source; NaN where they are not known.
    """

    image: Tensor
    composite: bool
    spacing: tuple[float, float] = (math.nan, math.nan)
    redshifts: tuple[float, float] = (math.nan, math.nan)


def stacked_pixels(pixels: Sequence[Pixels]) -> tuple[Tensor, Tensor, Tensor]:
    """Images [B, C, y, x], which of them are composites [B], and their spacing [B, 2]."""
    composite = torch.tensor([p.composite for p in pixels])
    return torch.stack([p.image for p in pixels]), composite, torch.tensor([p.spacing for p in pixels])


def fit_to(cutout: Cutout, contract: ModelContract, *, where: object, resample: bool = True) -> Pixels:
    """A cutout in the bands, scale and size of a contract; without a pixel scale it is taken as it is.

    Raises:
        ContractError: bands, representation or (without ``resample``) scale it was not trained for.
    """
    contract.require_representation(cutout.representation, where=where)
    cutout = select_bands(cutout, contract.bands, cutout.survey, where=where)
    scale = cutout.pixel_scale
    if scale is not None and not resample and not contract.accepts_scale(scale):
        low, high = contract.pixel_scale
        problem = f'its pixel scale is {scale:.3f}", the model takes {low:.3f}" to {high:.3f}"'
        raise ContractError(where, problem, "Allow resampling (resample=True).")
    framed = frame(cutout, contract.input_size, contract.pixel_scale if resample else None)
    image = torch.from_numpy(np.ascontiguousarray(framed.image, dtype=np.float32))
    redshifts = float(cutout.meta.get("z_lens", math.nan)), float(cutout.meta.get("z_source", math.nan))
    return Pixels(image, cutout.representation == "composite", framed.scales or (math.nan, math.nan), redshifts)
