"""From finders and validation data to a folder: on a split, on a simulated sky, and on what fits neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlensing.contract import ModelContract
from mlensing.errors import CatalogError, ConfigError, ContractError
from mlensing.inference import assemble as assembling
from mlensing.inference.assemble import Validation, assemble, calibrated, require_fitting, simulated_validation
from mlensing.inference.ensemble import FILE, Ensemble, EnsembleScores, keys_of
from mlensing.inference.member import MemberScores
from mlensing.inference.predictor import Predictor
from mlensing.models import build
from mlensing.models.checkpoint import read_checkpoint, stamp
from mlensing.simulate import Mixture

SKY = Mixture(
    surveys={"lsst": 1, "sdss": 1},
    classes={"lens": 1, "faint_lens": 0.2, "spiral": 1},
    representations={"linear": 1, "composite": 1},
    size=32,
)


@pytest.fixture(scope="module")
def finders(tmp_path_factory: pytest.TempPathFactory, contract: ModelContract) -> list[str]:
    """Two networks of random weights and different seeds."""
    folder = tmp_path_factory.mktemp("finders")
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = build(contract.name, contract, **contract.options)
        content: dict[str, Any] = {"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}
        stamp(content, contract, {"seed": seed})
        torch.save(content, folder / f"{seed}.ckpt")
    return [str(folder / f"{seed}.ckpt") for seed in (1, 2)]


def test_a_split_makes_an_ensemble(finders: list[str], data_dir: Path, tmp_path: Path) -> None:
    chosen = assemble(finders, output_dir=str(tmp_path / "e"), data_dir=str(data_dir / "train"), keep_all=True,
                      rule="calibrated_mean", device="cpu")  # fmt: skip
    assert chosen.keys == ("resnet18-1", "resnet18-2") and chosen.fusion.rule == "calibrated_mean"
    loaded = Ensemble.load(tmp_path / "e", "cpu")
    assert [m.contract.calibration.kind for m in loaded.members] == ["beta", "beta"]
    assert loaded.fusion == chosen.fusion and loaded.contract.prevalence == pytest.approx(0.5)
    said = json.loads((tmp_path / "e" / FILE).read_text())["selection"]
    assert said["images"] == 48 and "calibrated_mean of resnet18-1, resnet18-2" in said["why"]
    assert said["provenance"]["config"]["data_dir"] == str(data_dir / "train")
    table = Predictor(loaded).predict([data_dir / "test"])
    assert (table["status"] == "ok").all() and (table["disagreement"] > 0).all()
    assert keys_of([read_checkpoint(tmp_path / "e/resnet18-2.safetensors")]) == ["resnet18-2"]


def test_the_probabilities_hold_on_what_they_were_fitted_to(finders: list[str], data_dir: Path, tmp_path: Path) -> None:
    """Untrained networks know nothing: their mean probability must be the share of lenses, whatever they say raw."""
    assemble(finders, output_dir=str(tmp_path), data_dir=str(data_dir / "train"), device="cpu")
    table = Predictor.load(tmp_path, "cpu").predict([data_dir / "train" / "index.csv"])
    raw = Predictor.load(finders, "cpu").predict([data_dir / "train" / "index.csv"])
    assert table["probability"].mean() == pytest.approx(0.5, abs=0.02)
    assert abs(raw["probability"].mean() - 0.5) > 0.05


def test_a_simulated_sky_makes_an_ensemble(finders: list[str], tmp_path: Path) -> None:
    (tmp_path / "sky.yaml").write_text(json.dumps(SKY.model_dump(mode="json", exclude={"mass"})))
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        assemble(finders[:1], output_dir=str(folder), mixture=str(tmp_path / "sky.yaml"), num_samples=65,
                 calibration="temperature", device="cpu")  # fmt: skip
    first, second = (json.loads((folder / FILE).read_text()) for folder in folders)
    assert first["fusion"] == second["fusion"] and first["selection"]["candidates"] == second["selection"]["candidates"]
    contracts = [read_checkpoint(folder / "resnet18-1.safetensors").contract for folder in folders]
    assert contracts[0] == contracts[1] and contracts[0].calibration.kind == "temperature"
    assert 64 < first["selection"]["images"] < 128, "whole blocks, less what has no label"


def test_the_simulated_sky_is_half_colour_and_its_seed_its_own(finders: list[str]) -> None:
    ensemble, seen = Ensemble.load(finders[0], "cpu"), []
    score = ensemble.members[0].score

    def watched(image: torch.Tensor, composite: torch.Tensor, maps: torch.Tensor | None) -> MemberScores:
        seen.append((image, composite))
        return score(image, composite, maps=maps)

    ensemble.members[0].score = watched  # type: ignore[method-assign, assignment]
    found, other = (simulated_validation(ensemble, SKY, 64, seed) for seed in (0, 1))
    image, composite = seen[0]
    assert 10 < int(composite.sum()) < 54
    assert (image[composite] == image[composite].round()).all() and image[composite].max() <= 255
    assert not (image[~composite] == image[~composite].round()).all()
    assert found.label.shape == (64,) and set(found.label[np.isfinite(found.label)]) == {0.0, 1.0}
    assert found.scores.logit.shape == (1, 64) and not np.allclose(found.scores.logit, other.scores.logit)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 48}, "48 pixels a side, the finders take 32"),
        ({"bands": ("g", "r", "i")}, "expected bands blue,green,red"),
        ({"surveys": {"sdss": 1.0}}, "none of its surveys"),
    ],
)
def test_a_sky_of_another_kind_is_refused(contract: ModelContract, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        require_fitting(SKY.model_copy(update=fields), contract, where="sky.yaml")


def test_a_sky_without_samples_is_refused(finders: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more, got 0"):
        simulated_validation(Ensemble.load(finders[0], "cpu"), SKY, 0, 0)


def test_colour_is_not_shown_to_those_who_never_saw_it(contract: ModelContract) -> None:
    linear = contract.model_copy(update={"statistics": {"linear": contract.statistics["linear"]}})
    with pytest.raises(ContractError, match="trained on linear images, got a composite one"):
        require_fitting(SKY, linear, where="sky.yaml")
    require_fitting(SKY, contract, where="sky.yaml")
    plain = SKY.model_copy(update={"representations": {"linear": 1.0, "composite": 0.0}})
    require_fitting(plain, linear, where="sky.yaml")


def test_the_prevalence_is_that_of_what_was_scored(finders: list[str]) -> None:
    label = np.array([1.0, 0.0, 0.0, 0.0, np.nan, 1.0, 1.0])
    logit = np.array([[1.0, 2.0, -1.0, 0.0, 3.0, np.nan, np.nan]])
    scores = EnsembleScores(logit, np.ones_like(logit), *np.full((2, *logit.shape), np.nan))
    found = calibrated([read_checkpoint(finders[0])], Validation(scores, label, [None]), "beta")
    assert found[0].contract.prevalence == pytest.approx(0.25)
    assert found[0].contract.calibration.kind == "beta"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected --data_dir or --mixture"),
        ({"data_dir": "a", "mixture": "b"}, "expected --data_dir or --mixture"),
        ({"mixture": "b", "rule": "median"}, "unknown rule 'median'"),
        ({"mixture": "b", "calibration": "magic"}, "unknown calibration 'magic'"),
        ({"mixture": "absent.yaml"}, "no such file"),
        ({"data_dir": "absent"}, "index.csv"),
    ],
)
def test_settings_are_checked_before_anything_is_scored(
    finders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(assembling, "simulated_validation", None)
    with pytest.raises(ConfigError, match=words):
        assemble(finders, output_dir=str(tmp_path / "e"), device="cpu", **options)
    assert not (tmp_path / "e").exists()


def test_too_few_or_unreadable_images_are_named_and_leave_no_folder(
    finders: list[str], data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "index.csv").write_text(f"filepath,label\n{data_dir}/val/0.fits,0\n{data_dir}/val/1.fits,1\n")
    with pytest.raises(ConfigError, match="of one class"):
        assemble(finders, output_dir=str(tmp_path / "e"), data_dir=str(tmp_path), device="cpu")
    (tmp_path / "bad.fits").write_text("no image")
    (tmp_path / "index.csv").write_text("filepath,label\nbad.fits,1\n")
    with pytest.raises(CatalogError, match="not one of 1 images"):
        assemble(finders, output_dir=str(tmp_path / "e"), data_dir=str(tmp_path), device="cpu")
    assert not (tmp_path / "e").exists()
