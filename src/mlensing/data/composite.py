"""Colour composites, as surveys publish them: linear bands to 8-bit channels.

Channels are in the order blue, green, red throughout (as ``mlensing.contract.CHANNELS``); fluxes at AB zero point 30.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlensing.survey import Survey


@dataclass
class Stretch:
    """Parameters of each image's stretch; ``weights`` [B, 3], ``percentile`` [B] bool, all else [B].

    Attributes:
        percentile: a percentile stretch rather than the arcsinh.
        weights: factors of blue, green, red before the arcsinh.
        offset: added to every channel before the arcsinh (a grey sky).
        alpha, q: softening parameters of the arcsinh.
        low, high: quantiles, 0..1, that become black and white.
    """

    percentile: Tensor
    weights: Tensor
    offset: Tensor
    alpha: Tensor
    q: Tensor
    low: Tensor
    high: Tensor


def draw_stretch(survey: Survey, uniform: Tensor) -> Stretch:
    """One of the survey's own stretches for each image, mildly varied.

    Arguments:
        uniform: [B, 6] random numbers in (0, 1); the ranges of the variation (alpha 25 %, Q 20 %, channels 8 %) stay
            mild because colour carries much of the signal.
    """
    device = uniform.device
    pick = (uniform[:, 0] * len(survey.composites)).long()
    options = [
        (float(c.kind == "percentile"), *c.weights[::-1], c.offset, c.alpha, c.q, c.low / 100, c.high / 100)
        for c in survey.composites
    ]
    chosen = torch.tensor(options, device=device)[pick]
    vary = 2 * uniform - 1
    return Stretch(
        percentile=chosen[:, 0] > 0.5,
        weights=chosen[:, 1:4] * torch.exp(0.08 * vary[:, 3:6]),
        offset=chosen[:, 4],
        alpha=chosen[:, 5] * torch.exp(0.25 * vary[:, 1]),
        q=chosen[:, 6] * torch.exp(0.2 * vary[:, 2]),
        low=chosen[:, 7],
        high=chosen[:, 8],
    )


def composite(image: Tensor, stretch: Stretch) -> Tensor:
    """8-bit composite of linear images.

    Arguments:
        image: [B, 3, y, x] blue, green, red, flux at zero point 30.

    Returns:
        [B, 3, y, x] whole numbers 0..255, float32.

    Example:
        >>> stretch = draw_stretch(Survey.load("des"), torch.full((2, 6), 0.5))
        >>> composite(torch.zeros(2, 3, 32, 32), stretch).max().item()
        0.0
    """
    weighted = image * stretch.weights[..., None, None] + stretch.offset[:, None, None, None]
    out = arcsinh_stretch(weighted, stretch.alpha, stretch.q)
    if bool(stretch.percentile.any()):
        rows = stretch.percentile
        out[rows] = percentile_stretch(image[rows], stretch.low[rows], stretch.high[rows])
    return torch.round(out.clamp(0, 1) * 255)


def arcsinh_stretch(image: Tensor, alpha: Tensor, q: Tensor) -> Tensor:
    """Colour-keeping arcsinh of Lupton+2004 as HumVI writes it: each channel times asinh(alpha Q I) / (Q I).

    I is the mean of the channels; [B, 3, y, x] in and out, white at 1.
    """
    alpha, q = alpha[:, None, None, None], q[:, None, None, None]
    intensity = image.mean(1, keepdim=True).clamp(min=1e-6)
    return image * torch.asinh(alpha * q * intensity) / (q * intensity)


def percentile_stretch(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Linear between two quantiles of the whole image, the channels together; [B, 3, y, x] in and out, white at 1."""
    ordered = image.flatten(1).sort(-1).values
    last = ordered.shape[-1] - 1
    black = ordered.gather(1, (low * last).round().long()[:, None])
    white = ordered.gather(1, (high * last).round().long()[:, None])
    return (image - black[..., None, None]) / (white - black).clamp(min=1e-6)[..., None, None]
