"""A small labelled data set on disk, and a checkpoint of random weights to score it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mlensing.contract import CHANNELS, BandStatistics, Calibration, ModelContract
from mlensing.models import build
from mlensing.models.checkpoint import stamp


@pytest.fixture(scope="session")
def contract() -> ModelContract:
    """Takes any survey, in both representations; weights prefer lenses by a factor of e."""
    stats = BandStatistics(mean=(0.3,) * 3, std=(0.5,) * 3)
    kinds: dict[Any, BandStatistics] = {"linear": stats, "composite": stats}
    return ModelContract(
        name="resnet18",
        options={"width": 4, "dropout": 0.3},
        bands=CHANNELS,
        input_size=32,
        pixel_scale=(0.18, 0.22),
        statistics=kinds,
        class_weight_ratio=math.e,
        calibration=Calibration(parameters=(2.0,)),
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, contract: ModelContract) -> Path:
    """A network of random weights: what it says is arbitrary, how it is said is not."""
    torch.manual_seed(0)
    net = build(contract.name, contract, **contract.options)
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {})
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    torch.save(content, path)
    return path
