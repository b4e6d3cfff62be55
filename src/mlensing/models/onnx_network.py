"""A network that onnxruntime runs, which stands where a torch network stands; needs the extra ``onnx``."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor, nn

from mlensing.errors import ConfigError


def require_onnx() -> None:
    """Import the extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        problem = f"the extra onnx is not installed ({error.name} is missing)"
        raise ConfigError("onnx", problem, "Run: pip install 'mlensing[onnx]'.") from error


class OnnxNetwork(nn.Module):
    """A graph that stands where a torch network stands: features from onnxruntime, the head in torch.

    Arguments:
        model: bytes of a file that ``exported`` gave; ``read_onnx`` checks those of strangers.
        threads: of onnxruntime; as many as torch uses if not given.

    Attributes:
        dropout: probability of dropping a feature before the head. No other dropout is left in the graph.
    """

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or torch.get_num_threads(), 1
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        words = self.session.get_modelmeta().custom_metadata_map
        head = json.loads(words["head"])
        self.dropout, self.fc = float(words["dropout"]), nn.Linear(len(head["weight"]), 1)
        self.fc.load_state_dict({"weight": torch.tensor([head["weight"]]), "bias": torch.tensor([head["bias"]])})
        self.eval()

    @property
    def head(self) -> nn.Linear:
        """The linear map from features to the logit."""
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> features [B, F], on the image's device."""
        pixels = np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float32)
        found = self.session.run(["features"], {"image": pixels})[0]
        return torch.from_numpy(found).to(x.device)

    def forward(self, x: Tensor) -> Tensor:
        """Image [B, bands, H, W] -> logit [B]."""
        features = nn.functional.dropout(self.features(x), self.dropout, self.training)
        return self.fc(features).squeeze(1)  # type: ignore[no-any-return]
