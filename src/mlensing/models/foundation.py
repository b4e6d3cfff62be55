"""Backbones trained elsewhere, behind the same ``build``: DINOv2 (of transformers) and Zoobot (of timm).

Neither library is a dependency: they are imported when such a network is built. Nothing is downloaded unless
``weights`` names a repository of the Hugging Face hub, and never while a checkpoint is read.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError

DINOV2: dict[str, tuple[int, int, int]] = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Channels, blocks and heads by ``size``."""
DINOV2_PATCH, DINOV2_TRAINED = 14, 518
"""Pixels a token, and pixels a side that public weights have positions for."""
ZOOBOT = ("convnext_pico", "convnext_nano", "convnext_tiny", "convnext_small", "convnext_base")
"""Names in timm; ``mwalmsley/zoobot-encoder-NAME`` on the hub holds weights trained on Galaxy Zoo."""
ZOOBOT_STRIDE = 32
MOST_PIXELS = 1022
Encode = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
EXTRAS = {
    "transformers": "pip install 'mlensing[foundation]'",
    "timm": "pip install timm, in an environment of its own with a CUDA build of PyTorch: it brings torchvision, "
    "which breaks `import lightning` on a CPU build",
}


class Foundation(nn.Module):
    """Bands to three colours, enlarged to what the backbone takes, its features, one logit.

    Arguments:
        backbone: takes images [B, 3, S, S].
        encode: ``(backbone, image) -> features [B, width], grid [B, channels, h, w]``.
        bands: input channels, from short to long wavelengths.
        width, channels: of the features, and of the grid.
        stride: sides that the backbone takes are multiples of it.
        pixels: pixels a side that the backbone is shown; 0 is the next multiple of ``stride``.
        dropout: probability with which a feature is dropped before the linear head, in training mode only.

    Example:
        >>> sizes = {"width": 3, "channels": 3, "stride": 14, "pixels": 0}
        >>> net = Foundation(nn.Identity(), lambda _, x: (x.mean((2, 3)), x), bands=5, **sizes, dropout=0.1)
        >>> net(torch.zeros(2, 5, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(
        self, backbone: nn.Module, encode: Encode, *, bands: int, width: int, channels: int, stride: int, pixels: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.colours = nn.Conv2d(bands, 3, 1, bias=False)
        with torch.no_grad():
            self.colours.weight.copy_(red_green_blue(bands)[..., None, None])
        self.backbone, self.stride, self.pixels = backbone, stride, pixels
        self.of_backbone, self.channels = encode, channels
        self.dropout, self.fc = dropout, nn.Linear(width, 1)

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to the logit."""
        return self.fc

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, bands, H, W] -> the backbone's features [B, F], and its grid [B, channels, h, w]."""
        sides = [-(-(self.pixels or side) // self.stride) * self.stride for side in x.shape[-2:]]
        shown = interpolate(self.colours(x), size=sides, mode="bilinear", align_corners=False)
        return self.of_backbone(self.backbone, shown)

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> the backbone's features [B, F]."""
        return self.encode(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> logit [B]."""
        features = dropout(self.features(x), self.dropout, self.training)
        return self.fc(features).squeeze(1)  # type: ignore[no-any-return]


def red_green_blue(bands: int) -> Tensor:
    """Weights [3, bands] of bands in red, green and blue: the longest wavelength is red, one band is grey.

    Example:
        >>> red_green_blue(3).tolist()
        [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    return interpolate(torch.eye(bands)[None], size=3, mode="linear", align_corners=True)[0].T.flip(0)


class Tokens(nn.Module):
    """DINOv2, which is ``model`` in names of parameters; image [B, 3, H, W] -> tokens [B, 1 + N, dim]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The class token, then those of the patches, row by row."""
        return self.model(pixel_values=x).last_hidden_state  # type: ignore[no-any-return]


def patch_tokens(backbone: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Class token and mean of the patch tokens [B, 2 dim], as DINOv2's authors probe it, and the patches' grid."""
    tokens = backbone(x)
    grid = tokens[:, 1:].transpose(1, 2).unflatten(2, [side // DINOV2_PATCH for side in x.shape[-2:]])
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1), grid


def convolved(backbone: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features [B, F] of a network of timm, and its last convolutions [B, F, h, w]."""
    grid = backbone.forward_features(x)
    return backbone.forward_head(grid), grid


def dinov2(
    contract: ModelContract,
    *,
    size: str = "small",
    weights: str = "",
    pixels: int = 0,
    frozen: bool = False,
    dropout: float = 0.1,
) -> nn.Module:
    """DINOv2 (Oquab+2023, arXiv:2304.07193): 22.1 million parameters at size ``small``; needs transformers.

    Arguments:
        contract: gives the bands.
        size: ``small``, ``base`` or ``large``.
        weights: a repository of the hub, such as ``facebook/dinov2-small``; empty starts from random numbers.
        pixels: the image is enlarged to this before patches of 14 are cut; 0 is the next multiple of 14.
        frozen: only the mixing of bands and the head learn.
        dropout: before the linear head.

    Raises:
        ConfigError: an option out of range, no transformers, or weights that cannot be had.
    """
    _check(contract, size, tuple(DINOV2), pixels, dropout)
    transformers, (dim, depth, heads) = _library("transformers", contract), DINOV2[size]
    config = transformers.Dinov2Config(
        hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads, image_size=DINOV2_TRAINED,
        patch_size=DINOV2_PATCH, use_mask_token=False,
    )  # fmt: skip
    if _fetches(weights):
        load = partial(transformers.Dinov2Model.from_pretrained, use_safetensors=True, output_loading_info=True)
        model, info = _fetched(contract, weights, partial(load, weights, config=config))
        if info["missing_keys"]:
            raise _unfit(contract, weights, f"it lacks {min(info['missing_keys'])} of size {size}")
    else:
        model = transformers.Dinov2Model(config)
    return _finished(
        Tokens(model), patch_tokens, contract, width=2 * dim, channels=dim, stride=DINOV2_PATCH, pixels=pixels,
        frozen=frozen, dropout=dropout,
    )  # fmt: skip


def zoobot(
    contract: ModelContract,
    *,
    size: str = "convnext_nano",
    weights: str = "",
    pixels: int = 0,
    frozen: bool = False,
    dropout: float = 0.1,
) -> nn.Module:
    """Zoobot (Walmsley+2023, JOSS 8, 5312): 15.0 million parameters at ``convnext_nano``; needs timm.

    Arguments:
        contract: gives the bands.
        size: one of ``ZOOBOT``.
        weights: a repository of the hub, such as ``mwalmsley/zoobot-encoder-convnext_nano``; empty: random numbers.
        pixels: the image is enlarged to this; 0 is the next multiple of 32, its authors took 224.
        frozen: only the mixing of bands and the head learn.
        dropout: before the linear head.

    Raises:
        ConfigError: an option out of range, no timm, or weights that cannot be had.
    """
    _check(contract, size, ZOOBOT, pixels, dropout)
    make = partial(_library("timm", contract).create_model, size, num_classes=0)
    if _fetches(weights):
        source = {"hf_hub_id": weights, "num_classes": 0}
        backbone = _fetched(contract, weights, partial(make, pretrained=True, pretrained_cfg_overlay=source))
    else:
        backbone = make(pretrained=False)
    width = backbone.num_features
    return _finished(
        backbone, convolved, contract, width=width, channels=width, stride=ZOOBOT_STRIDE, pixels=pixels,
        frozen=frozen, dropout=dropout,
    )  # fmt: skip


def _check(contract: ModelContract, size: str, sizes: tuple[str, ...], pixels: int, dropout: float) -> None:
    if size not in sizes or not 0 <= pixels <= MOST_PIXELS or not 0 <= dropout < 1:
        problem = f"impossible size={size!r}, pixels={pixels} or dropout={dropout}"
        remedy = f"size one of {', '.join(sizes)}; pixels 0 to {MOST_PIXELS}; 0 <= dropout < 1."
        raise ConfigError(f"model {contract.name}", problem, remedy)


def _library(name: str, contract: ModelContract) -> ModuleType:
    """An optional library; a broken torchvision beside it raises RuntimeError."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"model {contract.name}", f"needs {name}: {reason}", f"{EXTRAS[name]}.") from error


def _fetches(weights: str) -> bool:
    """Whether public weights are wanted: not where a checkpoint, whose weights follow, asks for the bare network."""
    return bool(weights) and torch.get_default_device().type != "meta"


def _fetched(contract: ModelContract, weights: str, load: Callable[[], Any]) -> Any:
    """What ``load`` takes from the hub, or from its cache on this machine."""
    try:
        return load()
    except (OSError, ValueError, RuntimeError) as error:
        raise _unfit(contract, weights, (str(error).splitlines() or ["no reason given"])[0][:200]) from error


def _unfit(contract: ModelContract, weights: str, reason: str) -> ConfigError:
    remedy = (
        "Do repository and size belong together? Is there a network, or (with HF_HUB_OFFLINE=1) the file in the hub's "
        "cache? Without weights it starts from random numbers."
    )
    return ConfigError(f"model {contract.name}", f"cannot load the weights {weights!r} ({reason})", remedy)


def _finished(
    backbone: nn.Module, encode: Encode, contract: ModelContract, *, frozen: bool, dropout: float, **sizes: int
) -> nn.Module:
    net = Foundation(backbone, encode, bands=len(contract.bands), dropout=dropout, **sizes)
    net.backbone.requires_grad_(requires_grad=not frozen)
    return net
