"""Monte-Carlo dropout (Gal & Ghahramani 2016, arXiv:1506.02142): how far a logit moves when features are dropped.

``head_dropout`` drops the features before the last layer only, and costs nothing: its variance has a closed form.
``full_dropout`` drops wherever a network drops in training, and costs a pass a draw. They are the same estimator where
the sole dropout stands before the head, as in the ResNets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.overrides import TorchFunctionMode

from mlensing.errors import ConfigError
from mlensing.models.onnx_network import OnnxNetwork


def head_dropout(features: Tensor, head: nn.Linear, share: float) -> tuple[Tensor, Tensor]:
    """Logit [B], and its variance [B] under dropout of the features [B, F] before a linear head.

    With keep masks m_i ~ Bernoulli(1-p)/(1-p) the logit is b + sum w_i m_i f_i, whose variance is
    ``p / (1 - p) sum (w_i f_i)^2``.

    Example:
        >>> head = nn.Linear(2, 1)
        >>> _ = head.weight.data.fill_(1.0), head.bias.data.zero_()
        >>> logit, variance = head_dropout(torch.tensor([[3.0, 4.0]]), head, 0.5)
        >>> logit.item(), variance.item()
        (7.0, 25.0)
    """
    terms = features * head.weight[0]
    return terms.sum(dim=1) + head.bias[0], share / (1.0 - share) * terms.square().sum(dim=1)


def full_dropout(net: nn.Module, pixels: Tensor, *, passes: int, seed: int = 0) -> Tensor:
    """Logits [passes, B] with every dropout of the network on; norms and their running statistics stay as they are.

    In a pass all images lose the same features, so that what an image gets depends neither on its batch nor on its
    place there.

    Arguments:
        net: in evaluation mode, as which it is left.
        pixels: [B, bands, H, W], normalised.
        passes: draws, 2 or more.
        seed: of the draws; torch's own state is left alone.

    Raises:
        ConfigError: fewer than two passes, or a network whose graph cannot drop.
    """
    if passes < 2:
        raise ConfigError("passes", f"expected 2 or more, got {passes}", "Take 20.")
    if isinstance(net, OnnxNetwork):
        problem = "the graph of an ONNX file has no dropout but before its head"
        raise ConfigError("uncertainty", problem, "Take --uncertainty head, or --backend torch with a checkpoint.")
    devices = [pixels.device] if pixels.device.type == "cuda" else []
    with torch.random.fork_rng(devices), _dropping(net), _SharedMasks():
        torch.manual_seed(seed)
        return torch.stack([net(pixels) for _ in range(passes)])


class _SharedMasks(TorchFunctionMode):
    """Dropout with one mask for all rows of a batch, wherever a network drops."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not dropout:
            return func(*args, **kwargs)
        x, *rest = args
        return x * func(torch.ones_like(x[:1]), *rest, **{**kwargs, "inplace": False})


@contextmanager
def _dropping(net: nn.Module) -> Iterator[None]:
    """The network's own flag and its dropout layers in training mode, all else in evaluation mode."""
    for module in net.modules():
        module.training = module is net or isinstance(module, nn.Dropout)
    try:
        yield
    finally:
        net.eval()
