"""Labelled images among simulated ones: which rows they take, that they stay as they are, that a finder learns them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mlensing.data.module import LensDataModule
from mlensing.errors import ConfigError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training.fit import fit_live
from mlensing.training.labelled import Labelled, shifted


@pytest.fixture
def labelled(data_dir: Path) -> Labelled:
    split = LensDataModule(data_dir, input_size=28, margin=2).split("train")
    return Labelled(split, share=0.25, size=28, seed=5)


def simulated() -> dict[str, torch.Tensor]:
    rows = torch.arange(64.0)
    image = rows[:, None, None, None].expand(64, 3, 28, 28)
    flags = torch.zeros(64, dtype=torch.bool)
    return {"image": image, "label": rows, "composite": flags, "dx": rows, "dy": rows, "survey": rows.long()}


def test_a_share_of_the_rows_are_labelled_images_half_of_them_lenses(labelled: Labelled) -> None:
    mixed, before = labelled.mixed(simulated(), 3), simulated()
    assert mixed.keys() == {*before, "as_is"}
    assert mixed["as_is"].tolist() == [True] * 16 + [False] * 48
    assert mixed["label"][:16].tolist() == [0.0, 1.0] * 8
    stored = labelled.split.cache.images
    for image, label in zip(mixed["image"][:16], mixed["label"], strict=False):
        cuts = [stored[:, :, y : y + 28, x : x + 28] for y in range(5) for x in range(5)]
        found = [np.flatnonzero((cut == image.numpy()).all((1, 2, 3))) for cut in cuts]
        row = int(np.concatenate(found)[0])
        assert labelled.split.cache.label[row] == label
    for name, values in before.items():
        assert torch.equal(mixed[name][16:], values[16:])


def test_a_batch_is_the_same_whoever_asks_and_others_differ(labelled: Labelled) -> None:
    one, again, other = (labelled.mixed(simulated(), number)["image"] for number in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_shifts_reach_every_corner() -> None:
    image = torch.arange(36.0).reshape(1, 1, 6, 6).expand(200, 1, 6, 6)
    firsts = set(shifted(image, 4, np.random.default_rng(0))[:, 0, 0, 0].tolist())
    assert firsts == {0.0, 1.0, 2.0, 6.0, 7.0, 8.0, 12.0, 13.0, 14.0}


def test_impossible_shares_and_a_single_class_are_errors(labelled: Labelled, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a share in \(0, 1\), got 1"):
        Labelled(labelled.split, share=1.0, size=28, seed=0)
    table = labelled.split.catalog.table.assign(label=0.0)
    table["filepath"] = [str(path) for path in labelled.split.catalog.paths]
    (tmp_path / "train").mkdir()
    table.to_csv(tmp_path / "train" / "index.csv", index=False)
    split = LensDataModule(tmp_path, input_size=28).split("train")
    with pytest.raises(ConfigError, match="non-lenses"):
        Labelled(split, share=0.5, size=28, seed=0)


def test_a_finder_learns_from_them(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fit_live.__module__], "MEASURED", 64)
    mixture = tmp_path / "mixture.yaml"
    sky = "surveys: {lsst: 1}\nclasses: {lens: 1, star: 1}\nsize: 32\nrepresentations: "
    mixture.write_text(sky + "{linear: 0.5, composite: 0.5}\n")
    options: dict[str, Any] = {"model_options": {"width": 4}, "draws": 512, "epoch_draws": 256, "batch_size": 64}
    options |= {"validation_draws": 128, "lr": 1e-2, "num_workers": 0, "accelerator": "cpu", "shift_px": 0}
    paths = [
        fit_live(str(mixture), log_dir=str(tmp_path / name), **options, **more)
        for name, more in (("without", {}), ("with", {"labelled": str(data_dir), "labelled_share": 0.5}))
    ]
    without, with_them = (read_checkpoint(path).contract for path in paths)
    assert without.training_hash != with_them.training_hash and without.statistics == with_them.statistics
    losses = [pd.read_csv(path.parents[1] / "metrics.csv")["train_loss"] for path in paths]
    assert not np.allclose(*losses) and losses[1].iloc[-1] < losses[1].iloc[0]
    mixture.write_text(sky + "{composite: 1}\n")
    with pytest.raises(ConfigError, match="are linear, and the simulated sky has no such"):
        fit_live(str(mixture), log_dir=str(tmp_path), labelled=str(data_dir), **options)
