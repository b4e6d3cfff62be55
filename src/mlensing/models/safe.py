"""Finders as safetensors files: tensors and four strings, so that reading one can run nothing.

The strings are ``format``, ``contract``, ``config`` and ``sha256``, the digest of the other three and of names, types,
shapes and bytes of the tensors: a flipped bit is noticed. Kernels and matrices of the network may be stored in half
precision; norms, biases, and whatever half precision could not hold, never are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlensing.errors import ContractError
from mlensing.provenance import replacing

WORDS = ("format", "contract", "config")
PREFIX = "net."
"""Of the tensors of the network, which alone may be halved."""
REMEDY = "Take the file again from where it came."


def digest(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    """SHA-256 of strings and tensors: names in order; strings; types, shapes, bytes.

    Example:
        >>> digest({"a": torch.zeros(2)}, {}) == digest({"a": torch.zeros(2, dtype=torch.float16)}, {})
        False
    """
    found = hashlib.sha256(repr([(name, words[name]) for name in sorted(words)]).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_content(path: str | Path, content: Mapping[str, Any], *, half: bool) -> None:
    """Write what a checkpoint holds, its optimiser aside, whole or not at all.

    Arguments:
        path: ending in ``.safetensors``.
        content: as ``read_checkpoint`` gives it.
        half: matrices and kernels as float16, which keeps logits to about 0.01.
    """
    tensors = {name: _stored(name, tensor, half=half) for name, tensor in content["state_dict"].items()}
    words = {name: str(content[name]) for name in WORDS}
    with replacing(path) as beside:
        written = save(tensors, {**words, "sha256": digest(tensors, words)})
        beside.write_bytes(_in_order(written))  # save_file hides it from others


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with the keys of its header sorted: the library orders its strings at random."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _stored(name: str, tensor: Tensor, *, half: bool) -> Tensor:
    kept = tensor.detach().clone().contiguous()  # tensors that share memory are refused by safetensors
    if not (half and name.startswith(PREFIX) and kept.is_floating_point() and kept.ndim > 1):
        return kept
    small = kept.half()
    return small if bool(torch.isfinite(small).all()) else kept  # float16 ends at 65504


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Strings and tensors of any safetensors file.

    Raises:
        ContractError: not readable as one.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            words = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or ["no content"])[0][:120]
        raise ContractError(path, f"not a readable safetensors file ({reason})", REMEDY) from error
    return words, tensors


def _digest(words: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    try:
        return digest(tensors, {name: words.get(name, "") for name in WORDS})
    except (RuntimeError, TypeError):  # a type of number that nothing here writes
        return ""


def read_content(path: Path) -> dict[str, Any]:
    """What ``write_content`` wrote, as ``torch.load`` gives a checkpoint; floats are float32 again.

    Raises:
        ContractError: damaged, or not such a file.
    """
    words, tensors = read_tensors(path)
    if _digest(words, tensors) != words.get("sha256"):
        problem = "what it holds is not what was written: the file is damaged, or not one of ours"
        raise ContractError(path, problem, REMEDY)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    number = words.get("format", "")
    return {**words, "format": int(number) if number.isdecimal() else number, "state_dict": state}
