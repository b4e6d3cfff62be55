"""ResNets: the published sizes and names, and the stems."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mlensing.contract import BandStatistics, ModelContract
from mlensing.models import build


def make_contract(size: int = 64) -> ModelContract:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    bands = ("g", "r", "i")
    return ModelContract(name="resnet18", bands=bands, input_size=size, pixel_scale=(0.1, 0.4), statistics=stats)


@pytest.mark.parametrize(("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_as_many_parameters_as_torchvision_publishes(name: str, published: int) -> None:
    net = build(name, make_contract(224))
    ours = sum(p.numel() for p in net.parameters())
    assert ours == published - (512 * 1000 + 1000) + (512 + 1)  # one logit in place of a thousand classes


def test_torchvision_parameter_names() -> None:
    state = build("resnet18", make_contract(224)).state_dict()
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert state["layer4.1.bn2.running_var"].shape == (512,)
    assert {"bn1.num_batches_tracked", "fc.weight", "fc.bias"} <= state.keys()


@pytest.mark.parametrize(
    ("stem", "size", "cells"),
    [("auto", 64, 32), ("auto", 99, 50), ("auto", 100, 25), ("imagenet", 64, 16), ("stride1", 64, 64)],
)
def test_the_stem_decides_the_grid_of_the_first_stage(stem: str, size: int, cells: int) -> None:
    net = build("resnet18", make_contract(size), width=4, stem=stem)
    first = net.maxpool(net.conv1(torch.zeros(1, 3, size, size)))
    assert first.shape[-2:] == (cells, cells)
