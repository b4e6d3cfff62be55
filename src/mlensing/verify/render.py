"""Galaxies as pixels: sampled finely enough, lensed or not, blurred; with derivatives where a fit needs them.

Images are unit total flux in pixels: a brightness times one of them is flux per pixel. Shapes: N models, K galaxies,
P parameters, b bands. Everything is batched over models and differentiable; nothing depends on the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import jvp, vmap

from mlensing.physics import pixel_grid, sersic, shear_deflection, sie_deflection
from mlensing.verify.hypotheses import Component

FINE = 2
"""Samples a pixel a side: arcs and companions are then off by less than 1 % of their peak after the PSF."""
CORE, CORE_FINE = 7, 8
"""Pixels about the middle in which the central galaxy, whose cusp no coarser grid can sum, has this many samples."""
ROUND = 1e-4
"""Added to every shape, so that its position angle has a derivative that float32 can hold."""


@dataclass(frozen=True)
class Grid:
    """Where the samples of a stack of images are [arcsec]; the middle pixel is the origin.

    Attributes:
        size: odd number of pixels a side.
        scale: [N, 2] pixel size along x and y [arcsec].
        fine: samples a pixel a side, of all but the middle of the central galaxy.
    """

    size: int
    scale: Tensor
    fine: int = FINE

    def __getitem__(self, rows: Tensor | slice) -> Grid:
        return Grid(self.size, self.scale[rows], self.fine)

    def samples(self, pixels: int, fine: int) -> tuple[Tensor, Tensor]:
        """x, y [N, pixels * fine, pixels * fine] of the samples in the middle ``pixels``."""
        dx, dy = self.scale[:, 0] / fine, self.scale[:, 1] / fine
        count = pixels * fine
        return pixel_grid(count, count, dx=dx, dy=dy, device=self.scale.device, dtype=self.scale.dtype)

    @property
    def area(self) -> Tensor:
        """[N, 1, 1] of a pixel [arcsec^2]."""
        return (self.scale[:, 0] * self.scale[:, 1])[:, None, None]


def shape_of(v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
    """Axis ratio and position angle [rad] of a shape.

    Example:
        >>> q, phi = shape_of(torch.tensor(0.0), torch.tensor(0.5))
        >>> round(q.item(), 3), round(phi.item(), 3)
        (0.382, 0.785)
    """
    v1, v2 = v1 + ROUND, v2 + ROUND
    square = v1.square() + v2.square()
    flattening = torch.sqrt(square / (1 + square))
    return ((1 - flattening) / (1 + flattening)).clamp(min=0.05), 0.5 * torch.atan2(v2, v1)


def brightness(numbers: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Surface brightness of galaxies [N, 6] of unit flux at x, y [N, h, w]."""
    x0, y0, log_radius, log_n, v1, v2 = (column[:, None, None] for column in numbers[:, :6].unbind(1))
    q, phi = shape_of(v1, v2)
    return sersic(x, y, x0=x0, y0=y0, q=q, phi=phi, radius=log_radius.exp(), n=log_n.exp(), total_flux=1.0)


def deflected(numbers: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where in the source plane x, y [N, h, w] are seen through masses [N, 7]: the five numbers and the centre."""
    log_theta, v1, v2, gamma1, gamma2, x0, y0 = (column[:, None, None] for column in numbers.unbind(1))
    q, phi = shape_of(v1, v2)
    ax, ay = sie_deflection(x, y, x0=x0, y0=y0, q=q, phi=phi, theta_E=log_theta.exp())
    sx, sy = shear_deflection(x, y, gamma1=gamma1, gamma2=gamma2, x0=x0, y0=y0)
    return x - ax - sx, y - ay - sy


def _pooled(samples: Tensor, fine: int) -> Tensor:
    *some, height, width = samples.shape
    return samples.reshape(*some, height // fine, fine, width // fine, fine).mean((-3, -1))


def galaxy_image(component: Component, grid: Grid, numbers: Tensor) -> Tensor:
    """Flux per pixel [N, size, size], before the PSF, of galaxies of unit flux with these ``numbers`` [N, 6 or 13]."""
    fine = 1 if component.central else grid.fine
    x, y = grid.samples(grid.size, fine)
    if component.lensed:
        x, y = deflected(numbers[:, 6:], x, y)
    image = _pooled(brightness(numbers, x, y), fine)
    if component.central and grid.size > CORE:
        image = _with_core(image, _pooled(brightness(numbers, *grid.samples(CORE, CORE_FINE)), CORE_FINE))
    return image * grid.area


def _with_core(image: Tensor, core: Tensor) -> Tensor:
    edge = (image.shape[-1] - CORE) // 2
    middle = slice(edge, edge + CORE)
    top, bottom, rows = image[..., :edge, :], image[..., edge + CORE :, :], image[..., middle, :]
    filled = torch.cat([rows[..., :edge], core, rows[..., edge + CORE :]], -1)
    return torch.cat([top, filled, bottom], -2)


def with_derivatives(component: Component, grid: Grid, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The image [N, y, x] and its derivatives [N, p, y, x] by each of the component's ``numbers`` [N, p]."""
    render = partial(galaxy_image, component, grid)
    unit = torch.eye(numbers.shape[1], dtype=numbers.dtype, device=numbers.device)
    directions = unit[:, None, :].expand(-1, len(numbers), -1)

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = jvp(render, (numbers,), (direction,))  # type: ignore[assignment]
        return found

    images, change = vmap(along, out_dims=(0, 1))(directions)
    return images[0], change


def transfer_of(psf: Tensor, size: int) -> Tensor:
    """``rfft2`` [N, b, S, S / 2 + 1] of PSFs [N, b, k, k] of odd k, for `blurred` images of ``size`` pixels."""
    half = psf.shape[-1] // 2
    padded = _even(size + half)
    kernel = torch.nn.functional.pad(psf, (0, padded - psf.shape[-1], 0, padded - psf.shape[-1]))
    transfer: Tensor = torch.fft.rfft2(torch.roll(kernel, (-half, -half), dims=(-2, -1)))
    return transfer


def _even(size: int) -> int:
    """The next multiple of eight, whose transforms are fast."""
    return -(-size // 8) * 8


def blurred(images: Tensor, transfer: Tensor) -> Tensor:
    """Images [N, K, y, x] convolved with the PSF of each band: [N, b, K, y, x]; nothing shines beyond the frame."""
    size, padded = images.shape[-1], transfer.shape[-2]
    spectrum = torch.fft.rfft2(images, s=(padded, padded))
    product = spectrum[:, None] * transfer[:, :, None]
    image: Tensor = torch.fft.irfft2(product, s=(padded, padded))[..., :size, :size]
    return image
