"""Weights from elsewhere, or from another training, as the beginning of one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlensing.errors import ContractError
from mlensing.models import classifier
from mlensing.models.checkpoint import GARBLED, UNREADABLE
from mlensing.models.safe import PREFIX, read_tensors


def warm_start(net: nn.Module, path: str | Path) -> list[str]:
    """Copy into ``net`` the weights of a checkpoint or of a bare ``state_dict`` that fit by name and shape.

    Public weights of torchvision and timm load this way, the head and (for other than three bands) the first layer
    aside. A network with a method ``adapt`` is asked first to bring a state to its own sizes. Of a checkpoint of
    `mlensing pretrain` the head, which never learned, is left out: the new one is as its own seed drew it.

    Returns:
        names of the network's tensors that kept their own values.

    Raises:
        ContractError: unreadable, or nothing fits.
    """
    path = Path(path)
    remedy = "Give a checkpoint or a state_dict (torch.save, safetensors) of the same architecture, width and stem."
    given, task = _weights(path, remedy)
    if task == "features":
        head = list(map(id, classifier(net).head.parameters()))
        untaught = {name for name, parameter in net.named_parameters() if id(parameter) in head}
        given = {name: given[name] for name in given.keys() - untaught}
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(net, "adapt", None)
    given = adapt(given) if adapt else given
    own = net.state_dict()
    fitting = {key: given[key] for key in own if _same_shape(own[key], given.get(key))}
    if not any(key.endswith("weight") for key in fitting):
        raise ContractError(path, "no tensor in it fits the network by name and shape", remedy)
    net.load_state_dict({**own, **fitting})
    return sorted(own.keys() - fitting.keys())


def _weights(path: Path, remedy: str) -> tuple[dict[str, Tensor], str]:
    """Tensors by the network's own names, of any file that holds weights, and the task that a contract in it names."""
    if not path.is_file():
        raise ContractError(path, "there are no such weights", remedy)
    try:
        content = _content(path)
    except (pickle.UnpicklingError, *UNREADABLE, *GARBLED) as error:
        raise ContractError(path, "not readable as weights", remedy) from error
    given = content.get("state_dict", content) if isinstance(content, dict) else {}
    named = {str(key).removeprefix(PREFIX): value for key, value in given.items()}
    return {key: value for key, value in named.items() if isinstance(value, Tensor)}, _task(content)


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        words, tensors = read_tensors(path)
        return {**words, "state_dict": tensors}
    return torch.load(path, map_location="cpu", weights_only=True)


def _task(content: Any) -> str:
    """The task that the contract of a checkpoint names; nothing for bare weights."""
    try:
        return str(json.loads(content["contract"])["task"])
    except (LookupError, TypeError, ValueError, RecursionError):
        return ""


def _same_shape(own: Tensor, given: Tensor | None) -> bool:
    return given is not None and own.shape == given.shape
