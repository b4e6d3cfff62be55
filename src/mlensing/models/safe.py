"""Finders as safetensors files: tensors and four strings, so that reading one can run nothing.

The strings are ``format``, ``contract``, ``config`` and ``sha256``, the digest of names, types, shapes and bytes of the
tensors: a flipped bit is noticed. Weights may be stored in half precision; norms and biases never are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlensing.errors import ContractError
from mlensing.provenance import replacing

REMEDY = "Take the file again from where it came."


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names in order, types, shapes, bytes.

    Example:
        >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2, dtype=torch.float16)})
        False
    """
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def write_content(path: str | Path, content: Mapping[str, Any], *, half: bool) -> None:
    """Write what a checkpoint holds, its optimiser aside, whole or not at all.

    Arguments:
        path: ending in ``.safetensors``.
        content: as ``read_checkpoint`` gives it.
        half: matrices and kernels as float16, which keeps logits to about 0.01.
    """
    tensors = {name: _stored(tensor, half=half) for name, tensor in content["state_dict"].items()}
    words = {name: str(content[name]) for name in ("format", "contract", "config")}
    with replacing(path) as beside:
        save_file(tensors, beside, {**words, "sha256": digest(tensors)})


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    shrunk = half and tensor.is_floating_point() and tensor.ndim > 1
    return (tensor.half() if shrunk else tensor).contiguous().clone()


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Strings and tensors of any safetensors file.

    Raises:
        ContractError: not readable as one.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            words = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no content"])[0][:120]
        raise ContractError(path, f"not a readable safetensors file ({reason})", REMEDY) from error
    return words, tensors


def read_content(path: Path) -> dict[str, Any]:
    """What ``write_content`` wrote, as ``torch.load`` gives a checkpoint.

    Raises:
        ContractError: damaged, or not such a file.
    """
    words, tensors = read_tensors(path)
    if digest(tensors) != words.get("sha256"):
        problem = "its tensors are not those that were written: the file is damaged, or not one of ours"
        raise ContractError(path, problem, REMEDY)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    number = words.get("format", "")
    return {**words, "format": int(number) if number.isdigit() else number, "state_dict": state}
