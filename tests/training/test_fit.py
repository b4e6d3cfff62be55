"""Training from files: what it writes, that it learns, goes on, and refuses what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mlensing.errors import ConfigError, ContractError, SurveyError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training.finder import Finder
from mlensing.training.fit import fit

SMALL: dict[str, Any] = {
    "model_options": {"width": 4},
    "input_size": 32,
    "batch_size": 8,
    "shift_px": 2,
    "accelerator": "cpu",
}


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "lightning_logs"
    return fit(
        str(data_dir),
        max_epochs=8,
        lr=3e-3,
        class_weight_ratio=4.0,
        composites=0.3,
        log_dir=str(folder),
        **SMALL,
    )


def test_leaves_checkpoints_metrics_and_provenance_in_version_0(trained: Path) -> None:
    folder = trained.parent.parent
    assert folder.name == "version_0" and trained.name == "best.ckpt"
    assert {p.name for p in trained.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    origin = json.loads((folder / "provenance.json").read_text())
    assert origin["seed"] == 42 and origin["config"]["class_weight_ratio"] == 4.0 and origin["version"]
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["epoch"]) == list(range(1, 9)) and table["val_loss"].notna().all()


def test_the_contract_says_what_it_was_trained_on(trained: Path) -> None:
    found = read_checkpoint(trained)
    contract = found.contract
    assert contract.bands == ("blue", "green", "red") and contract.input_size == 32
    assert contract.pixel_scale == pytest.approx((0.2, 0.2)) and contract.prevalence == 0.5
    assert contract.class_weight_ratio == 4.0 and contract.training_hash and contract.version
    assert set(contract.statistics) == {"linear", "composite"}
    assert found.config["max_epochs"] == 8


def test_it_learns_and_loads(trained: Path) -> None:
    finder = Finder.load(trained)
    assert not finder.training
    table = pd.read_csv(trained.parent.parent / "metrics.csv")
    assert table["val_auroc"].max() > 0.9


def test_the_same_seed_gives_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    options = {"max_epochs": 1, "log_dir": str(tmp_path), **SMALL}
    first, second = (read_checkpoint(fit(str(data_dir), **options)).content["state_dict"] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    assert {p.name for p in tmp_path.iterdir()} == {"version_0", "version_1"}


def test_a_resumed_training_goes_on_in_its_folder(data_dir: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"log_dir": str(tmp_path), "ema": 0.9, **SMALL}
    best = fit(str(data_dir), max_epochs=1, **options)
    again = fit(str(data_dir), max_epochs=2, resume=str(best.with_name("last.ckpt")), **options)
    assert again.parent == best.parent
    state = read_checkpoint(best.with_name("last.ckpt")).content
    assert state["global_step"] == 12 and state["epoch"] == 1
    assert list(pd.read_csv(best.parent.parent / "metrics.csv")["epoch"]) == [1, 2]
    with pytest.raises(ConfigError, match="2 epochs behind it, and 1 are wanted"):
        fit(str(data_dir), max_epochs=1, resume=str(best.with_name("last.ckpt")), **options)


def test_resuming_with_other_settings_is_refused(trained: Path, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="class_weight_ratio"):
        fit(str(data_dir), resume=str(trained), composites=0.5, log_dir=str(tmp_path), **SMALL)
    assert not list(tmp_path.iterdir())


def test_weights_can_start_another_training(trained: Path, data_dir: Path, tmp_path: Path) -> None:
    best = fit(str(data_dir), max_epochs=1, lr=0.0, init=str(trained), log_dir=str(tmp_path), **SMALL)
    ours, theirs = (read_checkpoint(p).content["state_dict"] for p in (best, trained))
    assert torch.equal(ours["net.conv1.weight"], theirs["net.conv1.weight"])


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"model": "resnet19"}, ConfigError, "resnet18"),
        ({"model_options": {"depth": 3}}, ConfigError, "depth"),
        ({"loss": {"mse": 1.0}}, ConfigError, "bce"),
        ({"class_weight_ratio": -1.0}, ConfigError, "class_weight_ratio"),
        ({"composites": 2.0}, ConfigError, "composites"),
        ({"composites": 0.5, "bands": ["g", "r"]}, ConfigError, "three bands"),
        ({"survey": "dse"}, SurveyError, "dse"),
        ({"resume": "nowhere.ckpt"}, ContractError, "nowhere.ckpt"),
        ({"init": "nowhere.pth"}, ContractError, "nowhere.pth"),
        ({"ema": 1.5}, ConfigError, "ema"),
    ],
)
def test_wrong_settings_are_named(
    wrong: dict[str, Any], error: type[Exception], said: str, data_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        fit(str(data_dir), **{**SMALL, "log_dir": str(tmp_path), "max_epochs": 1, **wrong})
    assert not list(tmp_path.rglob("*.ckpt"))


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prepare"):
        fit(str(tmp_path), log_dir=str(tmp_path / "logs"), **SMALL)
