"""A small labelled data set on disk, and a checkpoint of random weights to score it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from mlensing.contract import CHANNELS, BandStatistics, ModelContract
from mlensing.models import build
from mlensing.models.checkpoint import stamp


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small lose time to threads that wait for each other."""
    torch.set_num_threads(1)


def write_split(folder: Path, *, count: int, seed: int, size: int = 32) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y)
    lines = ["filepath,label,pixel_scale_arcsec"]
    for i in range(count):
        light = 20 * np.exp(-radius / 2) + (i % 2) * 10 * np.exp(-((radius - 8) ** 2) / 3)
        cube = light[..., None] * [0.5, 1.0, 1.5] + generator.normal(size=(size, size, 3))
        header = fits.Header({"BANDS": "g,r,i", "PIXSCALE": 0.2})
        fits.PrimaryHDU(cube.astype(np.float32), header).writeto(folder / f"{i}.fits")
        lines.append(f"{i}.fits,{i % 2},0.2")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for seed, (split, count) in enumerate({"test": 16}.items()):
        write_split(folder / split, count=count, seed=seed)
    return folder


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
        temperature=2.0,
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
