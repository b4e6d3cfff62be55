"""Strings in an ONNX file, the last of which is the digest of all before it: a flipped bit is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def sealed(model: Any, words: Mapping[str, str]) -> bytes:
    """A ModelProto with strings, as bytes that end with their own digest."""
    from onnx import helper

    helper.set_model_props(model, dict(words))
    content: bytes = model.SerializeToString(deterministic=True)
    return content + _seal(content)


def _seal(content: bytes) -> bytes:
    """A further string ``sha256``: concatenated protocol buffers are read as one."""
    from onnx import ModelProto, StringStringEntryProto

    entry = StringStringEntryProto(key="sha256", value=hashlib.sha256(content).hexdigest())
    seal: bytes = ModelProto(metadata_props=[entry]).SerializeToString()
    return seal


def opened(content: bytes) -> tuple[Any, dict[str, str]] | None:
    """ModelProto and strings of what ``sealed`` gave; None if its digest does not hold or it is nothing of the kind."""
    from onnx import ModelProto

    end = len(content) - len(_seal(b""))
    if end <= 0 or _seal(content[:end]) != content[end:]:
        return None
    try:
        model = ModelProto.FromString(content)
    except ValueError:  # DecodeError is one
        return None
    return model, {entry.key: entry.value for entry in model.metadata_props if entry.key != "sha256"}
