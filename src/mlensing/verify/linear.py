"""Brightness: the linear half of a model, solved for wherever the other half stands (variable projection).

Golub & Pereyra 2003, Inverse Problems 19, R1; with Kaufman's (1975) simplification of the derivative. Galaxies cannot
have negative flux: one that would is left out. The sky level is free, one a band.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PASSES = 3
"""How often the most negative flux is left out and the others solved for again: as often as there are galaxies."""


class Projection(NamedTuple):
    """The best brightness for given images.

    Attributes:
        flux: [N, b, K + 1] of the K galaxies and the sky.
        residual: [N, b, M] (data - model) / noise; zero where pixels are not used.
        basis: [N, b, K + 1, M] images / noise, those left out being zero.
        inverse: [N, b, K + 1, K + 1] of their products; covariance of the fluxes.
        chi2: [N] over all bands.
    """

    flux: Tensor
    residual: Tensor
    basis: Tensor
    inverse: Tensor
    chi2: Tensor


def project(images: Tensor, data: Tensor, weight: Tensor) -> Projection:
    """The brightness of ``images`` [N, b, K, M] that fits ``data`` [N, b, M] best, ``weight`` [N, b, M] = 1 / noise.

    Example:
        >>> images = torch.tensor([[[[1.0, 0.0, 2.0, 0.0]]]])
        >>> fit = project(images, torch.tensor([[[8.0, 5.0, 11.0, 5.0]]]), torch.ones(1, 1, 4))
        >>> [round(value, 3) for value in fit.flux[0, 0].tolist()]
        [3.0, 5.0]
    """
    basis = torch.cat([images * weight[:, :, None], weight[:, :, None]], 2)
    target = data * weight
    gram = (basis @ basis.mT).double()
    side = (basis @ target[..., None])[..., 0].double()
    used = torch.ones_like(side, dtype=torch.bool)
    for _ in range(PASSES):
        lowest = (_solved(gram, side, used)[0] * _size(gram))[..., :-1].min(-1, keepdim=True)
        left_out = torch.zeros_like(used).scatter(-1, lowest.indices, lowest.values < 0)
        used = used & ~left_out
    flux, inverse = _solved(gram, side, used)
    flux, inverse = flux.to(data.dtype), inverse.to(data.dtype)
    residual = target - (flux[..., None, :] @ basis)[..., 0, :]
    chi2 = residual.double().square().sum((1, 2))
    return Projection(flux, residual, basis * used[..., None], inverse, chi2)


def _solved(gram: Tensor, side: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Solution and inverse of normal equations in which only what is ``used`` takes part."""
    both = used[..., :, None] & used[..., None, :]
    scale = _size(gram)
    unit = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    alike = torch.where(both, gram / (scale[..., :, None] * scale[..., None, :]), unit) + 1e-9 * unit
    inverse = torch.linalg.inv(alike) * both / (scale[..., :, None] * scale[..., None, :])
    return (inverse @ side[..., None])[..., 0], inverse


def _size(gram: Tensor) -> Tensor:
    """Length of each image, in noise; kept off zero by so much that its inverse square fits float32."""
    return gram.diagonal(dim1=-2, dim2=-1).clamp(min=1e-24).sqrt()
