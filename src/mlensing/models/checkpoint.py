"""Checkpoint files: weights with the contract they were trained under, read without unpickling.

A checkpoint is a Lightning ``.ckpt`` whose weights stand under ``state_dict`` (the network's with the prefix
``net.``), beside ``contract`` and ``config`` (JSON strings) and ``format``; or the same as ``.safetensors``, without
what a training needs to go on. Nothing a file says is believed: bits, shapes, sizes and numbers are checked.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlensing.contract import ModelContract
from mlensing.errors import ConfigError, ContractError
from mlensing.models import build
from mlensing.models.domain import Domain
from mlensing.models.safe import PREFIX, read_content, write_content
from mlensing.provenance import replacing

FORMAT = 2
"""Rises when older versions of mlensing could not read a new file."""
LARGEST = 4096
"""No whole-number option of an architecture is larger; a file that says otherwise would only exhaust the machine."""
REMEDY = "Train again, or take the file it came from."
GIVE = "Give a best.ckpt or last.ckpt that `mlensing train` wrote."
UNREADABLE = (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError)
"""What torch and zipfile raise where the file is none of PyTorch's."""
GARBLED = (LookupError, AttributeError, TypeError, AssertionError)
"""What torch raises besides where the list of tensors in it makes no sense."""
TASKS = ("classification", "maps")
"""Of lens finders."""
WRITERS = {"features": "pretrain", "mass_maps": "train_maps"}
"""The verbs that write checkpoints of other tasks."""


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

    def network(self, make: Callable[..., nn.Module] = build) -> nn.Module:
        """The trained network, in evaluation mode.

        Arguments:
            make: ``(name, contract, **options) -> module``, of the contract's task.

        Raises:
            ContractError: weights that are not those of the architecture the contract names, or not finite.
        """
        state = self.content["state_dict"]
        weights = {key.removeprefix(PREFIX): _single(state[key]) for key in state if key.startswith(PREFIX)}
        net = self._frame(make)
        wrong = _misfit(net.state_dict(), weights)
        if wrong:
            raise ContractError(self.path, f"its weights are not those of {self.contract.name} ({wrong})", REMEDY)
        broken = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise ContractError(self.path, f"its weights are not finite numbers ({broken[0]})", REMEDY)
        net.load_state_dict(weights, assign=True)
        return net.eval()

    def _frame(self, make: Callable[..., nn.Module]) -> nn.Module:
        """The network without memory: what a file asks for may be more than what it holds."""
        options = self.contract.options.values()
        if not all(isinstance(value, (bool, int, float, str)) for value in options):
            raise ContractError(self.path, "its options are not plain values", REMEDY)
        if any(isinstance(value, (int, float)) and not abs(value) <= LARGEST for value in options):
            raise ContractError(self.path, f"its network has options above {LARGEST}", REMEDY)
        try:
            with torch.device("meta"):
                return make(self.contract.name, self.contract, **self.contract.options)
        except (ConfigError, RuntimeError, TypeError, ValueError) as error:
            problem = f"its network cannot be built ({str(error).splitlines()[0].rstrip('.')})"
            raise ContractError(self.path, problem, REMEDY) from error

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
        changed = Checkpoint(self.path, contract, self.config, content)
        if self.path.suffix == ".safetensors":
            write_safetensors(self.path, changed)
            return changed
        with replacing(self.path) as beside:
            torch.save(content, beside)
        return changed


def write_safetensors(path: str | Path, checkpoint: Checkpoint, *, half: bool = True) -> None:
    """The network and its contract as ``.safetensors``, written whole or not at all; see ``models.safe``.

    Raises:
        ContractError: an ONNX file, whose tensors are those of a graph.
    """
    if "model" in checkpoint.content:
        raise ContractError(checkpoint.path, "an ONNX file cannot become a checkpoint again", GIVE)
    content = {**checkpoint.content, "contract": checkpoint.contract.model_dump_json(), "format": FORMAT}
    write_content(path, {**content, "config": json.dumps(checkpoint.config, default=str)}, half=half)


def stamp(content: dict[str, Any], contract: ModelContract, config: Mapping[str, Any]) -> None:
    """Add to a Lightning checkpoint what ``read_checkpoint`` asks for."""
    content["format"] = FORMAT
    content["contract"] = contract.model_dump_json()
    content["config"] = json.dumps(config, default=str)


def _content(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return _complete(read_content(path), path)
    try:
        with zipfile.ZipFile(path) as opened:
            damaged = _damaged(opened, path.stat().st_size)
        if damaged:
            raise ContractError(path, f"not a readable checkpoint ({damaged})", GIVE)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *GARBLED) as error:  # torch's own words here advise to switch the protection off
        problem = "not a readable checkpoint (no PyTorch file, or one that holds more than tensors and plain values)"
        raise ContractError(path, problem, GIVE) from error
    except UNREADABLE as error:
        reason = (str(error).splitlines() or ["no content"])[0][:120]
        raise ContractError(path, f"not a readable checkpoint ({reason})", GIVE) from error
    return _complete(content, path)


def _damaged(opened: zipfile.ZipFile, size: int) -> str:
    """What is wrong with an archive of PyTorch's: it never compresses, and its checksums, which it ignores, hold."""
    entries = opened.infolist()
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > size:
        return "it would unpack to more than the file holds"
    broken = opened.testzip()
    return f"{broken} is damaged" if broken else ""


def _complete(content: Any, path: Path) -> dict[str, Any]:
    """The content, if it is what ``stamp`` and a training leave.

    Raises:
        ContractError: no contract, or weights that are not tensors, or claim more bytes than there are.
    """
    needed = {"contract", "config", "format", "state_dict"}
    if not isinstance(content, dict) or not needed <= content.keys():
        problem = "it holds tensors but no contract, so nothing says which pixels it takes"
        raise ContractError(path, problem, f"{GIVE} Bare weights can start a training: --init.")
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(k, str) and _is_plain(v) for k, v in state.items()):
        raise ContractError(path, "its weights are not named tensors", GIVE)
    if sum(tensor.numel() for tensor in state.values()) > path.stat().st_size:  # a stride of 0 repeats one number
        raise ContractError(path, "its weights would take more memory than the file holds", GIVE)
    return content


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _single(tensor: Tensor) -> Tensor:
    """A copy in single precision, if it is of floats."""
    return tensor.detach().clone().float() if tensor.is_floating_point() else tensor.clone()


def _misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Where two sets of tensors differ in name, shape or type first; empty if they do not.

    Example:
        >>> _misfit({"a": torch.zeros(2)}, {"a": torch.zeros(3)})
        'a is (3,) torch.float32, expected (2,) torch.float32'
    """
    odd = [f"{key} is missing" for key in own if key not in given]
    odd += [f"{key} is unknown" for key in given if key not in own]
    for key in (key for key in own if key in given):
        expected, found = ((tuple(t.shape), t.dtype) for t in (own[key], given[key]))
        if expected != found:
            odd.append(f"{key} is {found[0]} {found[1]}, expected {expected[0]} {expected[1]}")
    return odd[0] if odd else ""


def _upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """The contract of format 1, which knew only a temperature, as that of format 2."""
    if "temperature" not in raw:
        return raw
    kept = {key: value for key, value in raw.items() if key != "temperature"}
    return {**kept, "calibration": {"kind": "temperature", "parameters": [raw["temperature"]]}}


def read_checkpoint(path: str | Path, *, tasks: Sequence[str] = TASKS) -> Checkpoint:
    """Read a checkpoint on the CPU: ``.ckpt``, ``.safetensors`` or ``.onnx``, as its ending says.

    Arguments:
        path: the file.
        tasks: what its network may be for; those of lens finders, if nothing is said.

    Raises:
        ContractError: no such file, not a checkpoint (corrupt, empty, foreign), of a newer format, of another
            task, or with an impossible contract.
        ConfigError: an ONNX file, and the extra ``onnx`` is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ContractError(path, "there is no such checkpoint", GIVE)
    if path.suffix == ".onnx":
        from mlensing.models.onnx_reader import read_onnx  # an extra

        return read_onnx(path)
    content = _content(path)
    return Checkpoint(path, *interpret(path, content, tasks), content)


def _of_another_task(task: object, tasks: Sequence[str]) -> str:
    """What to do with a checkpoint of a task that is not among those wanted."""
    if task == "features" and set(tasks) <= set(TASKS):
        return "It saw no labels and knows no lenses: make a finder of it with `mlensing train --init`."
    verb = WRITERS.get(tasks[0])
    return f"Give one that `mlensing {verb}` wrote." if verb else "Give a checkpoint of a lens finder."


def interpret(
    path: Path, content: Mapping[str, Any], tasks: Sequence[str] = TASKS
) -> tuple[ModelContract, dict[str, Any]]:
    """Contract and configuration from the strings of a file.

    Raises:
        ContractError: of a newer format, of another task, or with an impossible contract.
    """
    if not isinstance(content["format"], int) or content["format"] > FORMAT:
        problem = f"its format is {content['format']}, this version reads up to {FORMAT}"
        raise ContractError(path, problem, "Install a newer mlensing.")
    try:
        raw, config = _upgraded(json.loads(content["contract"])), json.loads(content["config"])
        if raw.get("task") not in tasks:
            problem = f"its task is {raw.get('task')!r}, expected {' or '.join(tasks)}"
            raise ContractError(path, problem, _of_another_task(raw.get("task"), tasks))
        if not isinstance(config, dict):
            raise TypeError("its configuration is no table")
        return ModelContract.model_validate(raw), config
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = f"its contract is not valid ({'; '.join(str(error).splitlines()[:4])})"
        raise ContractError(path, problem, "Train again with this version.") from error
