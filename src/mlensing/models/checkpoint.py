"""Checkpoint files: weights with the contract they were trained under, read without unpickling.

A checkpoint is a Lightning ``.ckpt`` whose weights stand under ``state_dict`` (the network's with the prefix
``net.``), beside ``contract`` and ``config`` (JSON strings) and ``format``; or the same as ``.safetensors``, without
what a training needs to go on. Nothing a file says is believed: bits, shapes, sizes and numbers are checked.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.errors import ContractError
from mlensing.models import build
from mlensing.models.domain import Domain
from mlensing.models.safe import read_content, read_tensors, write_content
from mlensing.provenance import replacing

FORMAT = 2
"""Rises when older versions of mlensing could not read a new file."""
LARGEST = 4096
"""No whole-number option of an architecture is larger; a file that says otherwise would only exhaust the machine."""
TASKS = ("classification",)
PREFIX = "net."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        contract: what the network demands and promises.
        config: the resolved configuration of its training.
        content: the whole dictionary, as ``torch.load`` gives it.
    """

    path: Path
    contract: ModelContract
    config: dict[str, Any]
    content: dict[str, Any] = field(repr=False)

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode.

        Raises:
            ContractError: weights that are not those of the architecture the contract names.
        """
        state, remedy = self.content["state_dict"], "Train again, or take the file it came from."
        weights = {key.removeprefix(PREFIX): state[key].clone() for key in state if key.startswith(PREFIX)}
        if not all(isinstance(value, (bool, int, float, str)) for value in self.contract.options.values()):
            raise ContractError(self.path, "its options are not plain values", remedy)
        if max((abs(v) for v in self.contract.options.values() if isinstance(v, int)), default=0) > LARGEST:
            raise ContractError(self.path, f"its network has options above {LARGEST}", remedy)
        try:
            with torch.device("meta"):  # without memory: what the file asks for may not be what it holds
                net = build(self.contract.name, self.contract, **self.contract.options)
            net.load_state_dict(weights, assign=True)
        except (RuntimeError, TypeError) as error:
            problem = f"its weights are not those of {self.contract.name} ({str(error).splitlines()[-1].strip()})"
            raise ContractError(self.path, problem, remedy) from error
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ContractError(self.path, "some of its weights are not finite numbers", remedy)
        return net.requires_grad_(requires_grad=True).eval()

    def domain(self) -> Domain | None:
        """What the network was trained on, if the file says."""
        return Domain.of(self.content["state_dict"])

    def with_domain(self, domain: Domain) -> Checkpoint:
        """The same checkpoint with another domain, in memory."""
        state = {**self.content["state_dict"], **domain.state()}
        return replace(self, content={**self.content, "state_dict": state})

    def with_contract(self, contract: ModelContract) -> Checkpoint:
        """The same weights under another contract, written to the same file, whole or not at all."""
        content = {**self.content, "contract": contract.model_dump_json(), "format": FORMAT}
        with replacing(self.path) as beside:
            torch.save(content, beside)
        return Checkpoint(self.path, contract, self.config, content)


def write_safetensors(path: str | Path, checkpoint: Checkpoint, *, half: bool = True) -> None:
    """The network and its contract as ``.safetensors``, written whole or not at all; see ``models.safe``."""
    content = {**checkpoint.content, "contract": checkpoint.contract.model_dump_json(), "format": FORMAT}
    write_content(path, {**content, "config": json.dumps(checkpoint.config, default=str)}, half=half)


def stamp(content: dict[str, Any], contract: ModelContract, config: Mapping[str, Any]) -> None:
    """Add to a Lightning checkpoint what ``read_checkpoint`` asks for."""
    content["format"] = FORMAT
    content["contract"] = contract.model_dump_json()
    content["config"] = json.dumps(config, default=str)


def _content(path: Path) -> dict[str, Any]:
    remedy = "Give a best.ckpt or last.ckpt that `mlensing train` wrote."
    if not path.is_file():
        raise ContractError(path, "there is no such checkpoint", remedy)
    if path.suffix == ".safetensors":
        return _complete(read_content(path), path, remedy)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        damaged = zipfile.ZipFile(path).testzip() if zipfile.is_zipfile(path) else None  # torch.load looks at no CRC
    except pickle.UnpicklingError as error:  # torch's own words here advise to switch the protection off
        problem = "not a readable checkpoint (no PyTorch file, or one that holds more than tensors and plain values)"
        raise ContractError(path, problem, remedy) from error
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no content"])[0][:120]
        raise ContractError(path, f"not a readable checkpoint ({reason})", remedy) from error
    if damaged is not None:
        raise ContractError(path, f"not a readable checkpoint ({damaged} is damaged)", remedy)
    return _complete(content, path, remedy)


def _complete(content: Any, path: Path, remedy: str) -> dict[str, Any]:
    needed = {"contract", "config", "format", "state_dict"}
    if not isinstance(content, dict) or not needed <= content.keys():
        problem = "it holds tensors but no contract, so nothing says which pixels it takes"
        raise ContractError(path, problem, f"{remedy} Bare weights can start a training: --init.")
    return content


def _upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """The contract of format 1, which knew only a temperature, as that of format 2."""
    if "temperature" not in raw:
        return raw
    kept = {key: value for key, value in raw.items() if key != "temperature"}
    return {**kept, "calibration": {"kind": "temperature", "parameters": [raw["temperature"]]}}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint on the CPU.

    Raises:
        ContractError: no such file, not a checkpoint (corrupt, empty, foreign), of a newer format, of another
            task, or with an impossible contract.
    """
    path = Path(path)
    content = _content(path)
    if not isinstance(content["format"], int) or content["format"] > FORMAT:
        problem = f"its format is {content['format']}, this version reads up to {FORMAT}"
        raise ContractError(path, problem, "Install a newer mlensing.")
    try:
        raw, config = _upgraded(json.loads(content["contract"])), json.loads(content["config"])
        if raw.get("task") not in TASKS:
            problem = f"its task is {raw.get('task')!r}, expected {' or '.join(TASKS)}"
            raise ContractError(path, problem, "Give a checkpoint of a lens finder.")
        contract = ModelContract.model_validate(raw)
    except (ValidationError, json.JSONDecodeError, TypeError, AttributeError) as error:
        problem = f"its contract is not valid ({'; '.join(str(error).splitlines()[:4])})"
        raise ContractError(path, problem, "Train again with this version.") from error
    return Checkpoint(path, contract, config, content)


def warm_start(net: nn.Module, path: str | Path) -> list[str]:
    """Copy into ``net`` the weights of a checkpoint or of a bare ``state_dict`` that fit by name and shape.

    Public weights of torchvision and timm load this way, the head and (for other than three bands) the first layer
    aside. A network with a method ``adapt`` is asked first to bring a state to its own sizes.

    Returns:
        names of the network's tensors that kept their own values.

    Raises:
        ContractError: unreadable, or nothing fits.
    """
    path = Path(path)
    remedy = "Give a checkpoint or a state_dict (torch.save, safetensors) of the same architecture, width and stem."
    given = _weights(path, remedy)
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(net, "adapt", None)
    given = adapt(given) if adapt else given
    own = net.state_dict()
    fitting = {key: given[key] for key in own if _same_shape(own[key], given.get(key))}
    if not any(key.endswith("weight") for key in fitting):
        raise ContractError(path, "no tensor in it fits the network by name and shape", remedy)
    net.load_state_dict({**own, **fitting})
    return sorted(own.keys() - fitting.keys())


def _weights(path: Path, remedy: str) -> dict[str, Tensor]:
    """Tensors by the network's own names, of any file that holds weights."""
    if not path.is_file():
        raise ContractError(path, "there are no such weights", remedy)
    try:
        safe = path.suffix == ".safetensors"
        content: Any = read_tensors(path)[1] if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ContractError(path, "not readable as weights", remedy) from error
    given = content.get("state_dict", content) if isinstance(content, dict) else {}
    named = {str(key).removeprefix(PREFIX): value for key, value in given.items()}
    return {key: value for key, value in named.items() if isinstance(value, Tensor)}


def _same_shape(own: Tensor, given: Tensor | None) -> bool:
    return given is not None and own.shape == given.shape
