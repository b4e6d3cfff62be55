"""The deviations of predicted Einstein radii, brought to what they are off by on validation lenses."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mlensing.contract import BandStatistics, ModelContract
from mlensing.evaluation.fusion import consistency
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.inputs import Pixels
from mlensing.inference.lenses import COLUMNS, lens_properties
from mlensing.models import build
from mlensing.models.checkpoint import stamp
from mlensing.physics import pixel_grid, sie_convergence
from mlensing.training.map_quality import FEWEST, learn_map_quality

SIDE, SCALE, GUESS, OFF = 48, 0.2, 6.0, 0.3
"""Pixels, arcsec a pixel; every prediction is an isothermal sphere of ``GUESS`` pixels, wrong by 30 % typically."""


def write_mapper(path: Path) -> Path:
    """A finder that sees the same lens everywhere, and states a deviation of 100 % of its kappa."""
    statistics: Any = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    contract = ModelContract(
        name="resnet10", options={"width": 4}, bands=("g", "r", "i"), input_size=SIDE, pixel_scale=(SCALE, SCALE),
        statistics=statistics, task="maps",
    )  # fmt: skip
    torch.manual_seed(0)
    net = build(contract.name, contract, **contract.options)
    last: Any = net.maps.last  # type: ignore[union-attr]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([0.0, 2 * torch.tensor(GUESS).log().item(), 0.0])
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {})
    torch.save(content, path)
    return path


def lenses(count: int) -> tuple[dict[str, Tensor], Tensor]:
    """A batch of round lenses whose radii scatter about the guess, and their radii [arcsec]."""
    x, y = pixel_grid(SIDE, SIDE, dx=SCALE, dy=SCALE)
    generator = torch.Generator().manual_seed(1)
    radius = GUESS * SCALE * (1 + OFF * torch.randn(count, generator=generator)).clamp(0.4, 1.6)
    kappa = [sie_convergence(x, y, x0=0.0, y0=0.0, q=1.0, phi=0.0, theta_E=float(r), core=0.06) for r in radius]
    sides = {name: torch.full((count,), SCALE) for name in ("dx", "dy")}
    flags = {"label": torch.ones(count), "composite": torch.zeros(count, dtype=torch.bool)}
    return {"image": torch.randn(count, 3, SIDE, SIDE), "kappa": torch.stack(kappa), **sides, **flags}, radius


def loader(*batches: dict[str, Tensor]) -> Any:
    return SimpleNamespace(val_dataloader=lambda: list(batches))


def test_stated_deviations_become_those_of_the_errors(tmp_path: Path) -> None:
    path, (batch, truth) = write_mapper(tmp_path / "maps.ckpt"), lenses(200)
    learn_map_quality(path, loader(batch))
    member = Ensemble.load(path, "cpu").members[0]
    image = batch["image"][0]
    found = lens_properties([member], [Pixels(image, False, (SCALE, SCALE))])
    radius, deviation = (float(found[name][0]) for name in COLUMNS[:2])
    share = float(((truth - radius).abs() < deviation).float().mean())
    assert share == pytest.approx(0.68, abs=0.08)
    assert deviation == pytest.approx(OFF * GUESS * SCALE, rel=0.2)


def test_a_typical_residual_is_a_consistency_of_one_over_e(tmp_path: Path) -> None:
    path, (batch, _) = write_mapper(tmp_path / "maps.ckpt"), lenses(40)
    learn_map_quality(path, loader(batch))
    alone = Ensemble.load(path, "cpu")
    scores = alone.score(batch["image"], batch["composite"], maps=torch.full((40, 2), SCALE))
    assert consistency(scores.physics, alone.fusion.temperature) == pytest.approx(math.exp(-1), rel=1e-3)


def test_without_enough_lenses_nothing_changes(tmp_path: Path) -> None:
    path, (few, _) = write_mapper(tmp_path / "maps.ckpt"), lenses(FEWEST - 1)
    unknown = {**lenses(40)[0], "label": torch.zeros(40)}
    before = path.read_bytes()
    learn_map_quality(path, loader(few, unknown))
    assert path.read_bytes() == before
