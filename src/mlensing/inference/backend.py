"""What runs a finder's network: torch, or onnxruntime in float32 or int8."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from mlensing.errors import ConfigError
from mlensing.models.checkpoint import Checkpoint, read_checkpoint

Backend = Literal["torch", "onnx", "int8"]


def network_of(found: Checkpoint, backend: Backend) -> nn.Module:
    """The network of a finder, to be run by ``backend``; that of an ONNX file is always run by onnxruntime.

    ``onnx`` takes the file KEY.onnx beside KEY.safetensors if it was made of these weights, and otherwise exports them
    in memory, which takes seconds. ``int8`` needs KEY.int8.onnx, because making one needs images.

    Raises:
        ConfigError: no such int8 file, or the extra ``onnx`` is not installed.
        ContractError: a damaged file.
    """
    if backend == "torch" or found.path.suffix == ".onnx":
        return found.network()
    from mlensing.models.onnx_file import exported, weights_digest
    from mlensing.models.onnx_network import OnnxNetwork

    made = _beside(found.path, ".int8.onnx" if backend == "int8" else ".onnx")
    if made is not None and made.content["weights"] == weights_digest(found.network()):
        return made.network()
    if backend == "int8":
        problem = "there is no int8 file of these weights beside it"
        raise ConfigError(found.path, problem, "Make it: mlensing export --int8 true, with data to judge it on.")
    return OnnxNetwork(exported(found))


def _beside(path: Path, ending: str) -> Checkpoint | None:
    file = path.with_name(path.stem + ending)
    return read_checkpoint(file) if file.is_file() else None
