"""What everything that learns here has in common: a network under a contract, its optimiser, its checkpoints."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mlensing.contract import ModelContract
from mlensing.models.checkpoint import stamp
from mlensing.training.schedules import warmup_cosine


class Learner(LightningModule):
    """A network that learns by AdamW under a contract.

    Attributes:
        figures: what it logs once an epoch, in the order of ``metrics.csv``.
        contract: what goes in and what comes out; rides in every checkpoint.
        config: resolved configuration, kept there too.
        net: the network.
        lr, weight_decay, warmup: peak learning rate; decay of weights, not of norms and biases; share of the steps in
            which the rate rises.
        seed: of all that is drawn in training.
    """

    figures: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss")
    contract: ModelContract
    config: dict[str, Any]
    net: nn.Module
    lr: float
    weight_decay: float
    warmup: float
    seed: int

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine, stepped by the batch."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        decayed, free = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=self.lr)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimiser, partial(warmup_cosine, total=total, warmup=self.warmup))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Contract and configuration ride along."""
        stamp(checkpoint, self.contract, self.config)
