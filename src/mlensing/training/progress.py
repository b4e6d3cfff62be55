"""What a training run shows and records: one bar, one line an epoch, one row of ``metrics.csv``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochProgress(Callback):
    """A progress bar over the batches of an epoch, and the figures of each finished epoch.

    Arguments:
        table: CSV to which every epoch adds a row; a resumed run goes on in the same file.
        figures: what the module logs, in this order.
        console: where to print; standard error by default, so that standard output stays free for results.
    """

    def __init__(self, table: Path, figures: Sequence[str], console: Console | None = None) -> None:
        self.table, self.figures = table, tuple(figures)
        self.console = console or Console(stderr=True)
        self.bar: Progress | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the console, whose locks cannot go to a spawned process; that one prints to standard error."""
        return {**vars(self), "console": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, console=Console(stderr=True))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if not trainer.is_global_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.bar.add_task(f"epoch {trainer.current_epoch + 1}", total=trainer.num_training_batches)
        self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Advance it."""
        if self.bar is not None:
            self.bar.advance(self.bar.task_ids[0])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close it, print and record the epoch."""
        self._close()
        if not trainer.is_global_zero:
            return
        row = self._row(trainer)
        figures = "  ".join(f"{key} {row[key]:.4f}" for key in self.figures if key in row)
        self.console.print(f"epoch {row['epoch']}/{trainer.max_epochs}  {figures}", highlight=False)
        self._record(row)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _row(self, trainer: Trainer) -> dict[str, Any]:
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key in self.figures}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        return {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "lr": rate, **metrics}

    def _record(self, row: dict[str, Any]) -> None:
        fresh = not self.table.exists()
        with self.table.open("a", newline="") as file:
            writer = csv.DictWriter(file, ("epoch", "step", *self.figures, "lr"), restval="")
            if fresh:
                writer.writeheader()
            writer.writerow(row)
