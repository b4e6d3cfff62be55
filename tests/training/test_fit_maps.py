"""Training of maps: checkpoints that come back, restarts, the teacher's hook, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from mlensing.errors import ConfigError, ContractError
from mlensing.gnn.truth import node_maps
from mlensing.inference import Predictor
from mlensing.models.checkpoint import read_checkpoint
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.simulator import BLOCK
from mlensing.training import maps
from mlensing.training.finder import Finder
from mlensing.training.live import LiveData, SimulatedBatches
from mlensing.training.mapper import Mapper
from mlensing.training.maps import fit_maps

SKY = "surveys: {des: 1}\nclasses: {lens: 1}\nsize: 32\n"
SMALL: dict[str, Any] = {
    "epoch_draws": BLOCK,
    "validation_draws": BLOCK,
    "model_options": {"width": 10, "depth": 1},
    "num_workers": 0,
    "accelerator": "cpu",
}


@pytest.fixture(autouse=True, scope="module")
def few_measured() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "MEASURED", BLOCK)
        yield


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sky") / "sky.yaml"
    path.write_text(SKY)
    return str(path)


@pytest.fixture(scope="module")
def trained(mixture: str) -> Path:
    """``best.ckpt`` of two epochs in one go."""
    return fit_maps(mixture, draws=2 * BLOCK, log_dir=str(Path(mixture).parent / "logs"), **SMALL)


@pytest.fixture(scope="module")
def block() -> dict[str, Tensor]:
    made = Simulator(Mixture(surveys={"des": 1}, classes={"lens": 1}, size=32), seed=8).block(0, maps=True)
    return {**made, "dy": made["dx"]}


def test_a_training_leaves_what_it_promises(trained: Path) -> None:
    folder = trained.parents[1]
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table.columns) == ["epoch", "step", "train_loss", "val_loss", "val_kappa_rmse", "lr"]
    assert len(table) == 2 and table.notna().all(axis=None) and table["val_loss"].iloc[1] < table["val_loss"].iloc[0]
    assert (folder / "provenance.json").is_file() and trained.with_name("last.ckpt").is_file()
    contract = read_checkpoint(trained, tasks=("mass_maps",)).contract
    assert contract.task == "mass_maps" and contract.name == "lens_gnn" and contract.options["depth"] == 1


@torch.no_grad()
def test_it_comes_back_as_it_was_validated(trained: Path, block: dict[str, Tensor]) -> None:
    """The figure of the best epoch, again, from file and sky."""
    mapper = Mapper.load(trained)
    sky = Mixture(surveys={"des": 1}, classes={"lens": 1}, size=32)
    (batch,) = LiveData(sky, seed=42, epoch_draws=BLOCK, validation_draws=BLOCK, maps=True).validation
    truth = node_maps(batch, 2)
    wrong = (mapper(batch["image"], dx=batch["dx"], dy=batch["dy"])["kappa"] - truth["kappa"])[truth["trusted"]]
    table = pd.read_csv(trained.parents[1] / "metrics.csv")
    assert float(wrong.square().mean().sqrt()) == pytest.approx(table["val_kappa_rmse"].min(), rel=1e-4)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    trained: Path, mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Mapper.training_step

    def interrupted(self: Mapper, batch: Any, index: int) -> Any:
        if self.global_step == 1:
            raise TimeoutError
        return step(self, batch, index)

    monkeypatch.setattr(Mapper, "training_step", interrupted)
    with pytest.raises(TimeoutError):
        fit_maps(mixture, draws=2 * BLOCK, log_dir=str(tmp_path), **SMALL)
    monkeypatch.setattr(Mapper, "training_step", step)
    last = tmp_path / "version_0/checkpoints/last.ckpt"
    parts = fit_maps(mixture, draws=2 * BLOCK, log_dir=str(tmp_path), resume="auto", **SMALL)
    assert parts.parent == last.parent
    one, other = (
        read_checkpoint(path.with_name("last.ckpt"), tasks=("mass_maps",)).content for path in (trained, parts)
    )
    torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0, equal_nan=True)
    assert one["contract"] == other["contract"] and one["LiveData"]["draws"] == 2 * BLOCK
    with pytest.raises(ContractError, match="options"):
        fit_maps(mixture, draws=3 * BLOCK, resume=str(last), log_dir=str(tmp_path), **{**SMALL, "model_options": {}})


def test_maps_ride_with_simulated_batches() -> None:
    sky = Mixture(surveys={"des": 1}, classes={"lens": 1}, size=32)
    batch = SimulatedBatches(sky, seed=3, batch_size=BLOCK, maps=True)[1]
    assert torch.equal(batch["kappa"], Simulator(sky, seed=3).block(1, maps=True)["kappa"])


def test_finders_and_networks_of_maps_are_not_mistaken_for_each_other(trained: Path) -> None:
    for read in (Finder.load, Predictor.load):
        with pytest.raises(ContractError, match=r"task is 'mass_maps', expected classification.*lens finder"):
            read(trained)
    released = next((Path(maps.__file__).parents[1] / "released").glob("*.safetensors"))
    with pytest.raises(ContractError, match=r"task is 'classification', expected mass_maps.*train_maps"):
        Mapper.load(released)


def test_a_teacher_pulls_without_labels(trained: Path, block: dict[str, Tensor]) -> None:
    teacher = Mapper.load(trained)
    of = {"lr": 1e-2, "loss": {"consistency": 1.0}, "teacher": teacher}
    torch.manual_seed(0)
    student = Mapper(teacher.contract, maps.build_maps("lens_gnn", teacher.contract, width=10, depth=1), **of)
    block = {key: value[:8] for key, value in block.items()}
    unlabelled = {**block, "kappa": block["kappa"] * torch.nan, "psi": block["psi"] * torch.nan}
    before = [value.clone() for value in teacher.state_dict().values()]
    optimiser = torch.optim.Adam(student.net.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = student._compared(unlabelled)[2]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))
    assert not [key for key in student.state_dict() if "teacher" in key]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"model": "resnet18"}, "lens_gnn, unet"),
        ({"draws": 0}, "draws"),
        ({"loss": {"bce": 1.0}}, "bce"),
        ({"loss": {"consistency": 1.0}}, "consistency"),
        ({"loss": {}}, "no term"),
        ({"batch_size": 32}, "block of 64"),
        ({"mixture": "absent.yaml"}, "absent.yaml"),
        ({"model_options": {"patch": 3}}, "patch=3"),
    ],
)
def test_what_cannot_be_trained_is_refused(wrong: dict[str, Any], said: str, mixture: str, tmp_path: Path) -> None:
    given = {"mixture": mixture, "draws": BLOCK, "log_dir": str(tmp_path / "logs"), **SMALL, **wrong}
    with pytest.raises(ConfigError, match=said):
        fit_maps(**given)
    assert not (tmp_path / "logs").exists()


def test_colour_composites_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "colour.yaml"
    path.write_text(SKY + "representations: {linear: 1, composite: 1}\n")
    with pytest.raises(ConfigError, match="50 % of its images are colour composites"):
        fit_maps(str(path), draws=BLOCK, log_dir=str(tmp_path), **SMALL)
