"""The map head: kappa (mean and log-variance) and psi at the image's own pixels, beside the logit of any backbone.

It decodes the grid that a backbone has before pooling, sharpened by a sketch of the image, and writes about the middle
of the image (r in pixels, softened by one):

    kappa = v / (2 r),   psi = dx dy r (v + w),   v > 0

Of an isothermal sphere v is the Einstein radius in pixels everywhere and w is zero; what is learned are departures
from that. Pixels are the only unit within: kappa has none, psi in arcsec^2 follows from the spacing, and one network
serves all pixel scales. alpha = grad psi, at that spacing. psi is known up to a plane (``physics.without_plane``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, interpolate, softplus

from mlensing.physics import gradient, interior_mask, pixel_grid, poisson_residual

WIDTH, HALF = 32, 16
"""Channels of the decoder at a quarter of the image's resolution, and at half of it."""
PLACES = 3
"""Planes that say where a pixel is: x, y, r."""
TYPICAL = 6.0
"""Einstein radius [px] that an untrained head predicts."""
CORE, BORDER = 2.0, 1
"""Pixels about the middle and along the border that finite differences leave out: kappa diverges, psi ends."""
BOUND = 8.0
"""Largest modulus of the log-variance of v: a few blunt or perfect pixels must not rule a training."""


class MapHead(nn.Module):
    """Maps from a backbone's grid and the image it came from.

    Arguments:
        channels: of the grid.
        bands: of the image.
        trunk: a backbone of the head's own, whose grid it decodes in the place of the one it is given.

    Example:
        >>> head = MapHead(8, 3)
        >>> maps = head(torch.zeros(2, 8, 4, 4), torch.zeros(2, 3, 64, 64), dx=torch.full((2,), 0.2), dy=0.2)
        >>> {name: tuple(plane.shape) for name, plane in maps.items()}
        {'kappa': (2, 64, 64), 'kappa_log_variance': (2, 64, 64), 'psi': (2, 64, 64)}
    """

    def __init__(self, channels: int, bands: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.sketch = nn.ModuleList([_convolution(bands, HALF, 2), _convolution(HALF, WIDTH, 2)])
        self.deep = nn.Conv2d(channels, 2 * WIDTH, 1)
        self.coarse = nn.ModuleList([_convolution(3 * WIDTH + PLACES, WIDTH), _convolution(WIDTH, WIDTH)])
        self.fine = nn.ModuleList([_convolution(WIDTH + HALF + PLACES, HALF), _convolution(HALF, HALF)])
        self.last = nn.Conv2d(HALF, 3, 1)

    def forward(self, grid: Tensor, image: Tensor, *, dx: Tensor | float, dy: Tensor | float) -> dict[str, Tensor]:
        """Grid [B, channels, h, w], normalised image [B, bands, H, W], spacing [arcsec/px], numbers or [B].

        Returns:
            ``kappa``, ``kappa_log_variance``, ``psi`` [arcsec^2], each [B, H, W] float32.
        """
        if self.trunk is not None:
            grid = cast(Any, self.trunk).encode(image)[1]
        half = gelu(self.sketch[0](image))
        quarter = gelu(self.sketch[1](half))
        x = interpolate(self.deep(grid), size=quarter.shape[-2:], mode="bilinear", align_corners=False)
        x = _refined(self.coarse, x, quarter, dx, dy)
        x = interpolate(x, size=half.shape[-2:], mode="bilinear", align_corners=False)
        x = _refined(self.fine, x, half, dx, dy)
        with torch.autocast(x.device.type, enabled=False):  # second differences of psi need all digits
            raw = interpolate(self.last(x.float()), size=image.shape[-2:], mode="bicubic", align_corners=False)
            return _maps(raw, dx, dy)


def predict_maps(
    net: nn.Module, image: Tensor, *, dx: Tensor | float, dy: Tensor | float
) -> tuple[dict[str, Tensor], Tensor]:
    """One pass of a network with a map head.

    Arguments:
        net: of ``models.build`` for a contract with the task ``maps``.
        image: [B, bands, H, W], normalised.
        dx, dy: spacing [arcsec/px], numbers or [B].

    Returns:
        ``logit`` [B] and the maps of ``MapHead`` [B, H, W]; and the features [B, F].
    """
    network = cast(Any, net)
    features, grid = network.encode(image)
    logit = network.head(dropout(features, network.dropout, net.training)).squeeze(1)
    return {"logit": logit, **network.maps(grid, image, dx=dx, dy=dy)}, features


def deflection(psi: Tensor, *, dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """alpha = grad psi [arcsec], [B, H, W] -> [B, 2, H, W] = x, y components, by central differences.

    Example:
        >>> psi = torch.arange(5.0).expand(1, 5, 5) * 0.5
        >>> deflection(psi, dx=0.5, dy=0.5)[0, :, 2, 2].tolist()
        [1.0, 0.0]
    """
    return torch.stack(gradient(psi, dx=dx, dy=dy), 1)


def inconsistency(maps: Mapping[str, Tensor], dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """Mean of ``(lap psi - 2 kappa)^2`` of predicted maps [B, H, W], border and core left out: [B], without unit.

    Example:
        >>> still = {"psi": torch.zeros(2, 9, 9), "kappa": torch.full((2, 9, 9), 0.5)}
        >>> inconsistency(still, 0.2, 0.2)
        tensor([1., 1.])
    """
    squared = poisson_residual(maps["psi"], maps["kappa"], dx=dx, dy=dy).square()
    keep = interior_mask(*squared.shape[-2:], dx=1.0, dy=1.0, border=BORDER, core=CORE, device=squared.device)
    return squared[:, keep].mean(1)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="replicate")


def _refined(layers: nn.ModuleList, x: Tensor, sketch: Tensor, dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """Convolutions of what is known, what the image shows, and where it is."""
    x = torch.cat([x, sketch.to(x.dtype), _places(x, dx, dy)], 1)
    for layer in layers:
        x = gelu(layer(x))
    return x


def _places(like: Tensor, dx: Tensor | float, dy: Tensor | float) -> Tensor:
    """x, y and r [B, 3, h, w], one at the middle of the sides of square pixels; of oblong ones, true on the sky."""
    x, y, _ = _sky(like, dx, dy)
    half = max(like.shape[-2:]) / 2
    return torch.stack([x, y, torch.hypot(x, y)], 1).to(like.dtype) / half


def _sky(like: Tensor, dx: Tensor | float, dy: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """x and y [B, h, w] about the middle, in the side of a square pixel of equal area; and that area [B, 1, 1]."""
    dx, dy = (torch.as_tensor(d, dtype=torch.float32, device=like.device).expand(len(like)) for d in (dx, dy))
    side = (dx * dy).sqrt()
    x, y = pixel_grid(*like.shape[-2:], dx=dx / side, dy=dy / side, device=like.device)
    return x, y, (dx * dy)[:, None, None]


def _maps(raw: Tensor, dx: Tensor | float, dy: Tensor | float) -> dict[str, Tensor]:
    """kappa, its log-variance and psi from three raw planes [B, 3, H, W]."""
    x, y, area = _sky(raw, dx, dy)
    radius = torch.sqrt(x**2 + y**2 + 1)
    size, spread, departure = raw.unbind(1)
    v = softplus(size + TYPICAL)
    return {
        "kappa": v / (2 * radius),
        "kappa_log_variance": spread.clamp(-BOUND, BOUND) - 2 * torch.log(2 * radius),
        "psi": area * radius * (v + departure),
    }
