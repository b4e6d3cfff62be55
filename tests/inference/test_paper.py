"""The paper's evaluation on a tiny set: which runs it takes, what it fits where, what it writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mlensing.contract import ModelContract
from mlensing.data.statistics import image_statistics
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.metrics import roc_auc
from mlensing.inference import paper as papers
from mlensing.inference.paper import evaluate_paper, finished_runs
from mlensing.inference.predictor import Predictor
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint, stamp
from mlensing.models.domain import Domain


def run(logs: Path, number: int, contract: ModelContract, *, seed: int, finished: bool = True, **fields: Any) -> Path:
    """A run as training leaves it, with random weights; later numbers are newer."""
    torch.manual_seed(number)
    contract = contract.model_copy(update=fields)
    net = build(contract.name, contract, **contract.options)
    content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
    stamp(content, contract, {"seed": seed})
    path = logs / f"version_{number}/checkpoints/best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    if finished:
        seen = image_statistics(torch.randn(8, 3, 32, 32))
        found = read_checkpoint(path).with_domain(Domain.fit(seen, torch.zeros(8, dtype=torch.bool)))
        found.with_contract(contract)
    os.utime(path, (number, number))
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory, contract: ModelContract) -> Path:
    """Those of the seed's loop, after an older run of seed 42 and before one that was interrupted."""
    folder = tmp_path_factory.mktemp("paper") / "lightning_logs"
    for number, seed in enumerate((42, 42, 43, 44)):
        run(folder, number, contract, seed=seed)
    run(folder, 4, contract, seed=44, finished=False)
    return folder


def test_the_newest_finished_run_of_each_seed_is_taken(logs: Path) -> None:
    assert [c.path.parts[-3] for c in finished_runs(logs)] == ["version_1", "version_2", "version_3"]


def test_other_data_and_other_folders_are_other_members(tmp_path: Path, contract: ModelContract) -> None:
    run(tmp_path / "a", 0, contract, seed=42, training_hash="x")
    run(tmp_path / "b", 1, contract, seed=42, training_hash="y")
    run(tmp_path / "c/d", 2, contract, seed=42, training_hash="x")
    assert [str(c.path.relative_to(tmp_path)).split("/version")[0] for c in finished_runs(tmp_path)] == ["c/d", "b"]


def test_a_folder_without_a_finished_run_is_told(tmp_path: Path, contract: ModelContract, data_dir: Path) -> None:
    run(tmp_path, 0, contract, seed=1, finished=False)
    with pytest.raises(ConfigError, match="no finished run among 1 in it"):
        evaluate_paper(str(data_dir / "test"), log_dir=str(tmp_path), output_dir=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_metrics_and_figures_are_written(logs: Path, data_dir: Path, tmp_path: Path) -> None:
    told = {"log_dir": str(logs), "device": "cpu", "resamples": 10}
    content = evaluate_paper(str(data_dir / "test"), output_dir=str(tmp_path), generate_figures=True, **told)
    text = (tmp_path / "metrics.json").read_text()
    written = json.loads(text)
    assert written["members"] == content["members"] and "NaN" not in text
    assert list(content["members"]) == ["resnet18-42", "resnet18-43", "resnet18-44"]
    assert content["small"] and content["images"]["train"] == 48 and content["images"]["measured_lenses"] == 8
    assert set(written["claims"]) == {"accuracy", "roc_auc", "ece", "disagreement"}
    spread = written["diversity"]["spread"]
    assert written["claims"]["disagreement"] == {"claim": 0.1, "measured": spread, "reached": spread["value"] >= 0.1}
    assert set(written["ensemble"]["members"]) <= set(content["members"]) and written["selection"]["images"] == 16
    names = {"accuracy", "roc_auc", "tpr_at_fpr_1e-3", "tpr_at_fpr_1e-2", "ece", "mce", "ece_before", "mce_before"}
    assert set(written["inverse_variance_of_all"]) == set(written["members"]["resnet18-42"]) == names
    assert written["provenance"]["members"]["resnet18-43"]["config"]["seed"] == 43
    assert written["provenance"]["versions"]["torch"] == torch.__version__
    assert len(list((tmp_path / "figures").iterdir())) == 10


def test_a_members_figure_is_what_it_says_by_itself(logs: Path, data_dir: Path, tmp_path: Path) -> None:
    """A calibration never changes a ranking, so the area is that of the plain checkpoint."""
    checkpoint = str(logs / "version_2/checkpoints/best.ckpt")
    content = evaluate_paper(
        str(data_dir / "test"), checkpoints=[checkpoint], output_dir=str(tmp_path), device="cpu", resamples=2
    )
    table = Predictor.load(checkpoint, "cpu").predict([data_dir / "test/index.csv"])
    label = pd.read_csv(data_dir / "test/index.csv")["label"]
    found = content["members"]["resnet18-43"]
    assert found["roc_auc"]["value"] == pytest.approx(roc_auc(label, table["logit"]), abs=1e-5)
    assert content["ensemble"]["members"] == ["resnet18-43"] and content["diversity"] == {}
    assert content["claims"]["disagreement"] == {"claim": 0.1, "measured": None, "reached": False}
    assert not (tmp_path / "figures").exists()


def test_nothing_is_fitted_on_the_test_split(logs: Path, data_dir: Path, tmp_path: Path) -> None:
    """Other labels there change what is measured, and neither the calibrations nor the choice."""
    contents = []
    for name, flip in (("a", False), ("b", True)):
        for split in ("val", "test"):
            shutil.copytree(data_dir / split, tmp_path / name / split)
        index = pd.read_csv(tmp_path / name / "test/index.csv")
        index["label"] = 1 - index["label"] if flip else index["label"]
        index.to_csv(tmp_path / name / "test/index.csv", index=False)
        contents.append(evaluate_paper(str(tmp_path / name / "test"), log_dir=str(logs), device="cpu", resamples=2,
                                       output_dir=str(tmp_path / name)))  # fmt: skip
    first, second = contents
    assert first["selection"] == second["selection"]
    assert first["ensemble"]["roc_auc"]["value"] == pytest.approx(1 - second["ensemble"]["roc_auc"]["value"], abs=1e-4)


def test_images_without_label_or_score_are_left_out_and_counted(
    logs: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data_dir / "val", tmp_path / "val")
    shutil.copytree(data_dir / "test", tmp_path / "test")
    index = pd.read_csv(tmp_path / "test/index.csv")
    index.loc[0, "label"] = np.nan
    index.to_csv(tmp_path / "test/index.csv", index=False)
    (tmp_path / "test/1.fits").write_text("no image")
    told: dict[str, Any] = {"log_dir": str(logs), "device": "cpu", "resamples": 0, "output_dir": str(tmp_path)}
    monkeypatch.setattr(papers, "FULL", 32)
    content = evaluate_paper(str(tmp_path / "test"), **told)
    assert content["images"] == {"train": 0, "val": 16, "test": 16, "measured": 14, "measured_lenses": 7}
    assert not content["small"]
    index.assign(label=1).to_csv(tmp_path / "test/index.csv", index=False)
    with pytest.raises(CatalogError, match="no non-lenses"):
        evaluate_paper(str(tmp_path / "test"), **told)


@pytest.mark.parametrize(("split", "words"), [("val", "the validation split"), ("absent", "no index.csv there")])
def test_the_test_split_is_asked_for(logs: Path, data_dir: Path, tmp_path: Path, split: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate_paper(str(data_dir / split), log_dir=str(logs), output_dir=str(tmp_path))


def test_a_test_split_without_validation_beside_it_is_told(logs: Path, data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "test", tmp_path / "test")
    with pytest.raises(ConfigError, match=r"val: no index\.csv there"):
        evaluate_paper(str(tmp_path / "test"), log_dir=str(logs), output_dir=str(tmp_path))
