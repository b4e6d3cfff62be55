"""A strong view: the same object as a worse exposure of it might show it.

Only pixels change here; turns, flips and shifts are ``data.augment``'s, which takes maps along.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from mlensing.data.normalise import sky

BLUR, DIMMING, NOISE = 1.0, 0.3, 0.7
"""Largest width of the blur [px], largest share of a band's light that is lost, largest noise added [sky noise]."""
REACH = 3
"""Pixels to which the blur reaches."""
WHITE = 255.0


def strong_view(image: Tensor, composite: Tensor, generator: Generator) -> Tensor:
    """Broader PSF, each band dimmed as dust does, more noise: ``level + f (PSF * (image - level)) + noise``.

    The added noise has the standard deviation ``sigma sqrt(1 - f^2 + n^2)``, sigma being the image's own: where only
    the sky is, dimming alone would show nowhere, as images are divided by their noise. There is no hue jitter.

    Arguments:
        image: [B, C, H, W], raw: flux, or 0..255 of composites, which stay within.
        composite: [B] bool.
        generator: on the device of ``image``.

    Example:
        >>> image = torch.zeros(2, 3, 32, 32)
        >>> strong_view(image, torch.tensor([False, True]), Generator().manual_seed(0)).shape
        torch.Size([2, 3, 32, 32])
    """
    rows, bands = image.shape[:2]
    level, sigma = (part[..., None, None] for part in sky(image))

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=image.device)

    left = 1 - DIMMING * drawn(rows, bands, 1, 1)
    added = (1 - left.square() + (NOISE * drawn(rows, 1, 1, 1)).square()).sqrt()
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    seen = level + left * blurred(image - level, BLUR * drawn(rows)) + sigma * added * noise
    return torch.where(composite[:, None, None, None], seen.clamp(0.0, WHITE), seen)


def blurred(image: Tensor, width: Tensor) -> Tensor:
    """Each image [B, C, H, W] convolved with a Gaussian of its own width [B], in pixels; 0 leaves it as it is.

    Example:
        >>> point = torch.zeros(1, 1, 9, 9)
        >>> point[0, 0, 4, 4] = 1.0
        >>> round(float(blurred(point, torch.tensor([1.0]))[0, 0, 4, 4]), 2)  # 1 / (2 pi)
        0.16
    """
    rows, bands, height, size = image.shape
    place = torch.arange(-REACH, REACH + 1, device=image.device)
    weight = torch.exp(-place.square() / (2 * width.clamp(min=0.01).square())[:, None])
    kernel = (weight / weight.sum(1, keepdim=True)).repeat_interleave(bands, 0)[:, None, None]  # [B C, 1, 1, k]
    flat = functional.pad(image.reshape(1, -1, height, size), (REACH,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel, groups=rows * bands)
    return functional.conv2d(flat, kernel.transpose(2, 3), groups=rows * bands).view_as(image)
