"""Training on a simulated sky: the order of its blocks, restarts, and the sky that validates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mlensing.errors import ConfigError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator
from mlensing.training.finder import Finder
from mlensing.training.fit import fit_live
from mlensing.training.live import LiveData, SimulatedBatches
from mlensing.training.numbered import EpochSampler

MIXTURE = Mixture(surveys={"cfhtls": 1, "des": 1}, classes={"lens": 1, "spiral": 1}, size=32)
SMALL: dict[str, Any] = {
    "epoch_draws": 4 * BLOCK,
    "validation_draws": 2 * BLOCK,
    "batch_size": 2 * BLOCK,
    "model_options": {"width": 4},
    "accelerator": "cpu",
}


@pytest.fixture(autouse=True)
def few_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fit_live.__module__], "MEASURED", 4 * BLOCK)


@pytest.fixture
def mixture(tmp_path: Path) -> str:
    path = tmp_path / "mixture.yaml"
    path.write_text("surveys: {cfhtls: 1, des: 1}\nclasses: {lens: 1, spiral: 1}\nsize: 32\n")
    return str(path)


def test_a_batch_is_made_of_the_blocks_of_its_number() -> None:
    batch = SimulatedBatches(MIXTURE, seed=3, batch_size=2 * BLOCK)[1]
    simulator = Simulator(MIXTURE, seed=3)
    expected = torch.cat([simulator.block(2)["image"], simulator.block(3)["image"]])
    assert torch.equal(batch["image"], expected)
    assert not batch["composite"].any() and torch.equal(batch["dx"], batch["dy"])


def test_ranks_and_epochs_share_the_blocks_out_without_overlap() -> None:
    numbers = []
    for rank in range(3):
        sampler = EpochSampler(4, rank=rank, world=3)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            numbers += list(sampler)
    assert sorted(numbers) == list(range(24))


def test_validation_has_a_sky_of_its_own() -> None:
    data = LiveData(MIXTURE, seed=3, batch_size=BLOCK, epoch_draws=BLOCK, validation_draws=BLOCK)
    assert not torch.equal(data.validation[0]["image"], data.train[0]["image"])
    assert data.held_apart.seed != data.train.seed


def test_workers_change_nothing() -> None:
    kinds = [LiveData(MIXTURE, seed=3, batch_size=BLOCK, epoch_draws=2 * BLOCK, num_workers=n) for n in (0, 1)]
    for here, there in zip(*(data.train_dataloader() for data in kinds), strict=True):
        torch.testing.assert_close(here["image"], there["image"])


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {**SMALL, "draws": 12 * BLOCK, "num_workers": 0, "ema": 0.9}
    whole = fit_live(mixture, log_dir=str(tmp_path / "whole"), **options)
    step = Finder.training_step

    def interrupted(self: Finder, batch: Any, index: int) -> Any:
        if self.global_step == 5:
            raise TimeoutError
        return step(self, batch, index)

    monkeypatch.setattr(Finder, "training_step", interrupted)
    with pytest.raises(TimeoutError):
        fit_live(mixture, log_dir=str(tmp_path / "parts"), **options)
    monkeypatch.setattr(Finder, "training_step", step)
    last = tmp_path / "parts" / "version_0" / "checkpoints" / "last.ckpt"
    parts = fit_live(mixture, log_dir=str(tmp_path / "parts"), resume=str(last), **options)
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (read_checkpoint(path.with_name(name)).content for path in (whole, parts))
        torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0, equal_nan=True)
        assert one["contract"] == other["contract"]
    assert read_checkpoint(last).content["LiveData"]["draws"] == 12 * BLOCK
    changed = {**options, "batch_size": BLOCK}
    with pytest.raises(ConfigError, match="batch_size"):
        fit_live(mixture, log_dir=str(tmp_path / "parts"), resume=str(last), **changed)


def test_the_contract_describes_the_sky(mixture: str, tmp_path: Path) -> None:
    colour = tmp_path / "colour.yaml"
    colour.write_text(Path(mixture).read_text() + "representations: {composite: 1}\n")
    contract = read_checkpoint(
        fit_live(str(colour), draws=BLOCK, num_workers=0, log_dir=str(tmp_path), **SMALL)
    ).contract
    assert contract.bands == ("blue", "green", "red") and contract.input_size == 32
    assert contract.pixel_scale == (0.187, 0.263) and contract.prevalence == 0.5
    assert set(contract.statistics) == {"composite"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": BLOCK + 1}, "multiple"),
        ({"epoch_draws": 1}, "epoch_draws"),
        ({"draws": 0}, "draws"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], said: str, mixture: str, tmp_path: Path) -> None:
    options = {**SMALL, "draws": BLOCK, "num_workers": 0, "log_dir": str(tmp_path), **wrong}
    with pytest.raises(ConfigError, match=said):
        fit_live(mixture, **options)


def test_a_sky_of_lenses_only_teaches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    path.write_text("surveys: {des: 1}\nclasses: {lens: 1}\nsize: 32\n")
    with pytest.raises(ConfigError, match="share of lenses"):
        fit_live(str(path), draws=64, num_workers=0, **SMALL)
