"""The parts of a run that stand alone: folders and calibration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from mlensing.contract import BandStatistics, Calibration, ModelContract
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint, stamp
from mlensing.training.finder import Finder
from mlensing.training.run import calibrate, checkpoint_to_resume, run_folder


def test_runs_are_numbered_and_resumed_in_place(tmp_path: Path) -> None:
    assert run_folder(tmp_path / "logs", None).name == "version_0"
    (tmp_path / "logs" / "version_7").mkdir(parents=True)
    (tmp_path / "logs" / "version_old").mkdir()
    assert run_folder(tmp_path / "logs", None).name == "version_8"
    last = tmp_path / "logs" / "version_7" / "checkpoints" / "last.ckpt"
    assert run_folder(tmp_path / "logs", last) == tmp_path / "logs" / "version_7"


class Scored(LightningDataModule):
    """One validation batch."""

    def __init__(self, batch: dict[str, Tensor]) -> None:
        super().__init__()
        self.batch = batch

    def val_dataloader(self) -> list[dict[str, Tensor]]:
        return [self.batch]


def make_checkpoint(path: Path, ratio: float) -> Path:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,), std=(1.0,))}
    contract = ModelContract(
        name="resnet18", options={"width": 4}, bands=("r",), input_size=32, pixel_scale=(0.2, 0.2),
        statistics=stats, class_weight_ratio=ratio,
    )  # fmt: skip
    net = build(contract.name, contract, **contract.options)
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {})
    torch.save(content, path)
    return path


@pytest.mark.parametrize("ratio", [1.0, 20.0])
def test_temperature_is_found_again_after_the_shift_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float
) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=20000)
    label = (generator.random(20000) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    label[:3] = np.nan
    logit = torch.from_numpy(truth * 2.5 + np.log(ratio))
    monkeypatch.setattr(Finder, "validation_logit", lambda *_: logit)
    path = make_checkpoint(tmp_path / "best.ckpt", ratio)
    calibrate(path, Scored({"label": torch.from_numpy(label)}))
    assert read_checkpoint(path).contract.calibration.parameters[0] == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("label", [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
def test_logits_that_say_nothing_of_the_temperature_leave_it_at_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: list[float]
) -> None:
    monkeypatch.setattr(Finder, "validation_logit", lambda *_: torch.tensor([2.0, 1.0, -1.0]))
    found = calibrate(make_checkpoint(tmp_path / "best.ckpt", 1.0), Scored({"label": torch.tensor(label)}))
    assert found == Calibration()
    assert isinstance(build("resnet18", read_checkpoint(tmp_path / "best.ckpt").contract), nn.Module)


def test_auto_resumes_the_newest_run_if_there_is_one(tmp_path: Path) -> None:
    assert checkpoint_to_resume("auto", str(tmp_path)) is None
    for age, name in enumerate(("version_1", "version_0")):
        path = tmp_path / name / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (100 + age, 100 + age))
    assert checkpoint_to_resume("auto", str(tmp_path)) == str(path)
    assert checkpoint_to_resume(None, str(tmp_path)) is None
    assert checkpoint_to_resume("mine.ckpt", str(tmp_path)) == "mine.ckpt"
