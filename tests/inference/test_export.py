"""Export: files beside an ensemble, backends that agree, and int8 that must stay within its bounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mlensing.cli import main
from mlensing.contract import Fusion
from mlensing.errors import ConfigError, ContractError
from mlensing.inference import export as module
from mlensing.inference.assemble import Validation
from mlensing.inference.ensemble import Ensemble, EnsembleScores, save_ensemble
from mlensing.inference.export import BOUNDS, cost, export, export_int8
from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.onnx_seal import opened

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """An ensemble of one, and its ONNX file."""
    folder = tmp_path_factory.mktemp("ensemble")
    save_ensemble(folder, {"a-1": read_checkpoint(checkpoint)}, Fusion(rule="calibrated_mean"), {})
    assert export(str(folder)) == [folder / "a-1.onnx"]
    return folder


def raw_images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, 32, 32, generator=generator), torch.zeros(16, dtype=torch.bool)


def test_backends_agree(folder: Path) -> None:
    expected = Ensemble.load(folder).score(*raw_images())
    for found in (Ensemble.load(folder, backend="onnx"), Ensemble.load(folder / "a-1.onnx")):
        np.testing.assert_allclose(found.score(*raw_images()).logit, expected.logit, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.score(*raw_images()).variance, expected.variance, rtol=1e-3)


def test_a_file_of_other_weights_is_not_used(folder: Path, tmp_path: Path, checkpoint: Path) -> None:
    found = read_checkpoint(checkpoint)
    found.content["state_dict"]["net.fc.bias"] += 1.0
    save_ensemble(tmp_path, {"a-1": found}, Fusion(rule="calibrated_mean"), {})
    (tmp_path / "a-1.onnx").write_bytes((folder / "a-1.onnx").read_bytes())
    pair = [Ensemble.load(tmp_path, backend=backend).score(*raw_images()).logit for backend in ("torch", "onnx")]
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-4, atol=1e-5)
    (tmp_path / "a-1.onnx").rename(tmp_path / "a-1.int8.onnx")
    with pytest.raises(ConfigError, match="no int8 file of these weights"):
        Ensemble.load(tmp_path, backend="int8")


def validation(logit: np.ndarray, label: np.ndarray) -> Validation:
    return Validation(EnsembleScores(logit[None], *np.zeros((3, 1, len(logit)))), label, [None])


def scores(checkpoint: Path, noise: float) -> dict[str, dict[str, float]]:
    """Costs of an int8 whose logits differ by so much noise."""
    generator = np.random.default_rng(0)
    label = (np.arange(2000) % 2).astype(float)
    logit = generator.normal(size=2000) + 3 * label
    small = logit + noise * generator.normal(size=2000)
    return cost(read_checkpoint(checkpoint), validation(logit, label), validation(small, label))


def test_the_cost_of_int8_is_measured(checkpoint: Path) -> None:
    assert all(scores(checkpoint, 0.0)[name]["change"] == 0.0 for name in BOUNDS)
    bad = scores(checkpoint, 2.0)
    assert bad["roc_auc"]["change"] < -0.005 and bad["tpr_at_fpr_1e-2"]["change"] < -0.02
    few = validation(np.arange(150.0), (np.arange(150) < 99).astype(float))
    with pytest.raises(ConfigError, match="too few to judge"):
        cost(read_checkpoint(checkpoint), few, few)


class Sky:
    """Stands for data: noise whose labels the float32 network decides, so that it is perfect and int8 is not."""

    def __init__(self, spoil: float) -> None:
        self.spoil, self.label = spoil, np.zeros(0)

    def score(self, ensemble: Ensemble) -> Validation:
        image = torch.randn(400, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        found = ensemble.score(image, torch.zeros(400, dtype=torch.bool))
        if ensemble.members[0].key == "float32":
            self.label = (found.logit[0] > np.median(found.logit[0])).astype(float)
            return Validation(found, self.label, [None])
        noise = self.spoil * np.random.default_rng(0).normal(size=400) * found.logit.std()
        return Validation(found._replace(logit=found.logit + noise), self.label, [None])


def test_int8_is_written_with_its_figures_or_refused_with_them(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = read_checkpoint(checkpoint)
    with pytest.raises(ContractError, match=r"int8 costs too much on 400 images \(roc_auc 1\.0000 to 0\."):
        export_int8(given, Sky(spoil=1.0))
    monkeypatch.setattr(module, "BOUNDS", dict.fromkeys(BOUNDS, (-0.2, 0.2)))  # noise has no margin
    model = export_int8(given, Sky(spoil=0.0))
    found = opened(model)
    assert found is not None
    figures = json.loads(found[1]["int8"])
    assert figures["images"] == 400 and figures["roc_auc"]["int8"] > 0.9
    (tmp_path / "a.int8.onnx").write_bytes(model)
    small, image = read_checkpoint(tmp_path / "a.int8.onnx"), torch.randn(8, 3, 32, 32)
    assert any(node.op_type == "QuantizeLinear" for node in found[0].graph.node)
    with torch.no_grad():
        exact = given.network()(image)
        assert 0 < (small.network()(image) - exact).abs().max() < 0.2 * exact.abs().max()


def test_what_cannot_be_exported_is_said(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected --data_dir or --mixture"):
        export(str(checkpoint), int8=True)
    with pytest.raises(ConfigError, match="beside its members"):
        export(str(folder), output="a.onnx")
    with pytest.raises(ConfigError, match=r"ending in .onnx"):
        export(str(checkpoint), output=str(tmp_path / "a.pt"))
    assert main(["export", str(tmp_path / "none.ckpt")]) == 2


def test_full_dropout_needs_torch(folder: Path) -> None:
    from mlensing.inference.member import Dropout

    with pytest.raises(ConfigError, match="no dropout but before its head"):
        Ensemble.load(folder, backend="onnx").score(*raw_images(), dropout=Dropout("full", 2))
