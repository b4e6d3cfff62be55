"""What tests of several rooms share: one thread, and a small prepared data set of discs with and without a ring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits


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
    for seed, (split, count) in enumerate({"train": 48, "val": 16, "test": 16}.items()):
        write_split(folder / split, count=count, seed=seed)
    return folder
