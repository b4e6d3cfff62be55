"""Normalising: from pixels of any survey to the numbers a network sees.

Linear images are divided by their own sky noise and compressed by asinh, so that surveys of any depth and unit look
alike; composites are already stretched and only scaled to 0..1. Then the per-band statistics of the training split
are taken out. All batched torch, on any device, without randomness. Images are [B, C, H, W].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlensing.contract import BandStatistics, ModelContract, Representation

KINDS: tuple[Representation, Representation] = ("linear", "composite")
"""Index 0 and 1 of the statistics: ``composite`` as a boolean is the index."""

SKY_QUANTILE, SKY_OFFSET = 0.2, 0.84
"""For Gaussian sky the 20th percentile lies 0.84 noise below the mean; galaxies leave that much free."""

MAD_TO_SIGMA = 1.4826 / 2**0.5
"""From the median absolute difference of two independent Gaussian pixels to the standard deviation of one."""


def sky(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sky level and noise of each band of each image.

    The noise is the median absolute difference of neighbouring pixels along x and y, so smooth light does not count.
    Exact zeros among the differences are left out: padding and saturated areas say nothing of the noise. The level
    follows from a low quantile. Every other row and column is looked at: half the time, 2 % of scatter.

    Arguments:
        image: [B, C, H, W], finite.

    Returns:
        level [B, C] and noise [B, C]; the noise is never zero.

    Example:
        >>> image = 5.0 + 2.0 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> [round(float(value)) for value in sky(image)]
        [5, 2]
    """
    along_x = (image[..., ::2, 1:] - image[..., ::2, :-1]).flatten(2)
    along_y = (image[..., 1:, ::2] - image[..., :-1, ::2]).flatten(2)
    steps = torch.cat([along_x, along_y], dim=2).abs()
    steps = steps.masked_fill(steps == 0, torch.nan)
    noise = MAD_TO_SIGMA * _median(steps).nan_to_num(0.0)
    noise = torch.maximum(noise, _noise_floor(image))
    stride = 2 if min(image.shape[-2:]) >= 32 else 1
    level = _quantile(image[..., ::stride, ::stride].flatten(2), SKY_QUANTILE) + SKY_OFFSET * noise
    return level, noise


def _noise_floor(image: Tensor) -> Tensor:
    """Smallest noise [B, C] that makes sense: what float32 resolves of the values, and never zero."""
    return 1e-6 * image.abs().amax(dim=(2, 3)) + torch.finfo(torch.float32).tiny


def _median(values: Tensor) -> Tensor:
    """Lower median along the last axis, NaN left out; NaN where all are."""
    if values.device.type == "cpu":
        return values.nanmedian(dim=-1).values
    ranked = values.sort(dim=-1).values  # NaN last; medians on a GPU are refused in deterministic mode
    middle = ((~values.isnan()).sum(dim=-1, keepdim=True) - 1).clamp(min=0) // 2
    return ranked.gather(-1, middle)[..., 0]


def _quantile(values: Tensor, q: float) -> Tensor:
    rank = int(q * (values.shape[-1] - 1))
    if values.device.type == "cpu":
        return values.kthvalue(rank + 1, dim=-1).values
    return values.sort(dim=-1).values[..., rank]


def stretch(image: Tensor, composite: Tensor, softening: float) -> Tensor:
    """Compress the range of pixel values, by the kind of image.

    Linear: ``asinh((image - level) / (softening * noise))`` with the image's own sky level and noise.
    Composite: ``image / 255``.

    Arguments:
        image: [B, C, H, W], raw.
        composite: [B] bool.
        softening: where asinh turns from linear to logarithmic [sky noise].

    Example:
        >>> stretch(torch.full((1, 3, 8, 8), 51.0), torch.tensor([True]), 3.0)[0, 0, 0, 0]
        tensor(0.2000)
    """
    level, noise = sky(image)
    linear = torch.asinh((image - level[..., None, None]) / (softening * noise[..., None, None]))
    return torch.where(composite[:, None, None, None], image / 255.0, linear)


class Normaliser(nn.Module):
    """Stretch, then zero mean and unit variance per band, as the contract's statistics say.

    A kind of image that the model never saw has no statistics and gives NaN: refuse it before, with
    ``contract.require_representation``.

    Arguments:
        contract: brings softening and statistics.

    Example:
        >>> stats = {"composite": BandStatistics(mean=(0.2,), std=(0.1,))}
        >>> contract = ModelContract(name="x", bands=("r",), pixel_scale=(0.2, 0.2), statistics=stats)
        >>> Normaliser(contract)(torch.full((1, 1, 8, 8), 51.0), torch.tensor([True])).abs().max() < 1e-6
        tensor(True)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, contract: ModelContract) -> None:
        super().__init__()
        self.softening = contract.softening
        known = [contract.statistics.get(kind) for kind in KINDS]
        unknown = (float("nan"),) * len(contract.bands)
        # The contract carries these numbers; a second copy among the weights could only disagree with it.
        self.register_buffer("mean", torch.tensor([s.mean if s else unknown for s in known]), persistent=False)
        self.register_buffer("std", torch.tensor([s.std if s else unknown for s in known]), persistent=False)

    def forward(self, image: Tensor, composite: Tensor) -> Tensor:
        """Normalised image [B, C, H, W] of raw ``image`` [B, C, H, W] and ``composite`` [B] bool."""
        kind = composite.long()
        stretched = stretch(image, composite, self.softening)
        return (stretched - self.mean[kind][..., None, None]) / self.std[kind][..., None, None]


def measure_statistics(image: Tensor, composite: Tensor, softening: float) -> dict[Representation, BandStatistics]:
    """Per-band mean and standard deviation of the stretched pixels, for each kind of image there is.

    Arguments:
        image: [B, C, H, W], raw: the training split or a fair sample of it.
        composite: [B] bool.
        softening: as in ``stretch``.

    Example:
        >>> image = torch.tensor([0.0, 255.0]).repeat(32).reshape(1, 1, 8, 8)
        >>> measure_statistics(image, torch.tensor([True]), 3.0)["composite"].mean
        (0.5,)
    """
    result: dict[Representation, BandStatistics] = {}
    for index, kind in enumerate(KINDS):
        chosen = composite == bool(index)
        if chosen.any():
            values = stretch(image[chosen], composite[chosen], softening).double().transpose(0, 1).flatten(1)
            std = values.std(dim=1, correction=0).clamp(min=1e-6)
            result[kind] = BandStatistics(mean=tuple(values.mean(dim=1).tolist()), std=tuple(std.tolist()))
    return result
