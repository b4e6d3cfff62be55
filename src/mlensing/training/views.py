"""An image seen twice: what may differ between two pictures of one object, and still be that object.

Orientation, centring, seeing, depth and dust differ from exposure to exposure and from one galaxy to the next like it;
shapes and hues do not. Batched torch on any device; all randomness comes from the generator given.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, pad

from mlensing.data.augment import augment
from mlensing.data.normalise import sky
from mlensing.errors import ConfigError

TURNED = 4 / 9
"""Share of white noise's variance that a turn leaves: mean of the squared weights of bilinear interpolation."""
WHITE = 255.0
"""Brightest value of a composite."""
REACH = 3.0
"""Standard deviations at which the Gaussian of the seeing is cut."""


def views(
    image: Tensor,
    composite: Tensor,
    generator: Generator,
    *,
    count: int = 2,
    spacing: tuple[Tensor, Tensor] | None = None,
    size: int | None = None,
    shift_px: int = 4,
    rotate_deg: float = 180.0,
    blur: float = 1.0,
    dust: float = 0.1,
    noise: float = 1.0,
) -> list[Tensor]:
    """Each image of the batch as other exposures might show it.

    Flipped, turned and off centre (``data.augment``), then ``level + f (G * (image - level)) + white noise``: the PSF
    broadened by a Gaussian G, each band dimmed by a factor f. The white noise brings each pixel back to the image's
    own sky noise, of which turning, broadening and dimming took some, and beyond it by a share that is drawn.

    Arguments:
        image: [B, C, H, W], raw, in any unit, which it keeps; composites are 0..255 and stay within.
        composite: [B] bool.
        generator: on the device of ``image``.
        count: of views.
        spacing: dx and dy [B] of a pixel [arcsec]; where they differ, turns are right on the sky.
        size: pixels a side of the result; a larger image is the margin that turns and shifts draw from.
        shift_px: largest centroid shift along each axis [px].
        rotate_deg: largest turn besides those of the square [degrees]; 180 is any angle, 0 none.
        blur: largest standard deviation of G [px], drawn evenly from 0, the same in all bands.
        dust: standard deviation of ln f; of the bands the brightest has f = 1: dimming all is the same as more noise.
        noise: largest standard deviation of the further noise, in units of the image's own, drawn evenly from 0.

    Returns:
        ``count`` views [B, C, size, size].

    See also: Stein et al. 2022 (arXiv:2110.00023), who chose much the same for lenses in DECaLS.

    Example:
        >>> image, seed = torch.rand(2, 3, 40, 40), torch.Generator().manual_seed(0)
        >>> one, other = views(image, torch.tensor([False, False]), seed, size=32)
        >>> one.shape, bool((one == other).all())
        (torch.Size([2, 3, 32, 32]), False)
    """
    level, sigma = sky(image if size is None else middle(image, size))
    maps = {} if spacing is None else {"dx": spacing[0], "dy": spacing[1]}
    seen = []
    for _ in range(count):
        turned, _ = augment(
            image, maps, generator, shift_px=shift_px, rotate_deg=rotate_deg, size=size, level=level
        )  # fmt: skip
        kept = TURNED if rotate_deg else 1.0
        ranges = {"blur": blur, "dust": dust, "noise": noise}
        seen.append(exposed(turned, composite, generator, background=(level, sigma), kept=kept, **ranges))
    return seen


def require_possible(**ranges: float) -> None:
    """Refuse ranges of a view that are negative or not finite.

    Raises:
        ConfigError: naming the first.
    """
    for name, value in ranges.items():
        if not 0 <= value < math.inf:
            raise ConfigError(name, f"expected 0 or more, got {value}", "Take 0 for none of it.")


def room(size: int, shift_px: int, rotate_deg: float) -> int:
    """Pixels on each side that turns and shifts of a square of ``size`` can draw from.

    Example:
        >>> room(64, 4, 180.0), room(64, 4, 0.0)
        (19, 4)
    """
    angle, half = math.radians(min(rotate_deg, 45.0)), (size - 1) / 2
    return math.ceil((half + shift_px) * (math.cos(angle) + math.sin(angle)) - half)


def broadened(light: Tensor, deviation: Tensor, *, most: float) -> tuple[Tensor, Tensor]:
    """Images convolved with a Gaussian each, and the share of white noise's variance that is left of each.

    Arguments:
        light: [B, C, H, W]; beyond the border it goes on as at the border.
        deviation: [B], of the Gaussian [px]; 0 changes nothing.
        most: no deviation is larger.

    Example:
        >>> light, kept = broadened(torch.ones(2, 1, 9, 9), torch.tensor([0.0, 1.0]), most=1.0)
        >>> bool(torch.allclose(light, torch.ones(2, 1, 9, 9))), [round(share, 2) for share in kept.tolist()]
        (True, [1.0, 0.08])
    """
    rows, bands, height, _ = light.shape
    reach = math.ceil(REACH * most)
    place = torch.arange(-reach, reach + 1, device=light.device).square()
    weight = torch.exp(-place / (2.0 * deviation.clamp(min=0.01).square())[:, None])
    weight = weight / weight.sum(1, keepdim=True)
    kernel = weight.to(light).repeat_interleave(bands, 0)[:, None]
    wide = pad(light, (reach,) * 4, mode="replicate").reshape(1, rows * bands, height + 2 * reach, -1)
    blurred = conv2d(conv2d(wide, kernel[:, :, None], groups=len(kernel)), kernel[..., None], groups=len(kernel))
    return blurred.reshape(light.shape), weight.square().sum(1).square()


def middle(image: Tensor, size: int) -> Tensor:
    """The central square of images [..., H, W]: [..., size, size]."""
    y, x = ((side - size) // 2 for side in image.shape[-2:])
    return image[..., y : y + size, x : x + size]


def exposed(
    image: Tensor,
    composite: Tensor,
    generator: Generator,
    *,
    background: tuple[Tensor, Tensor] | None = None,
    kept: float = 1.0,
    blur: float = 1.0,
    dust: float = 0.1,
    noise: float = 1.0,
) -> Tensor:
    """Images [B, C, H, W] seen through more air and dust, with the noise there was, and more.

    Arguments:
        image, composite, generator, blur, dust, noise: as ``views``.
        background: level and noise [B, C] of the sky; None measures them.
        kept: share of the noise's variance that the image still has.

    Example:
        >>> seen = exposed(torch.full((1, 3, 8, 8), 300.0), torch.tensor([True]), torch.Generator().manual_seed(0))
        >>> seen.max() <= 255.0
        tensor(True)
    """
    level, sigma = (part[..., None, None] for part in (sky(image) if background is None else background))
    rows, bands = image.shape[:2]
    width, more = torch.rand(2, rows, generator=generator, device=image.device)
    exponent = dust * torch.randn(rows, bands, generator=generator, device=image.device)
    factor = torch.exp(exponent - exponent.amax(1, keepdim=True))[..., None, None]
    light, share = broadened(image - level, blur * width, most=blur)
    missing = 1.0 + (noise * more).square() - kept * share * factor[..., 0, 0].T.square()
    white = torch.randn(image.shape, generator=generator, device=image.device)
    restored = level + factor * light + sigma * missing.T.clamp(min=0).sqrt()[..., None, None] * white
    return torch.where(composite[:, None, None, None], restored.clamp(0.0, WHITE), restored)
