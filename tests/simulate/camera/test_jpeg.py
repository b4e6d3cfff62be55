"""JPEG: the grid of blocks, the loss, and what it leaves alone."""

from __future__ import annotations

import torch
from torch import Tensor

from mlensing.simulate.camera.jpeg import BLOCK, compressed


def pictures(count: int = 4) -> Tensor:
    noise = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return (60 + 25 * noise).round().clamp(0, 255)


def test_the_coarser_the_quality_the_greater_the_loss() -> None:
    image, zero = pictures(), torch.zeros(4, 2)
    errors = [
        (compressed(image, torch.full((4,), quality), zero) - image).abs().mean() for quality in (95.0, 75.0, 30.0)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_whole_numbers_in_the_right_channels() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[:, 0] = 200.0  # blue
    out = compressed(image, torch.tensor([90.0]), torch.zeros(1, 2))
    assert torch.equal(out, out.round()) and out.dtype == torch.float32
    assert (out[:, 0] - 200).abs().max() <= 3 and out[:, 1:].max() <= 3


def test_blocks_begin_where_the_phase_says() -> None:
    image, coarse = pictures(), torch.full((4,), 5.0)
    for phase in (0.0, 3 / BLOCK):
        out = compressed(image, coarse, torch.full((4, 2), phase)).mean(1)
        step = out.diff(dim=2).abs().mean((0, 1))
        at_edges = [x for x in range(31) if (x + 1 + round(phase * BLOCK)) % BLOCK == 0]
        inside = [x for x in range(31) if x not in at_edges]
        assert step[at_edges].mean() > 1.3 * step[inside].mean()


def test_each_picture_is_compressed_alone() -> None:
    image, quality, phase = pictures(), torch.tensor([30.0, 95.0, 60.0, 80.0]), torch.rand(4, 2)
    together = compressed(image, quality, phase)
    for row in range(4):
        assert torch.equal(
            compressed(image[row : row + 1], quality[row : row + 1], phase[row : row + 1])[0], together[row]
        )
