"""Training time of our loop over that of a bare PyTorch loop on tensors in memory, doing the same arithmetic.

Epochs of the two take turns in one process, so that whatever else the machine does falls on both.
Run: python benchmarks/train_loop.py [--full]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mlensing.data.augment import augment
from mlensing.data.module import LensDataModule
from mlensing.models import build
from mlensing.training.describe import new_contract
from mlensing.training.finder import Finder
from mlensing.training.losses import weighted_bce
from mlensing.training.progress import EpochProgress
from mlensing.training.run import quiet

SIZE, SHIFT, BATCH = 64, 4, 64


def write_images(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (folder / split).mkdir()
        lines = ["filepath,label,pixel_scale_arcsec"]
        for i in range(count):
            np.save(folder / split / f"{i}.npy", generator.normal(size=(3, SIZE, SIZE)).astype(np.float32))
            lines.append(f"{i}.npy,{i % 2},0.2")
        (folder / split / "index.csv").write_text("\n".join(lines))


def bare_epoch(finder: Finder, batches: dict[str, torch.Tensor]) -> Callable[[], float]:
    """A plain loop with a network and an optimiser of its own; each call is an epoch and returns its seconds."""
    net = build(finder.contract.name, finder.contract, **finder.contract.options)
    net = net.to(memory_format=torch.channels_last).train()
    groups = [[p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim <= 1]]
    optimiser = torch.optim.AdamW([{"params": g, "weight_decay": 1e-4 * (i == 0)} for i, g in enumerate(groups)])
    generator = torch.Generator().manual_seed(0)

    def epoch() -> float:
        start = time.perf_counter()
        for rows in torch.randperm(len(batches["label"]), generator=generator).split(BATCH):
            image, _ = augment(batches["image"][rows], {}, generator, shift_px=SHIFT, size=SIZE)
            pixels = finder.normaliser(image, batches["composite"][rows])
            logit = net(pixels.contiguous(memory_format=torch.channels_last))
            loss = weighted_bce({"logit": logit}, {"label": batches["label"][rows]})
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return time.perf_counter() - start

    return epoch


class TakingTurns(Callback):
    """Times our epochs, and runs a bare one after each."""

    def __init__(self, bare: Callable[[], float]) -> None:
        self.bare, self.ratios = bare, []
        self.start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start of ours."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End of ours, and a bare one."""
        ours = time.perf_counter() - self.start
        bare = self.bare()
        if trainer.current_epoch > 0:  # the first of each warms up
            self.ratios.append(ours / bare)


def measure(width: int, count: int, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count)
        data = LensDataModule(folder, input_size=SIZE, batch_size=BATCH, margin=SHIFT)
        data.prepare_data()
        contract = new_contract(None, name="resnet18", options={"width": width}, **data.contract_fields())
        finder = Finder(contract, build(contract.name, contract, width=width), shift_px=SHIFT)
        turns = TakingTurns(bare_epoch(finder, data.split("train").__getitems__(range(count))))
        with quiet():
            trainer = Trainer(
                max_epochs=epochs + 1, callbacks=[EpochProgress(Path(folder) / "metrics.csv"), turns],
                logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                accelerator="cpu", devices=1, limit_val_batches=0, num_sanity_val_steps=0,
            )  # fmt: skip
            trainer.fit(finder, data)
    return statistics.median(turns.ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the published width, more images and epochs")
    full = parser.parse_args().full
    torch.set_num_threads(1)  # threads waiting for each other would drown the difference
    ratio = measure(width=64, count=512, epochs=5) if full else measure(width=16, count=256, epochs=6)
    print(f"TRAIN_LOOP_OVERHEAD = {ratio:.2f} (aim 1.10)")


if __name__ == "__main__":
    main()
