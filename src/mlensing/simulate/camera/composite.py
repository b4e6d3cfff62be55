"""Colour composites, as surveys publish them: linear bands to 8-bit channels.

Channels are in the order blue, green, red throughout (as ``mlensing.contract.CHANNELS``); fluxes at AB zero point 30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mlensing.errors import ConfigError
from mlensing.simulate.camera.jpeg import compressed
from mlensing.survey import Composite, Survey


@dataclass
class Stretch:
    """Parameters of each image's stretch, all [B] but ``weights`` [B, 3], ``phase``, ``shift`` [B, 2]; flags are bool.

    Attributes:
        percentile: a percentile stretch rather than the arcsinh.
        separate: the arcsinh takes each channel's own brightness instead of their mean.
        weights: factors of blue, green, red before the arcsinh.
        offset: added to every channel before the arcsinh (a grey sky).
        pedestal: added to every channel after the arcsinh.
        grey: brightness after the arcsinh at which pixels keep half their colour, so that the sky is not speckled.
        alpha, q: softening parameters of the arcsinh.
        low: quantile, 0..1, of each channel that becomes black.
        high: quantile of all channels together that becomes white.
        jpeg: quality of the JPEG; 0 for none.
        phase: [B, 2] where its blocks begin, 0..1.
        shift: [B, 2] pixels, 0..1, that the image was moved by before it was stretched.
    """

    percentile: Tensor
    separate: Tensor
    weights: Tensor
    offset: Tensor
    pedestal: Tensor
    grey: Tensor
    alpha: Tensor
    q: Tensor
    low: Tensor
    high: Tensor
    jpeg: Tensor
    phase: Tensor
    shift: Tensor

    def __getitem__(self, rows: Tensor) -> Stretch:
        return Stretch(*(getattr(self, f.name)[rows] for f in fields(self)))


UNIFORMS = 11
"""Random numbers that a drawn stretch takes."""


def published(image: Tensor, survey: Survey, *, dx: Tensor, uniform: Tensor) -> Tensor:
    """8-bit composites of linear images as the survey makes them.

    Arguments:
        image: [B, 3, y, x] blue, green, red, flux a pixel at zero point 30.
        dx: [B] pixel scale [arcsec]; where it is not the survey's own, the surface brightness counts.
        uniform: [B, ``UNIFORMS``] random numbers in (0, 1), which choose and vary the stretch.

    Returns:
        [B, 3, y, x] whole numbers 0..255, float32.
    """
    native = image * ((survey.pixel_scale / dx) ** 2)[:, None, None, None]
    return composite(native, draw_stretch(survey.composites, uniform))


def draw_stretch(composites: Sequence[Composite], uniform: Tensor) -> Stretch:
    """One of these stretches for each image, mildly varied.

    Arguments:
        composites: such as those of a survey.
        uniform: [B, ``UNIFORMS``] random numbers in (0, 1); the ranges of the variation (alpha 25 %, Q 20 %, channels
            8 %, a factor of 1.5 in the shares of black and white) stay mild because colour carries much of the signal.
    """
    device = uniform.device
    pick = (uniform[:, 0] * len(composites)).long()
    chosen = torch.tensor([_numbers(c) for c in composites], device=device)[pick]
    vary = 2 * uniform - 1
    return Stretch(
        percentile=chosen[:, 0] > 0.5,
        separate=chosen[:, 11] > 0.5,
        weights=chosen[:, 1:4] * torch.exp(0.08 * vary[:, 3:6]),
        offset=chosen[:, 4],
        pedestal=chosen[:, 5],
        grey=chosen[:, 6],
        alpha=chosen[:, 7] * torch.exp(0.25 * vary[:, 1]),
        q=chosen[:, 8] * torch.exp(0.2 * vary[:, 2]),
        low=chosen[:, 9] * torch.exp(0.4 * vary[:, 6]),
        high=1 - chosen[:, 10] * torch.exp(0.4 * vary[:, 7]),
        jpeg=torch.where(chosen[:, 12] > 0, (chosen[:, 12] + 8 * vary[:, 8]).clamp(1, 95), 0.0),
        phase=uniform[:, 9:11],
        shift=uniform[:, 9:11] * chosen[:, 13:],
    )


def with_stretch(survey: Survey, stretch: int | None) -> Survey:
    """The survey as if it published colour in its stretch of this number only; None leaves it as it is.

    Raises:
        ConfigError: a stretch that it has not.
    """
    if stretch is None:
        return survey
    if not 0 <= stretch < len(survey.composites):
        problem = f"survey {survey.name} has no stretch {stretch}"
        raise ConfigError("stretch", problem, f"It has {len(survey.composites)}, counted from 0.")
    return survey.model_copy(update={"composites": (survey.composites[stretch],)})


def _numbers(c: Composite) -> list[float]:
    flags = float(c.kind == "percentile"), float(c.separate)
    share = c.low / 100, 1 - c.high / 100
    return [
        flags[0],
        *c.weights[::-1],
        c.offset,
        c.pedestal,
        c.grey,
        c.alpha,
        c.q,
        *share,
        flags[1],
        float(c.jpeg),
        float(c.centred),
    ]


def composite(image: Tensor, stretch: Stretch) -> Tensor:
    """8-bit composite of linear images.

    Arguments:
        image: [B, 3, y, x] blue, green, red, flux at zero point 30.

    Returns:
        [B, 3, y, x] whole numbers 0..255, float32.

    Example:
        >>> stretch = draw_stretch(Survey.load("des").composites, torch.full((2, UNIFORMS), 0.5))
        >>> composite(torch.zeros(2, 3, 32, 32), stretch).max().item()
        0.0
    """
    image = _moved(image, stretch.shift)
    out = stretched(image, stretch)
    if bool(stretch.percentile.any()):
        rows = stretch.percentile
        out[rows] = percentile_stretch(image[rows], stretch.low[rows], stretch.high[rows])
    out = torch.round(out.clamp(0, 1) * 255)
    rows = (stretch.jpeg > 0).nonzero()[:, 0]
    if len(rows):
        out[rows] = compressed(out[rows], stretch.jpeg[rows], stretch.phase[rows])
    return out


def _moved(image: Tensor, shift: Tensor) -> Tensor:
    """Moved by a part of a pixel, interpolated linearly along each axis; the last row and column stay."""
    for axis, part in ((3, shift[:, 0]), (2, shift[:, 1])):
        after = torch.cat([image.narrow(axis, 1, image.shape[axis] - 1), image.narrow(axis, -1, 1)], axis)
        image = torch.lerp(image, after, part[:, None, None, None])
    return image


def stretched(image: Tensor, stretch: Stretch) -> Tensor:
    """Linear images [B, 3, y, x] after the arcsinh, white at 1, neither clipped nor rounded.

    A percentile stretch depends on the whole image: here it changes nothing, as if it had been done already.
    """
    weighted = image * stretch.weights[..., None, None] + stretch.offset[:, None, None, None]
    out = _greyed(arcsinh_stretch(weighted, stretch.alpha, stretch.q, stretch.separate), stretch.grey)
    out += stretch.pedestal[:, None, None, None]
    return torch.where(stretch.percentile[:, None, None, None], image, out)


def linearised(image: Tensor, stretch: Stretch) -> Tensor:
    """Light that the stretch made an 8-bit composite of, up to what rounding, clipping and greying have lost.

    Inverts ``stretched``: the mean m of the channels is asinh(alpha Q I) / Q, so I = sinh(Q m) / (alpha Q).

    Arguments:
        image: [B, 3, y, x], 0..255.

    Returns:
        [B, 3, y, x] flux at zero point 30; for a percentile stretch, flux in units of its white.

    Example:
        >>> stretch = draw_stretch(Survey.load("des").composites, torch.full((1, UNIFORMS), 0.5))
        >>> light = 20 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> bool((linearised(255 * stretched(light, stretch), stretch) - light).abs().max() < 1e-3)
        True
    """
    white = image / 255
    out = white - stretch.pedestal[:, None, None, None]
    alpha, q = stretch.alpha[:, None, None, None], stretch.q[:, None, None, None]
    mean = torch.where(stretch.separate[:, None, None, None], out.abs(), out.mean(1, keepdim=True)).clamp(min=1e-6)
    weighted = out * torch.sinh(q * mean) / (alpha * q * mean)
    flux = (weighted - stretch.offset[:, None, None, None]) / stretch.weights[..., None, None]
    return torch.where(stretch.percentile[:, None, None, None], white, flux)


def arcsinh_stretch(image: Tensor, alpha: Tensor, q: Tensor, separate: Tensor | None = None) -> Tensor:
    """Arcsinh of Lupton+2004 as HumVI writes it: each channel times asinh(alpha Q I) / (Q I).

    I is the mean of the channels, which keeps colours, or for the images that are ``separate`` [B] each channel's own
    brightness; [B, 3, y, x] in and out, white at 1.
    """
    alpha, q = alpha[:, None, None, None], q[:, None, None, None]
    intensity = image.mean(1, keepdim=True)
    if separate is not None:
        intensity = torch.where(separate[:, None, None, None], image.abs(), intensity)
    intensity = intensity.clamp(min=1e-6)
    return image * torch.asinh(alpha * q * intensity) / (q * intensity)


def _greyed(image: Tensor, grey: Tensor) -> Tensor:
    """Each pixel drawn towards its mean over the channels, the fainter the more."""
    mean = image.mean(1, keepdim=True)
    kept = mean.clamp(min=0) / (mean.clamp(min=0) + grey[:, None, None, None]).clamp(min=1e-6)
    return torch.where(grey[:, None, None, None] > 0, torch.lerp(mean, image, kept), image)


def percentile_stretch(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Linear from a quantile of each channel to one of all channels together; [B, 3, y, x] in and out, white at 1."""
    raised = image - _quantile(image.flatten(2), low[:, None])[..., None, None]
    white = _quantile(raised.flatten(1), high)
    return raised / white.clamp(min=1e-6)[:, None, None, None]


def _quantile(values: Tensor, share: Tensor) -> Tensor:
    """The quantile ``share`` [B] or [B, 1] of the last axis, whose leading axes remain."""
    ordered = values.sort(-1).values
    place = (share * (values.shape[-1] - 1)).round().long().expand(values.shape[:-1])
    return ordered.gather(-1, place[..., None])[..., 0]
