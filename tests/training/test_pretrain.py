"""Pretraining: from folders and skies to a checkpoint that starts a finder; what it tells, resumes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mlensing.catalog import Catalog
from mlensing.cli import main
from mlensing.data.cache import CacheSettings
from mlensing.data.cached import CachedSplit
from mlensing.data.pool import margin_within, pooled
from mlensing.errors import CatalogError, ConfigError, ContractError
from mlensing.inference.ensemble import Ensemble
from mlensing.models import build, classifier
from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.warm_start import warm_start
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import Simulator
from mlensing.training.fit import fit
from mlensing.training.mixed import mixed_data
from mlensing.training.moco import Moco
from mlensing.training.pretrain import pretrain

SMALL: dict[str, Any] = {
    "model_options": {"width": 4}, "input_size": 32, "batch_size": 16, "hidden": 16, "dimension": 8, "lr": 3e-3,
    "accelerator": "cpu",
}  # fmt: skip
SKY = "surveys: {des: 1}\nclasses: {lens: 1, spiral: 1}\nsize: 32\nrepresentations: {linear: 1, composite: 1}\n"


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sky") / "sky.yaml"
    path.write_text(SKY)
    return str(path)


@pytest.fixture(scope="module")
def images(data_dir: Path) -> list[str]:
    """48 images of a folder, labelled in its index and, being of an index, in theory."""
    return [str(data_dir / "train" / "index.csv")]


@pytest.fixture(scope="module")
def pretrained(images: list[str], data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("runs")
    return pretrain(images, epochs=2, labelled=str(data_dir), log_dir=str(logs), **SMALL)


def test_leaves_checkpoints_metrics_and_what_the_features_are_worth(pretrained: Path) -> None:
    folder = pretrained.parent.parent
    assert {p.name for p in pretrained.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["epoch"]) == [1, 2] and table[["train_loss", "val_loss", "val_knn_auroc"]].notna().all(axis=None)
    worth = json.loads((folder / "features.json").read_text())
    assert worth["images"] == 48 and worth["lenses"] == 24
    assert set(worth["pretrained"]) == set(worth["untrained"]) == {"knn_auroc", "linear_auroc"}
    assert json.loads((folder / "provenance.json").read_text())["command"] == "pretrain"


def test_the_contract_says_what_it_is_for(pretrained: Path) -> None:
    contract = read_checkpoint(pretrained, tasks=("features",)).contract
    assert contract.task == "features" and contract.training_hash and contract.bands == ("blue", "green", "red")
    assert contract.pixel_scale == pytest.approx((0.2, 0.2)) and set(contract.statistics) == {"linear"}
    for read in (read_checkpoint, Ensemble.load):
        with pytest.raises(ContractError, match=r"task is 'features', expected classification.*train --init"):
            read(pretrained)


def test_a_finder_is_no_pretrained_network(data_dir: Path, images: list[str], tmp_path: Path) -> None:
    few = {"model_options": {"width": 4}, "input_size": 32, "batch_size": 16, "accelerator": "cpu", "shift_px": 2}
    best = fit(str(data_dir), max_epochs=1, log_dir=str(tmp_path), **few)
    with pytest.raises(ContractError, match=r"task is 'classification', expected features.*mlensing pretrain"):
        pretrain(images, resume=str(best), log_dir=str(tmp_path / "other"), **SMALL)


def test_its_features_start_a_finder_whose_head_is_fresh(pretrained: Path) -> None:
    found = read_checkpoint(pretrained, tasks=("features",))
    contract = found.contract.model_copy(update={"task": "classification"})
    torch.manual_seed(7)
    net = build(contract.name, contract, **contract.options)
    head = classifier(net).head.weight.clone()
    assert warm_start(net, pretrained) == ["fc.bias", "fc.weight"]
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs = found.network()
    torch.testing.assert_close(classifier(net.eval()).features(image), classifier(theirs).features(image))
    assert torch.equal(classifier(net).head.weight, head) and not torch.equal(head, classifier(theirs).head.weight)


def test_train_takes_it_up(pretrained: Path, data_dir: Path, tmp_path: Path) -> None:
    words = [
        "train",
        "--data_dir",
        str(data_dir),
        "--init",
        str(pretrained),
        "--model_options",
        "{width: 4}",
        "--lr",
        "0",
    ]
    few = ["--input_size", "32", "--max_epochs", "1", "--batch_size", "16", "--accelerator", "cpu", "--seed", "7"]
    assert main([*words, *few, "--log_dir", str(tmp_path)]) == 0
    ours = read_checkpoint(tmp_path / "version_0" / "checkpoints" / "best.ckpt").content["state_dict"]
    theirs = read_checkpoint(pretrained, tasks=("features",)).content["state_dict"]
    assert torch.equal(ours["net.layer3.0.conv1.weight"], theirs["net.layer3.0.conv1.weight"])
    assert not torch.equal(ours["net.fc.weight"], theirs["net.fc.weight"])


def test_a_resumed_pretraining_ends_with_the_same_bytes(
    images: list[str], sky: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"mixture": sky, "epochs": 2, "num_workers": 0, "validation_draws": 16, **SMALL}
    whole = pretrain(images, log_dir=str(tmp_path / "whole"), **options).with_name("last.ckpt")

    def killed(self: Moco) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(Moco, "on_train_epoch_start", killed)
        pretrain(images, log_dir=str(tmp_path / "parts"), **options)
    parts = pretrain(images, log_dir=str(tmp_path / "parts"), resume="auto", **options).with_name("last.ckpt")
    one, other = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert one["global_step"] == other["global_step"] and one["epoch"] == 1
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, other["state_dict"][name]), name
    states = [ckpt["optimizer_states"][0]["state"] for ckpt in (one, other)]
    assert all(torch.equal(states[0][i]["exp_avg"], states[1][i]["exp_avg"]) for i in states[0])
    assert (tmp_path / "whole/version_0/metrics.csv").read_text() == (
        tmp_path / "parts/version_0/metrics.csv"
    ).read_text()


def test_a_simulated_sky_alone_teaches_every_architecture_s_input(sky: str, tmp_path: Path) -> None:
    best = pretrain(
        mixture=sky, epochs=1, epoch_draws=64, validation_draws=64, num_workers=0, log_dir=str(tmp_path),
        **{**SMALL, "batch_size": 64},
    )  # fmt: skip
    contract = read_checkpoint(best, tasks=("features",)).contract
    assert set(contract.statistics) == {"linear", "composite"} and contract.pixel_scale == pytest.approx((0.263,) * 2)


def files_of(images: list[str], folder: Path, size: int = 36) -> CachedSplit:
    bands = ("blue", "green", "red")
    return CachedSplit(pooled(images, folder, bands=bands), CacheSettings(bands, size), keep_unlabelled=True)


def test_mixed_batches_hold_each_file_once_a_pass_and_each_sample_once(
    images: list[str], sky: str, tmp_path: Path
) -> None:
    mixture = Mixture.load(sky)
    sizes = {"seed": 3, "batch_size": 20, "epoch_draws": 20, "validation_draws": 20}
    data = mixed_data(files_of(images, tmp_path), mixture, share=0.5, **sizes)
    assert data.epoch_draws == 80 and len(data.train.files) == 43  # type: ignore[attr-defined]
    batches = [data.train[i] for i in range(8)]
    assert all(
        b["image"].shape == (20, 3, 36, 36) and b["as_is"].tolist() == [True] * 10 + [False] * 10 for b in batches
    )
    for one_pass in (batches[:4], batches[4:]):
        assert len({float(pixel) for b in one_pass for pixel in b["image"][:10, 0, 18, 18]}) == 40
    made = torch.cat([b["image"][10:, :, 2:-2, 2:-2] for b in batches])
    simulator = Simulator(mixture, seed=3)
    expected = torch.cat([simulator.block(i)["image"] for i in range(2)])[:80]
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-5)
    again = mixed_data(files_of(images, tmp_path), mixture, share=0.5, **sizes).train[5]  # whoever asks first
    assert all(torch.equal(again[name], batches[5][name]) for name in again)
    held = {float(pixel) for pixel in data.held_apart[0]["image"][:, 0, 18, 18]}
    assert not held & {float(pixel) for b in batches for pixel in b["image"][:, 0, 18, 18]}


def test_what_cannot_be_used_is_told_and_left_out(data_dir: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "torn.fits").write_bytes(b"SIMPLE  = T")
    np.save(folder / "unscaled.npy", np.ones((3, 32, 32), np.float32))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "a.png")
    given = [str(data_dir / "train"), str(folder), str(data_dir / "train" / "index.csv")]
    pretrain(given, epochs=1, log_dir=str(tmp_path / "logs"), **SMALL)
    said = capsys.readouterr().err
    assert "left out 3 images" in said.replace("\n", " ")
    index = next((tmp_path / "logs" / "images").glob("*/index.csv"))
    assert len(Catalog.read(index)) == 48
    reasons = pd.read_csv(index.with_name("rejected.csv"))
    assert {Path(name).name for name in reasons["filepath"]} == {"torn.fits", "unscaled.npy", "a.png"}
    pretrain(given, epochs=1, pixel_scale=0.2, log_dir=str(tmp_path / "logs"), **SMALL)
    assert "left out 1 images" in capsys.readouterr().err.replace("\n", " ")
    best = read_checkpoint(tmp_path / "logs/version_1/checkpoints/best.ckpt", tasks=("features",))
    assert set(best.contract.statistics) == {"linear", "composite"}


def test_a_margin_is_what_images_have(images: list[str], tmp_path: Path) -> None:
    index = pooled(images, tmp_path, bands=("g", "r", "i"))
    assert pooled(images, tmp_path, bands=("g", "r", "i")) == index != pooled(images, tmp_path, bands=("r", "g"))
    assert [margin_within(index, size, most=5) for size in (16, 28, 32, 48)] == [5, 2, 0, 0]
    with pytest.raises(CatalogError, match=r"not one of 48.*expected bands z"):
        pooled(images, tmp_path, bands=("z",))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"momentum": 1.0}, "momentum"),
        ({"noise": -1.0}, "noise"),
        ({"batch_size": 1}, "batch_size"),
        ({"batch_size": 64}, "Take a smaller --batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"mixture": "sky", "simulated_share": 1.5}, "simulated_share"),
        ({"mixture": "sky", "input_size": 64}, "simulates 32"),
        ({"mixture": "sky", "bands": ["g", "r", "i"]}, "bands"),
        ({"labelled": "nowhere"}, "labelled"),
        ({"data": None}, "neither images nor a mixture"),
    ],
)
def test_wrong_settings_are_named(
    wrong: dict[str, Any], said: str, images: list[str], sky: str, tmp_path: Path
) -> None:
    wrong = {**wrong, **({"mixture": sky} if "mixture" in wrong else {})}
    given = {"data": images, "epochs": 1, "log_dir": str(tmp_path), "num_workers": 0, **SMALL, **wrong}
    with pytest.raises(ConfigError, match=said):
        pretrain(**given)
    assert not list(tmp_path.glob("version_*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere.csv"], ("nowhere.csv", "no such index")),
        (["--data"], ("--data", "expected at least one argument")),
        ([], ("neither images nor a mixture", "--mixture")),
        (["--mixture", "nowhere.yaml"], ("nowhere.yaml",)),
        (["--freeze", "1"], ("--freeze",)),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    words: list[str], said: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *words, "--log_dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and all(word in told for word in said)


SCRIPT = """
import torch
import mlensing.training.moco as moco
from mlensing.training.pretrain import pretrain

torch.set_num_threads(1)
seen, alone = [], moco.info_nce

def recorded(query, key, *, temperature, first=0):
    seen.append((query.requires_grad, len(query), len(key), first))
    return alone(query, key, temperature=temperature, first=first)

moco.info_nce = recorded
if __name__ == "__main__":
    kept = []
    moco.Moco.on_fit_end = lambda self: kept.append(self)
    pretrain({images!r}, epochs=1, devices=2, strategy="ddp", log_dir={out!r}, **{small!r})
    state = {{key: value.clone() for key, value in kept[0].state_dict().items()}}
    torch.save({{"seen": seen, "state": state}}, {out!r} + f"/{{kept[0].global_rank}}.pt")
"""


def test_two_processes_share_their_keys_and_end_alike(images: list[str], tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(images=images, out=str(tmp_path), small=SMALL))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank, found in enumerate(both):
        trained = [entry for entry in found["seen"] if entry[0]]
        assert trained and all(entry == (True, 16, 32, 16 * rank) for entry in trained)
    learned = {n: v for n, v in both[0]["state"].items() if "running" not in n and "batches" not in n}
    assert all(torch.equal(value, both[1]["state"][name]) for name, value in learned.items())
    assert [path.name for path in tmp_path.glob("version_*")] == ["version_0"]
