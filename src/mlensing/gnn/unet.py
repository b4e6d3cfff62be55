"""A U-Net (Ronneberger+2015, arXiv:1505.04597) with the inputs, outputs and number of parameters of LensGNN.

What a user would pick instead, so what LensGNN is compared with. It sees whole pixels and where they lie, and its
features are averaged over each patch before the same heads.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.gnn.heads import PLACES, MapHeads, Maps, places
from mlensing.physics.grid import Value
from mlensing.physics.operators import area_pool


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Convolutions down to an eighth of the pixels an axis and up again, to maps at the spacing of patches.

    Arguments:
        bands: channels of the images.
        patch: pixels a side that share one value of a map.
        widths: channels of each level, the finest first; every level halves the pixels.

    Example:
        >>> net = UNet(3, patch=2, widths=(8, 16))
        >>> net(torch.randn(2, 3, 20, 24), dx=0.2, dy=0.2)["kappa"].shape
        torch.Size([2, 10, 12])
    """

    def __init__(self, bands: int, *, patch: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.patch = patch
        self.down = nn.ModuleList(_twice(*pair) for pair in pairwise((bands + PLACES, *widths)))
        self.up = nn.ModuleList(_twice(fine + coarse, fine) for fine, coarse in pairwise(widths))
        self.heads = MapHeads(widths[0])

    def forward(self, image: Tensor, *, dx: Value, dy: Value) -> Maps:
        """Image [B, bands, H, W] and size of a pixel [arcsec], numbers or [B] -> maps."""
        x = torch.cat([image, places(*image.shape[-2:], dx=dx, dy=dy, like=image)], 1)
        passed: list[Tensor] = []
        for level in self.down:
            x = level(max_pool2d(x, 2) if passed else x)
            passed.append(x)
        for level, fine in zip(reversed(self.up), reversed(passed[:-1]), strict=True):
            x = level(torch.cat([fine, interpolate(x, fine.shape[-2:], mode="nearest")], 1))
        return self.heads(area_pool(x, self.patch), dx=self.patch * dx, dy=self.patch * dy)  # type: ignore[no-any-return]


def unet(contract: ModelContract, *, patch: int = 2, width: int = 16, levels: int = 3) -> nn.Module:
    """The U-Net of a contract: 119 thousand parameters by default.

    Arguments:
        contract: gives bands and input size.
        patch: as for :class:`UNet`.
        width: channels of the finest level; they double from level to level.
        levels: how many there are.

    Raises:
        ConfigError: an option out of range.
    """
    fits = patch >= 1 and contract.input_size % max(patch, 1) == 0 and contract.input_size >= 2 * patch
    if not fits or width < 1 or not 2 <= levels <= 5:
        problem = f"impossible patch={patch}, width={width} or levels={levels}"
        remedy = f"width 1 or more, levels 2 to 5, and a patch that divides {contract.input_size} pixels."
        raise ConfigError(f"model {contract.name}", problem, remedy)
    return UNet(len(contract.bands), patch=patch, widths=tuple(width * 2**level for level in range(levels)))
