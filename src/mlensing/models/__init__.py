"""Architectures: functions ``f(contract, *, options) -> nn.Module`` in one dict.

Every module gives ``forward(image [B, bands, H, W]) -> logit [B]``, ``features(image) -> [B, F]``,
``head`` (a ``nn.Linear`` F -> 1) and ``dropout``, the probability of dropping a feature before the head;
``encode(image) -> features, grid [B, channels, h, w]`` and ``channels``, for whoever asks where in the image.
With the contract's task ``maps`` it carries ``maps``, a head that predicts kappa and psi (``models.maps``), with
``map_trunk`` from a backbone of the head's own.
To add one: write the function, add a line to ``MODELS``; ``tests/models/test_conformance.py`` finds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError
from mlensing.models.foundation import dinov2, zoobot
from mlensing.models.light_transformer import light_transformer
from mlensing.models.maps import MapHead
from mlensing.models.resnet import resnet10, resnet18, resnet34
from mlensing.models.vit import vit_b16, vit_s16

MODELS: dict[str, Callable[..., nn.Module]] = {
    "dinov2": dinov2,
    "light_transformer": light_transformer,
    "resnet10": resnet10,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "vit_b16": vit_b16,
    "vit_s16": vit_s16,
    "zoobot": zoobot,
}


class Classifier(Protocol):
    """What training and inference use of a network, beyond ``nn.Module``."""

    dropout: float
    channels: int

    @property
    def head(self) -> nn.Linear:
        """Linear map from features to the logit."""

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> features [B, F]."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, bands, H, W] -> features [B, F], and what was there before pooling [B, channels, h, w]."""


def build(name: str, contract: ModelContract, **options: Any) -> nn.Module:
    """A fresh network for a contract's bands and input size.

    Arguments:
        name: a key of ``MODELS``.
        contract: bands and input size; its task ``maps`` adds a ``MapHead``, its ``map_trunk`` gives that a backbone.
        options: of that architecture; unknown ones are errors.

    Raises:
        ConfigError: unknown name or option, or a value out of range.

    Example:
        >>> from mlensing.contract import BandStatistics
        >>> stats = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
        >>> contract = ModelContract(name="resnet18", bands=("r",), pixel_scale=(0.1, 0.4), statistics=stats)
        >>> build("resnet18", contract, width=8).head.in_features
        64
    """
    if name not in MODELS:
        raise ConfigError(f"model {name!r}", "no such architecture", f"Known: {', '.join(MODELS)}.")
    known = [key for key in inspect.signature(MODELS[name]).parameters if key != "contract"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        problem = f"unknown option {', '.join(unknown)}"
        raise ConfigError(f"model {name!r}", problem, f"Its options: {', '.join(known)}.")
    net = MODELS[name](contract, **options)
    if contract.task == "maps":
        trunk = MODELS[name](contract, **options) if contract.map_trunk else None
        net.maps = MapHead(classifier(net).channels, len(contract.bands), trunk)
    return net


def classifier(module: nn.Module) -> Classifier:
    """The same module, seen by type checkers as what ``build`` promises."""
    return cast(Classifier, module)
