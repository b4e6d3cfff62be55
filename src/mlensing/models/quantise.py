"""int8 by onnxruntime: static, from activations that real images cause; needs the extra ``onnx``.

Weights are signed with a scale a channel, activations unsigned with one a tensor, the pair for which x86 processors
have instructions (3 times faster than float32 here; both signed: no faster). The head stays in float32.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlensing.models.onnx_network import require_onnx
from mlensing.models.onnx_seal import opened, sealed

BATCH = 16


def quantised(model: bytes, images: NDArray[np.float32]) -> bytes:
    """The int8 version of an ONNX file of ours, with the same strings.

    Arguments:
        model: as ``onnx_file.exported`` gives it.
        images: [N, bands, H, W], normalised, of the kind to be scored: they set the ranges.
    """
    require_onnx()
    from onnx import load
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    found = opened(model)
    assert found is not None  # exported() sealed it
    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, folded, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "folded", "small"))
        whole.write_bytes(model)
        quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded),
            str(small),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_after_features(load(str(folded))),
        )
        result = load(str(small))
    for other in [o for o in result.opset_import if o.domain not in ("", "ai.onnx")]:
        result.opset_import.remove(other)  # imported by onnxruntime, and used by no node
    return sealed(result, found[1])


def annotated(model: bytes, name: str, text: str) -> bytes:
    """The same ONNX file with one more string."""
    found = opened(model)
    assert found is not None
    return sealed(found[0], {**found[1], name: text})


class _Reader:
    """Images for onnxruntime's calibration, a batch at a time."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self.batches: Iterator[NDArray[np.float32]] = (images[i : i + BATCH] for i in range(0, len(images), BATCH))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch; None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def _after_features(model: Any) -> list[str]:
    """Names of the nodes between features and logit."""
    names, found = {"features"}, []
    for node in model.graph.node:
        if names & set(node.input):
            names |= set(node.output)
            found.append(node.name)
    return found


class _quiet:
    """Onnxruntime's quantiser logs through the root logger."""

    def __enter__(self) -> None:
        self.before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.before)
