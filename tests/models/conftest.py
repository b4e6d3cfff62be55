"""The architectures, one after the other."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from mlensing.models import MODELS

NEEDED = {"dinov2": "transformers", "zoobot": "timm"}
"""Optional libraries; tests/models/test_foundation.py goes without."""


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    """Of an architecture that can be built here."""
    if request.param in NEEDED and find_spec(NEEDED[request.param]) is None:
        pytest.skip(f"{request.param} needs {NEEDED[request.param]}, which is not installed")
    torch.manual_seed(0)
    return str(request.param)
