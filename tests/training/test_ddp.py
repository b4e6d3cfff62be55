"""Training in two processes on CPUs: what is shared out, what is the same everywhere, what is written once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.conftest import write_split
from torchmetrics.functional.classification import binary_auroc

from mlensing.data.module import LensDataModule
from mlensing.data.order import InOrder, Shuffled, even_batch_size
from mlensing.errors import ConfigError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK
from mlensing.training.finder import Finder
from mlensing.training.fit import fit
from mlensing.training.live import LiveData

SKY = "surveys: {cfhtls: 1, des: 1}\nclasses: {lens: 1, spiral: 1}\nsize: 32\n"
FILES: dict[str, Any] = {
    "model_options": {"width": 4}, "input_size": 32, "batch_size": 8, "shift_px": 2, "accelerator": "cpu",
    "devices": 2, "strategy": "ddp",
}  # fmt: skip
LIVE: dict[str, Any] = {
    "draws": 8 * BLOCK, "epoch_draws": 4 * BLOCK, "validation_draws": 2 * BLOCK, "batch_size": BLOCK,
    "model_options": {"width": 4}, "accelerator": "cpu", "devices": 2, "strategy": "ddp", "num_workers": 0,
}  # fmt: skip

SCRIPT = """
import sys, time
from pathlib import Path
import torch
import mlensing.training.run as run
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training import Finder, fit, fit_live

torch.set_num_threads(1)
sys.modules[fit.__module__].MEASURED = 128
out, step, calibrate, seen = Path({out!r}), Finder.training_step, run.calibrate, []

def recorded(self, batch, index):
    loss = step(self, batch, index)
    seen.append((self.current_epoch, batch["image"][:, 0, 16, 16].clone(), float(loss)))
    return loss

def slow(*given, **options):
    time.sleep(0.5)
    return calibrate(*given, **options)

def train(name, function, *given, **options):
    finder = []
    Finder.on_fit_end = lambda self: finder.append(self)
    seen.clear()
    best = function(*given, log_dir=str(out / name), **options)
    kept = read_checkpoint(best)  # calibrated already, whichever process reads it
    state = {{key: value.clone() for key, value in finder[0].state_dict().items()}}
    found = {{"best": str(best), "contract": kept.contract.model_dump_json(), "seen": list(seen), "state": state}}
    torch.save(found, out / f"{{name}}-{{finder[0].global_rank}}.pt")

Finder.training_step, run.calibrate = recorded, slow
if __name__ == "__main__":
    train("files", fit, {data!r}, max_epochs=1, **{files!r})
    last = str(out / "files/version_0/checkpoints/last.ckpt")
    train("resumed", fit, {data!r}, max_epochs=2, resume=last, **{files!r})
    train("live", fit_live, {sky!r}, **{live!r})
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images to train on, and 17 to validate: two processes with batches of 8 have one more to share."""
    folder = tmp_path_factory.mktemp("odd")
    for seed, (split, count) in enumerate({"train": 48, "val": 17}.items()):
        write_split(folder / split, count=count, seed=seed)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pair")
    sky = out / "sky.yaml"
    sky.write_text(SKY)
    script = out / "train.py"
    script.write_text(SCRIPT.format(out=str(out), data=str(data), sky=str(sky), files=FILES, live=LIVE))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    return out


def of_both(trained: Path, name: str) -> list[dict[str, Any]]:
    return [torch.load(trained / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", ["files", "resumed", "live"])
def test_both_end_with_the_same_weights_and_the_same_calibrated_checkpoint(trained: Path, name: str) -> None:
    first, second = of_both(trained, name)
    assert all(torch.equal(first["state"][key], second["state"][key]) for key in first["state"])
    assert first["best"] == second["best"] and first["contract"] == second["contract"]
    assert read_checkpoint(first["best"]).contract.model_dump_json() == first["contract"]


def test_every_image_is_seen_once_an_epoch_and_by_one_process(trained: Path, data: Path) -> None:
    split = LensDataModule(data, input_size=32, margin=2).split("train")
    pixels = torch.cat([image for found in of_both(trained, "files") for _, image, _ in found["seen"]])
    expected = torch.from_numpy(split.cache.images[:, 0, 16, 16].copy())
    assert len(expected.unique()) == 48 and torch.equal(pixels.sort().values, expected.sort().values)


def test_every_simulated_block_is_seen_once(trained: Path) -> None:
    seed = 42
    batches = LiveData(Mixture.load(trained / "sky.yaml"), seed=seed, batch_size=BLOCK).train
    expected = torch.cat([batches[i]["image"][:, 0, 16, 16] for i in range(8)])
    pixels = torch.cat([image for found in of_both(trained, "live") for _, image, _ in found["seen"]])
    torch.testing.assert_close(pixels.sort().values, expected.sort().values)


@pytest.mark.parametrize("names", [("files", "resumed"), ("live",)])
def test_the_training_loss_is_that_of_both(trained: Path, names: tuple[str, ...]) -> None:
    table = pd.read_csv(trained / names[0] / "version_0" / "metrics.csv")
    steps = [step for name in names for found in of_both(trained, name) for step in found["seen"]]
    for epoch, told in zip(table["epoch"] - 1, table["train_loss"], strict=True):
        losses = [loss for at, _, loss in steps if at == epoch]
        assert told == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["files", "live"])
def test_the_validation_is_that_of_one_process(trained: Path, data: Path, name: str) -> None:
    best = Path(of_both(trained, name)[0]["best"])
    table = pd.read_csv(best.parents[1] / "metrics.csv")
    told, finder = table.loc[table["val_loss"].idxmin()], Finder.load(best)
    alone: Any = LensDataModule(data, input_size=32, batch_size=8)
    if name == "live":
        alone = LiveData(Mixture.load(trained / "sky.yaml"), seed=42, batch_size=BLOCK, validation_draws=2 * BLOCK)
    batches = list(alone.val_dataloader())
    label = torch.cat([batch["label"] for batch in batches])
    logit = torch.cat([finder.validation_logit(batch, i) for i, batch in enumerate(batches)])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label)
    assert told["val_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert told["val_auroc"] == pytest.approx(float(binary_auroc(logit, label.int())), abs=1e-4)


def test_all_is_written_once_and_a_resumed_training_goes_on(trained: Path) -> None:
    folder = trained / "files" / "version_0"
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"] and not (trained / "resumed").exists()
    assert {path.name for path in folder.iterdir()} == {"checkpoints", "metrics.csv", "provenance.json"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(pd.read_csv(folder / "metrics.csv")["epoch"]) == [1, 2]
    assert json.loads((folder / "provenance.json").read_text())["config"]["devices"] == 2
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt").content["global_step"] == 6


def command(data: Path, logs: Path, devices: int = 2) -> list[str]:
    door = Path(__file__).parents[2] / "src" / "lit_train.py"
    flags = {
        "data_dir": data, "log_dir": logs, "model_options": "{width: 4}", "input_size": 32, "batch_size": 8,
        "max_epochs": 1, "accelerator": "cpu", "devices": devices,
    }  # fmt: skip
    return [str(door), *(f"--{name}={value}" for name, value in flags.items())]


def check_single_run(logs: Path, told: str) -> None:
    best = logs / "version_0" / "checkpoints" / "best.ckpt"
    assert told.count("wrote") == 1 and str(best) in told
    assert [path.name for path in logs.iterdir()] == ["version_0"]
    assert read_checkpoint(best).content["global_step"] == 3 and read_checkpoint(best).contract.calibration


def test_torchrun(data: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*run, *command(data, tmp_path / "logs")], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    check_single_run(tmp_path / "logs", done.stdout)


def test_what_slurm_tells_its_tasks(data: Path, tmp_path: Path) -> None:
    """The variables of srun, without SLURM."""
    for split in ("train", "val"):
        for path in (data / split / ".mlensing_cache").glob("*"):
            path.unlink()  # both find no cache, and one builds it
    slurm = {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "finder", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1", "SLURM_STEP_NUM_TASKS": "2",
        "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    started = []
    for rank in ("0", "1"):
        of_task = environment(**slurm, SLURM_PROCID=rank, SLURM_LOCALID=rank)
        words = [sys.executable, *command(data, tmp_path / "logs")]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=of_task))
    told = [task.communicate(timeout=300) for task in started]
    assert [task.returncode for task in started] == [0, 0], told
    check_single_run(tmp_path / "logs", "".join(out for out, _ in told))


@pytest.mark.parametrize("started", [{"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}])
def test_processes_that_would_each_train_alone_are_refused(
    started: dict[str, str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="2 processes were started"):
        fit(str(data), log_dir=str(tmp_path / "logs"), **{**FILES, "devices": 1, "strategy": "auto"})
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(("rows", "batch_size", "world"), [(17, 8, 2), (16, 8, 2), (5, 1, 2), (101, 8, 3), (7, 2, 4)])
def test_shares_make_the_same_number_of_batches(rows: int, batch_size: int, world: int) -> None:
    size = even_batch_size(rows, batch_size, world)
    shares = [list(InOrder(rows, rank=rank, world=world)) for rank in range(world)]
    assert len({-(-len(share) // size) for share in shares}) == 1
    assert sorted(row for share in shares for row in share) == list(range(rows))


def test_more_processes_than_images_are_refused() -> None:
    for kind in (lambda: Shuffled(3, seed=0, world=4), lambda: InOrder(3, world=4)):
        with pytest.raises(ConfigError, match="4 processes for 3 images"):
            kind()
