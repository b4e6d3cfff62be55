"""One training run: its folder, its trainer, its checkpoints, and the calibration at its end."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor

from mlensing.contract import Calibration
from mlensing.data.statistics import image_statistics
from mlensing.errors import ConfigError
from mlensing.evaluation.calibration import remove_class_weight_shift
from mlensing.evaluation.calibrators import fit_calibration
from mlensing.evaluation.positive_unlabelled import fit_unlabelled
from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.domain import Domain
from mlensing.provenance import provenance, write_json
from mlensing.training.finder import Finder
from mlensing.training.learner import Learner
from mlensing.training.map_quality import learn_map_quality
from mlensing.training.progress import EpochProgress
from mlensing.training.schedules import averaging_decay

Monitor = Literal["val_loss", "val_auroc"]


def run(
    finder: Finder,
    data: LightningDataModule,
    *,
    command: str,
    max_epochs: int,
    patience: int | None,
    monitor: Monitor,
    ema: float,
    resume: str | Path | None,
    log_dir: str | Path,
    **trainer: Any,
) -> Path:
    """Train, and calibrate the best weights on the validation split.

    Arguments:
        finder, data: what learns, and from what.
        command: what the user ran, for the provenance.
        max_epochs, patience: when to stop: at the latest, and after so many epochs without improvement (None: never).
        monitor: the figure that decides which epoch is best.
        ema: decay of the average of the weights that is validated and kept; 0 keeps the weights themselves.
        resume: a ``last.ckpt`` to go on from, in its own folder.
        log_dir: parent of the folders ``version_0``, ``version_1``, ...
        trainer: further arguments of Lightning's ``Trainer``.

    Returns:
        path of ``best.ckpt``.

    Raises:
        ConfigError: a trainer that cannot be had here, or more epochs behind ``resume`` than ``max_epochs``.
    """
    path, loop = learn(
        finder, data, command=command, max_epochs=max_epochs, patience=patience, monitor=monitor, ema=ema,
        resume=resume, log_dir=log_dir, **trainer,
    )  # fmt: skip
    data.trainer = None  # from here on a loader has every row, not a process' share
    if loop.is_global_zero:
        calibrate(path, data, loop.strategy.root_device, prior=finder.prior)
        learn_domain(path, data, loop.strategy.root_device)
        if finder.contract.task == "maps":
            learn_map_quality(path, data, loop.strategy.root_device)
    loop.strategy.barrier()  # nobody may read the checkpoint before it is calibrated
    return path


def learn(
    learner: Learner,
    data: LightningDataModule,
    *,
    command: str,
    max_epochs: int,
    patience: int | None,
    monitor: str,
    ema: float,
    resume: str | Path | None,
    log_dir: str | Path,
    **trainer: Any,
) -> tuple[Path, Trainer]:
    """The training itself; arguments as for ``run``.

    Returns:
        path of ``best.ckpt``, and the trainer.
    """
    require_epochs_left(resume, max_epochs)
    folder = run_folder(Path(log_dir), None if resume is None else Path(resume))
    best = _checkpointing(folder, monitor)
    mode = "max" if monitor == "val_auroc" else "min"
    callbacks: list[Callback] = [EpochProgress(folder / "metrics.csv", learner.figures), *best]
    if patience is not None:
        callbacks.append(EarlyStopping(monitor, patience=patience, mode=mode))
    if ema > 0:
        callbacks.append(_averaging(ema))
    with quiet():
        loop = _loop(default_root_dir=folder, max_epochs=max_epochs, callbacks=callbacks, **trainer)
        if loop.is_global_zero:  # the other processes are told the folder by the checkpoint callback
            if resume is None:
                _make(folder)
            write_json(folder / "provenance.json", provenance(command, learner.config, learner.seed))
        loop.fit(learner, data, ckpt_path=resume, weights_only=True)
    return Path(best[0].best_model_path), loop


def _loop(**options: Any) -> Trainer:
    """Lightning's trainer, without its output; the data share themselves out to processes.

    Raises:
        ConfigError: an accelerator, a number of devices or a strategy that is not to be had here, or another number
            of processes than were started.
    """
    options |= {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    try:
        loop = Trainer(num_sanity_val_steps=0, use_distributed_sampler=False, **options)
    except (MisconfigurationException, ValueError) as error:
        remedy = "Correct --accelerator, --devices, --num_nodes, --strategy or --precision; auto always works."
        raise ConfigError("trainer", " ".join(str(error).split()).rstrip(".!"), remedy) from error
    started = os.environ.get("WORLD_SIZE" if TorchElasticEnvironment.detect() else "SLURM_STEP_NUM_TASKS")
    if started is not None and int(started) != loop.world_size:  # each would train alone, or wait for ever
        problem = f"{started} processes were started, and --devices times --num_nodes is {loop.world_size}"
        raise ConfigError("devices", problem, "Give torchrun or srun and the training the same numbers.")
    return loop


def checkpoint_to_resume(resume: str | None, log_dir: str) -> str | None:
    """The checkpoint to go on from: ``auto`` stands for the newest ``last.ckpt`` of ``log_dir``, or none."""
    if resume != "auto":
        return resume
    found = Path(log_dir).glob("version_*/checkpoints/last.ckpt")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else str(newest)


def require_epochs_left(resume: str | Path | None, max_epochs: int) -> None:
    """Refuse to go on from a checkpoint that has more epochs behind it than are wanted in all.

    Raises:
        ConfigError: it has.
    """
    done = 0 if resume is None else torch.load(resume, map_location="cpu", weights_only=True)["epoch"] + 1
    if done > max_epochs:
        remedy = "Ask for more epochs (or draws), or train in another --log_dir."
        raise ConfigError(str(resume), f"it has {done} epochs behind it, and {max_epochs} are wanted", remedy)


def run_folder(log_dir: Path, resume: Path | None) -> Path:
    """The folder of this run: that of the checkpoint it resumes, else the next free ``version_N``."""
    if resume is not None and resume.parent.name == "checkpoints":
        return resume.parent.parent
    taken = [int(p.name[8:]) for p in log_dir.glob("version_*") if p.name[8:].isdigit()]
    return log_dir / f"version_{max(taken, default=-1) + 1}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(folder, f"cannot make this folder ({error})", "Give another --log_dir.") from error


def calibrate(
    path: Path, data: LightningDataModule, device: torch.device | str = "cpu", *, kind: str = "temperature",
    prior: float | None = None,
) -> Calibration:  # fmt: skip
    """Fit a calibration on the validation split and store it in the checkpoint's contract.

    Probabilities are then ``sigmoid(c(logit - log r))``, r being the class-weight ratio of the loss and c the map.

    Arguments:
        path: the checkpoint.
        data: with the validation split.
        device: of the network.
        kind: of the calibration, where there are labels of both classes.
        prior: share of lenses among unlabelled images; with it the calibration is ``fit_unlabelled``.
    """
    checkpoint = read_checkpoint(path)
    ratio = checkpoint.contract.class_weight_ratio
    labels, logits = scores(path, data, device, unlabelled=prior is not None)
    logits = remove_class_weight_shift(logits, ratio)
    found = fit_calibration(kind, logits, labels) if prior is None else fit_unlabelled(logits, labels, prior)
    checkpoint.with_contract(checkpoint.contract.model_copy(update={"calibration": found}))
    return found


@torch.no_grad()
def scores(
    path: Path, data: LightningDataModule, device: torch.device | str = "cpu", *, unlabelled: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels [N] of the validation split, and logits [N] as trained; ``unlabelled``: also of rows without a label."""
    finder = Finder.load(path).to(device)
    pairs = [_said(finder, batch, i, unlabelled) for i, batch in enumerate(data.val_dataloader())]
    labels, logits = (torch.cat(column).double().cpu().numpy() for column in zip(*pairs, strict=True))
    return labels, logits


@torch.no_grad()
def learn_domain(path: Path, data: LightningDataModule, device: torch.device | str = "cpu") -> None:
    """Store in the checkpoint what images the network has been shown, by those of the validation split."""
    finder, found = Finder.load(path).to(device), []
    for index, batch in enumerate(data.val_dataloader()):
        image, composite = finder.validation_images({k: v.to(finder.device) for k, v in batch.items()}, index)
        found.append((image_statistics(finder.normaliser(image, composite)).cpu(), composite.cpu()))
    checkpoint = read_checkpoint(path).with_domain(Domain.fit(*map(torch.cat, zip(*found, strict=True))))
    checkpoint.with_contract(checkpoint.contract)


def _said(finder: Finder, batch: Mapping[str, Tensor], index: int, unlabelled: bool) -> tuple[Tensor, Tensor]:
    batch = {key: value.to(finder.device) for key, value in batch.items()}
    kept = ~torch.isnan(batch["label"]) | unlabelled
    return batch["label"][kept], finder.validation_logit(batch, index)[kept]


def _checkpointing(folder: Path, monitor: str) -> list[ModelCheckpoint]:
    """``best.ckpt`` by the monitored figure, then ``last.ckpt``, whose state so includes what was best."""
    mode = "max" if monitor == "val_auroc" else "min"
    common: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor=monitor, mode=mode, **common)
    return [best, ModelCheckpoint(filename="last", **common)]


def _averaging(decay: float) -> WeightAveraging:
    """Exponential moving average of weights and running statistics, warmed up as 1 - 9 / (10 + steps)."""
    if not 0 < decay < 1:
        raise ConfigError("ema", f"expected a decay in [0, 1), got {decay}", "Take 0.999, or 0 for none.")
    return WeightAveraging(avg_fn=partial(_average, decay))


def _average(decay: float, mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    keep = averaging_decay(int(count), decay=decay)
    return mean * keep + new * (1 - keep)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the trainer's banners, tips and advice; errors come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", module=r"torchmetrics\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
