"""A head added to a trained finder: it learns, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mlensing.errors import ConfigError, ContractError
from mlensing.inference.ensemble import Ensemble
from mlensing.models.checkpoint import Checkpoint, read_checkpoint
from mlensing.models.onnx_file import weights_digest
from mlensing.simulate.simulator import BLOCK
from mlensing.training.fit import fit_live
from mlensing.training.graft import add_maps

SKY = "surveys: {des: 1}\nclasses: {lens: 1, spiral: 1}\nsize: 32\nrepresentations: {linear: 1, composite: 1}\n"


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sky") / "sky.yaml"
    path.write_text(SKY)
    return str(path)


@pytest.fixture(scope="module")
def finder(sky: str, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("finder")
    return read_checkpoint(
        fit_live(
            sky, draws=2 * BLOCK, epoch_draws=2 * BLOCK, validation_draws=BLOCK, batch_size=BLOCK, model="resnet10",
            model_options={"width": 4, "dropout": 0.2}, accelerator="cpu", num_workers=0, log_dir=str(folder),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def grafted(finder: Checkpoint, sky: str, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("grafted")
    return read_checkpoint(
        add_maps(
            str(finder.path), sky, draws=6 * BLOCK, epoch_draws=3 * BLOCK, validation_draws=BLOCK, batch_size=BLOCK,
            accelerator="cpu", num_workers=0, ema=0.5, log_dir=str(folder),
        )
    )  # fmt: skip


def test_all_but_the_head_is_that_of_the_finder(finder: Checkpoint, grafted: Checkpoint) -> None:
    before, after = finder.content["state_dict"], grafted.content["state_dict"]
    assert all(torch.equal(after[name], tensor) or tensor.isnan().any() for name, tensor in before.items())
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"maps"}
    trunk = {name: after[name.replace("net.", "net.maps.trunk.", 1)] for name in before if name.startswith("net.")}
    assert not torch.equal(trunk["net.conv1.weight"], before["net.conv1.weight"])
    measured = {name: getattr(grafted.contract, name) for name in ("map_spread", "map_residual")}
    assert grafted.contract == finder.contract.model_copy(update={"task": "maps", "map_trunk": True, **measured})
    assert grafted.contract.map_spread != (1.0, 1.0)
    assert grafted.config.items() >= finder.config.items() and grafted.config["maps"]["draws"] == 6 * BLOCK


def test_scores_stay_and_maps_come(finder: Checkpoint, grafted: Checkpoint) -> None:
    image, composite = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.zeros(4).bool()
    alone, both = (Ensemble.load(found.path, "cpu").members[0] for found in (finder, grafted))
    assert torch.equal(alone.score(image, composite).logit, both.score(image, composite).logit)
    assert both.has_maps and not alone.has_maps
    assert weights_digest(both.net) == weights_digest(alone.net)  # ONNX files of the finder still hold
    assert both.maps(image, composite, torch.full((4, 2), 0.26))["kappa"].shape == (4, 32, 32)


def test_the_head_learns(grafted: Checkpoint) -> None:
    losses = pd.read_csv(grafted.path.parents[1] / "metrics.csv")["val_loss"].tolist()
    assert len(losses) == 2 and losses[1] < losses[0]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("surveys: {des: 1}\nclasses: {spiral: 1}\nsize: 32\n", {}, "lenses"),
        (SKY, {"loss": {"bce": 1.0}}, "unknown term bce"),
        (SKY, {"draws": 0}, "draws"),
        (SKY.replace("32", "48"), {}, "input_size 32, this sky has 48"),
        (SKY + "bands: [g, r, i]\n", {}, "bands"),
    ],
)
def test_what_cannot_teach_a_head_is_refused(
    finder: Checkpoint, tmp_path: Path, content: str, options: dict[str, object], said: str
) -> None:
    (tmp_path / "sky.yaml").write_text(content)
    with pytest.raises(ConfigError, match=said):
        add_maps(
            str(finder.path), str(tmp_path / "sky.yaml"), log_dir=str(tmp_path / "logs"),
            **{"draws": BLOCK, "accelerator": "cpu", **options},  # type: ignore[arg-type]
        )  # fmt: skip
    assert not (tmp_path / "logs").exists()


def test_a_second_head_is_refused(grafted: Checkpoint, sky: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="predicts maps already"):
        add_maps(str(grafted.path), sky, draws=BLOCK, log_dir=str(tmp_path / "logs"))


def test_a_head_goes_on_learning_and_only_its_own(
    finder: Checkpoint, grafted: Checkpoint, sky: str, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(grafted.path.parents[1], tmp_path / "version_0"))
    common: dict[str, Any] = {
        "epoch_draws": 3 * BLOCK, "validation_draws": BLOCK, "draws": 9 * BLOCK, "accelerator": "cpu",
        "num_workers": 0, "log_dir": str(tmp_path),
    }  # fmt: skip
    more = add_maps(str(finder.path), sky, resume="auto", **common)
    assert more == run / "checkpoints/best.ckpt"
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [1, 2, 3]
    with pytest.raises(ContractError, match="not a training of this finder's head"):
        add_maps(str(finder.path), sky, resume=str(finder.path), **common)
    (tmp_path / "garbage.ckpt").write_bytes(b"nothing")
    with pytest.raises(ContractError, match="garbage"):
        add_maps(str(finder.path), sky, resume=str(tmp_path / "garbage.ckpt"), **common)
