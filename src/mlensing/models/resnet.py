"""ResNet-18 and -34 (He+2016, arXiv:1512.03385) for small images of any number of bands.

Parameters carry torchvision's names (``conv1``, ``bn1``, ``layer1`` ... ``fc``), so its public weights load.
The stem decides most of the cost: ``imagenet`` is 7x7 stride 2 and a max-pool (an arc 3 px thick at 64 px is
averaged away early), ``stride2`` and ``stride1`` are 3x3 without the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError

Stem = Literal["auto", "imagenet", "stride2", "stride1"]
STEMS: dict[str, tuple[int, int, bool]] = {
    "imagenet": (7, 2, True),
    "stride2": (3, 2, False),
    "stride1": (3, 1, False),
}
"""Kernel, stride and whether a max-pool follows."""
SMALL = 100
"""Below this many pixels a side ``auto`` takes the 3x3 stem."""


def _conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """``relu(x + f(x))`` with f two 3x3 convolutions: [B, in, H, W] -> [B, out, H/stride, W/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs, 1), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + shortcut)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Residual network with one logit.

    Arguments:
        depths: blocks in each of the four stages.
        bands: input channels.
        width: channels of the first stage; they double from stage to stage (64 is the published network).
        stem: a key of ``STEMS``.
        dropout: probability with which a feature is dropped before the linear head, in training mode only.

    Example:
        >>> import torch
        >>> net = ResNet((1, 1, 1, 1), bands=3, width=8, stem="stride2", dropout=0.2)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(self, depths: Sequence[int], *, bands: int, width: int, stem: str, dropout: float) -> None:
        super().__init__()
        kernel, stride, pool = STEMS[stem]
        self.conv1 = nn.Conv2d(bands, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        widths = [width * 2**stage for stage in range(4)]
        self.layer1 = _stage(width, widths[0], depths[0], 1)
        self.layer2 = _stage(widths[0], widths[1], depths[1], 2)
        self.layer3 = _stage(widths[1], widths[2], depths[2], 2)
        self.layer4 = _stage(widths[2], widths[3], depths[3], 2)
        self.dropout, self.channels = dropout, widths[3]
        self.fc = nn.Linear(widths[3], 1)
        self.apply(_initialise)

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to the logit."""
        return self.fc

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, bands, H, W] -> features [B, 8 width], the mean of the grid [B, 8 width, h, w], and that."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        grid = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return grid.mean(dim=(2, 3)), grid

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> pooled features [B, 8 width]."""
        return self.encode(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> logit [B]."""
        features = nn.functional.dropout(self.features(x), self.dropout, self.training)
        return self.fc(features).squeeze(1)  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, depth: int, stride: int) -> nn.Sequential:
    later = [BasicBlock(outputs, outputs, 1) for _ in range(depth - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *later)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(contract: ModelContract, depths: Sequence[int], width: int, stem: Stem, dropout: float) -> nn.Module:
    if width < 1 or not 0 <= dropout < 1 or stem not in ("auto", *STEMS):
        problem = f"impossible width={width}, dropout={dropout} or stem={stem!r}"
        remedy = f"width >= 1, 0 <= dropout < 1, stem one of auto, {', '.join(STEMS)}."
        raise ConfigError(f"model {contract.name}", problem, remedy)
    resolved = ("stride2" if contract.input_size < SMALL else "imagenet") if stem == "auto" else stem
    return ResNet(depths, bands=len(contract.bands), width=width, stem=resolved, dropout=dropout)


def resnet18(contract: ModelContract, *, width: int = 64, stem: Stem = "auto", dropout: float = 0.2) -> nn.Module:
    """ResNet-18: 11.2 million parameters at width 64.

    Arguments:
        contract: gives the bands and the input size.
        width: channels of the first stage.
        stem: ``imagenet``, ``stride2``, ``stride1``; ``auto`` is ``stride2`` below 100 px, else ``imagenet``.
        dropout: before the linear head.

    Raises:
        ConfigError: an option out of range.
    """
    return _resnet(contract, (2, 2, 2, 2), width, stem, dropout)


def resnet34(contract: ModelContract, *, width: int = 64, stem: Stem = "auto", dropout: float = 0.2) -> nn.Module:
    """ResNet-34: 21.3 million parameters at width 64; options as ``resnet18``."""
    return _resnet(contract, (3, 4, 6, 3), width, stem, dropout)


def resnet10(contract: ModelContract, *, width: int = 16, stem: Stem = "stride1", dropout: float = 0.2) -> nn.Module:
    """One block a stage at full resolution: 0.3 million parameters at width 16; options as ``resnet18``.

    Made for 64 pixels: an arc is 2 to 4 pixels thick there, and no stride touches it before a block has seen it.
    """
    return _resnet(contract, (1, 1, 1, 1), width, stem, dropout)
