"""Finders as ONNX files: a graph that any runtime can run, with the contract it was trained under.

Input ``image`` [B, bands, H, W], normalised as the contract says; outputs ``logit`` [B] and ``features`` [B, F]; any
batch. The metadata are the strings ``format``, ``contract``, ``config``, ``head`` (weight and bias in JSON),
``dropout``, ``weights`` (the digest of the tensors it was made of), ``domain`` (tensors ``domain.*``, if the checkpoint
has any, as base64 of safetensors) and, as the last bytes of the file, ``sha256`` of all before.
Needs the extra ``onnx``, which is imported when asked for.
"""

from __future__ import annotations

import base64
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mlensing.errors import ContractError
from mlensing.models import classifier
from mlensing.models.checkpoint import FORMAT, Checkpoint
from mlensing.models.onnx_network import OnnxNetwork, require_onnx
from mlensing.models.onnx_seal import sealed
from mlensing.models.safe import digest
from mlensing.provenance import replacing

CLOSE = 1e-5
"""Largest difference from torch, relative to the largest output: ten times what rounding does to a deep network."""


class _Both(nn.Module):
    """Logit and features of one pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        net = classifier(self.net)
        features = net.features(image)
        return net.head(features).squeeze(1), features


def exported(checkpoint: Checkpoint) -> bytes:
    """The ONNX file of a checkpoint, checked against torch on normal random images.

    Raises:
        ConfigError: the extra ``onnx`` is not installed.
        ContractError: outputs that differ from torch's by more than ``CLOSE``, relative to the largest.
    """
    require_onnx()
    if "model" in checkpoint.content:
        raise ContractError(checkpoint.path, "it is an ONNX file already", "Give the checkpoint it was made of.")
    contract, net = checkpoint.contract, checkpoint.network()
    shape = (8, len(contract.bands), contract.input_size, contract.input_size)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    both = _Both(net).eval()
    with torch.inference_mode():
        expected = both(image)  # before the export: it also fills the network's caches with real tensors
    model = sealed(_graph(both, image[:2]), words_of(checkpoint, net))
    found = OnnxNetwork(model).session.run(["logit", "features"], {"image": image.numpy()})
    for name, theirs, ours in zip(("logit", "features"), found, expected, strict=True):
        apart = float(np.abs(theirs - ours.numpy()).max() / ours.abs().max())
        if not apart <= CLOSE:
            problem = f"the exported {name} differs from torch's by {apart:.1e} of its range, more than {CLOSE}"
            raise ContractError(checkpoint.path, problem, "Install the newest onnx and onnxscript, or keep to torch.")
    return model


def write_onnx(path: str | Path, model: bytes) -> None:
    """Write what ``exported`` gave, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(model)


def words_of(checkpoint: Checkpoint, net: nn.Module) -> dict[str, str]:
    """The strings of a checkpoint's ONNX file, but for ``sha256``."""
    head = classifier(net).head
    numbers = {"weight": head.weight[0].tolist(), "bias": head.bias[0].item()}
    domain = {key: value for key, value in checkpoint.content["state_dict"].items() if key.startswith("domain.")}
    words = {
        "format": str(FORMAT),
        "contract": checkpoint.contract.model_dump_json(),
        "config": json.dumps(checkpoint.config, default=str),
        "head": json.dumps(numbers),
        "dropout": str(classifier(net).dropout),
        "weights": weights_digest(net),
    }
    return {**words, "domain": base64.b64encode(save(domain)).decode()} if domain else words


def weights_digest(net: nn.Module) -> str:
    """By which an ONNX file is known to be of these weights; a map head is no part of it, as it is not exported."""
    return digest({name: tensor for name, tensor in net.state_dict().items() if not name.startswith("maps.")}, {})


def _graph(both: nn.Module, image: Tensor) -> Any:
    """ModelProto of a network, without the exporter's notes on where its source code lay."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it regrets torchvision
    batch = {"image": {0: torch.export.Dim("batch")}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within the exporter
        traced = torch.export.export(both, (image,), dynamic_shapes=batch)
        program = torch.onnx.export(
            traced, input_names=["image"], output_names=["logit", "features"], dynamic_shapes=batch, verbose=False
        )
    assert program is not None  # it is, with dynamo
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
