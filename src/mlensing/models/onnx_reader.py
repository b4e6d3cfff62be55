"""Reading ONNX files: only those of ours, whole, and without a way out of the file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mlensing.errors import ContractError
from mlensing.models.checkpoint import Checkpoint, interpret
from mlensing.models.onnx_network import OnnxNetwork, require_onnx
from mlensing.models.onnx_seal import opened

DOMAINS = ("", "ai.onnx")
"""Operators of the standard alone: others would be code from elsewhere."""
WORDS = ("format", "contract", "config", "head", "dropout", "weights")
REMEDY = "Export it again from its checkpoint: mlensing export."


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """A finder in an ONNX file; ``content`` holds its strings, its domain, and the file itself under ``model``."""

    def network(self, make: Callable[..., nn.Module] | None = None) -> nn.Module:
        """The network, run by onnxruntime on the CPU; there is nothing to make."""
        return OnnxNetwork(self.content["model"])


def read_onnx(path: Path) -> OnnxCheckpoint:
    """Read an ONNX file of ours.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        ContractError: damaged, foreign, or a graph that reaches beyond the file.
    """
    require_onnx()
    content = path.read_bytes()
    found = opened(content)
    if found is None:
        raise ContractError(path, "not an ONNX file of ours, or damaged (its digest does not hold)", REMEDY)
    model, words = found
    _require_closed(path, model)
    missing = [name for name in WORDS if name not in words]
    if missing:
        raise ContractError(path, f"it has no {missing[0]}, so nothing says which pixels it takes", REMEDY)
    number = words["format"]
    numbered = {**words, "format": int(number) if number.isdecimal() else number}
    held = {**numbered, "model": content, "state_dict": _domain(path, words)}
    checkpoint = OnnxCheckpoint(path, *interpret(path, held), held)
    _require_fit(checkpoint)
    return checkpoint


def _domain(path: Path, words: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors besides those of the network."""
    try:
        return load(base64.b64decode(words["domain"], validate=True)) if "domain" in words else {}
    except (SafetensorError, ValueError) as error:
        raise ContractError(path, "its domain is not readable", REMEDY) from error


def _require_closed(path: Path, model: Any) -> None:
    """Refuse what could read other files or bring operators of its own."""
    from onnx import TensorProto, numpy_helper

    tensors = list(_tensors(model))
    if any(t.data_location == TensorProto.EXTERNAL or t.external_data for t in tensors):
        raise ContractError(path, "its weights would be read from another file", REMEDY)
    foreign = {n.domain for n in model.graph.node}
    nested = any(a.HasField("g") or a.graphs for n in model.graph.node for a in n.attribute)
    if model.functions or nested or model.graph.sparse_initializer or not foreign <= set(DOMAINS):
        raise ContractError(path, "its graph has more than plain operators of the ONNX standard", REMEDY)
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    try:
        values = [numpy_helper.to_array(t) for t in tensors if t.data_type in floats]
    except (ValueError, TypeError) as error:
        raise ContractError(path, "its weights are not whole", REMEDY) from error
    if not all(np.isfinite(v).all() for v in values):
        raise ContractError(path, "its weights are not finite numbers", REMEDY)


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _require_fit(found: OnnxCheckpoint) -> None:
    """Refuse a graph that cannot be run, or does not take and give what its contract says."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    contract = found.contract
    kinds = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
    try:
        net = OnnxNetwork(found.content["model"])
        with torch.inference_mode():
            image = torch.zeros(2, len(contract.bands), contract.input_size, contract.input_size)
            logit = net(image)
        (given,) = net.session.run(["logit"], {"image": image.numpy()})
    except (*kinds, state.RuntimeException, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ContractError(found.path, f"its graph does not do what its contract says ({reason})", REMEDY) from error
    if not 0 <= net.dropout < 1 or not np.allclose(given, logit.numpy(), rtol=1e-3, atol=1e-3):
        raise ContractError(found.path, "its head is not that of its graph", REMEDY)
