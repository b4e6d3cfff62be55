"""One step of learning: what reaches the network, what moves, what is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from mlensing.contract import BandStatistics, ModelContract
from mlensing.models import build
from mlensing.training.finder import Finder


def make_finder(**options: Any) -> Finder:
    stats: dict[Any, BandStatistics] = dict.fromkeys(
        ("linear", "composite"), BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)
    )
    contract = ModelContract(
        name="resnet18",
        options={"width": 4},
        bands=("g", "r", "i"),
        input_size=32,
        pixel_scale=(0.2, 0.2),
        statistics=stats,
        class_weight_ratio=3.0,
    )
    return Finder(contract, build(contract.name, contract, **contract.options), **options)


def make_batch(count: int = 8, size: int = 32) -> dict[str, Tensor]:
    image = torch.randn(count, 3, size, size, generator=Generator().manual_seed(0))
    spacing = torch.full((count,), 0.2)
    label = (torch.arange(count) % 2).float()
    composite = torch.arange(count) < 2
    return {"image": image, "label": label, "composite": composite, "dx": spacing, "dy": spacing}


def white(image: Tensor, batch: Mapping[str, Tensor], generator: Generator) -> Tensor:
    return torch.full_like(image, 255.0)


class Seen(nn.Module):
    """Remembers what a network was given."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.image = torch.empty(0)

    def forward(self, image: Tensor) -> Tensor:
        self.image = image
        return image.mean(dim=(1, 2, 3)) * self.w


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finder, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(Finder, "global_step", 5)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_linear_rows_becomes_composites(share: float, quiet: None) -> None:
    finder = make_finder(composites=share, compose=white)
    finder.net = seen = Seen()
    batch = make_batch(200)
    finder.training_step(batch, 0)
    turned = (seen.image == 1.0).all(dim=1).all(dim=1).all(dim=1)
    assert not turned[batch["composite"]].any()  # composites stay what they are
    assert float(turned[~batch["composite"]].float().mean()) == pytest.approx(share, abs=0.1)


def test_margins_are_cut_to_the_input_size(quiet: None) -> None:
    finder = make_finder(shift_px=4)
    finder.net = seen = Seen()
    finder.training_step(make_batch(size=40), 0)
    assert seen.image.shape == (8, 3, 32, 32)


def test_a_step_draws_the_same_again_and_another_step_another(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    finder, batch = make_finder().train(), make_batch()
    first, again = finder.training_step(batch, 0), finder.training_step(batch, 0)
    monkeypatch.setattr(Finder, "global_step", 6)
    assert first == again != finder.training_step(batch, 0)


def test_validation_is_the_same_every_time(quiet: None) -> None:
    finder = make_finder(composites=0.5, compose=white).eval()
    batch = make_batch()
    assert torch.equal(finder.validation_logit(batch, 0), finder.validation_logit(batch, 0))


def test_unlabelled_rows_do_not_spoil_validation(quiet: None) -> None:
    finder, batch = make_finder().eval(), make_batch()
    batch["label"][3] = math.nan
    finder.validation_step(batch, 0)
    assert torch.isfinite(finder.auroc.compute())


def test_norms_and_biases_are_not_decayed() -> None:
    finder = make_finder(weight_decay=0.1)
    finder._trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()  # type: ignore[assignment]
    decayed, free = finder.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.1 and all(p.ndim > 1 for p in decayed["params"])
    assert free["weight_decay"] == 0.0 and all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(finder.net.parameters()))
