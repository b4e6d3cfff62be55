"""The mapper: a network of maps, the pixels it takes and the way it learns, as one Lightning module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MeanSquaredError

from mlensing.contract import ModelContract
from mlensing.data.normalise import Normaliser
from mlensing.gnn import build_maps
from mlensing.gnn.heads import Maps
from mlensing.gnn.truth import node_maps
from mlensing.models.checkpoint import read_checkpoint
from mlensing.physics.grid import Value
from mlensing.training.learner import Learner
from mlensing.training.losses import MAP_TERMS, total_loss, with_teacher

WEIGHTS = {"kappa": 1.0, "psi": 0.1, "poisson": 0.01}
"""Weights of the losses if none are given: each then changes the network about as much as any other."""


class Mapper(Learner):
    """Learns kappa, psi and alpha from images with true maps.

    Arguments:
        contract: what goes in and what comes out, task ``mass_maps``; rides in every checkpoint.
        net: a network of ``gnn.build_maps``.
        lr, weight_decay, warmup: as for ``training.Finder``.
        loss: weights of the terms of ``training.losses.MAP_TERMS``; None is ``WEIGHTS``.
        teacher: what else says maps of an image, called as this is; the loss ``consistency`` then compares with it.
        seed: of weights and sky, kept for the record.
        config: resolved configuration, kept in the checkpoint.

    Raises:
        ConfigError: no loss, an unknown one, or ``consistency`` without a teacher.

    See also: ``training.fit_maps`` runs it.
    """

    figures: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss", "val_kappa_rmse")

    def __init__(
        self,
        contract: ModelContract,
        net: nn.Module,
        *,
        lr: float = 2e-3,
        weight_decay: float = 1e-4,
        warmup: float = 0.1,
        loss: Mapping[str, float] | None = None,
        teacher: Callable[..., Maps] | None = None,
        seed: int = 42,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.contract, self.config, self.seed = contract, dict(config or {}), seed
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        known = MAP_TERMS if teacher is None else (*MAP_TERMS, "consistency")
        self.loss = total_loss(WEIGHTS if loss is None else loss, known=known)
        self.net, self.normaliser = net, Normaliser(contract)
        self.__dict__["teacher"] = teacher  # not a part: its weights are neither trained nor kept
        self.val_loss, self.kappa_rmse = MeanMetric(), MeanSquaredError(squared=False)

    @classmethod
    def load(cls, path: str | Path) -> Mapper:
        """The mapper of a checkpoint, on the CPU, in evaluation mode.

        Raises:
            ContractError: as ``models.checkpoint.read_checkpoint``; a lens finder's checkpoint too.
        """
        checkpoint = read_checkpoint(path, tasks=("mass_maps",))
        return cls(checkpoint.contract, checkpoint.network(build_maps), config=checkpoint.config).eval()

    def forward(self, image: Tensor, *, dx: Value, dy: Value) -> Maps:
        """Raw linear image [B, C, H, W] and size of a pixel [arcsec] -> maps at the spacing of the patches."""
        pixels = self.normaliser(image, torch.zeros(len(image), dtype=torch.bool, device=image.device))
        return self.net(pixels, dx=dx, dy=dy)  # type: ignore[no-any-return]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        _, _, loss = self._compared(batch)
        self.log("train_loss", loss, batch_size=len(batch["image"]), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and root mean square error of kappa over the trusted nodes."""
        output, truth, loss = self._compared(batch)
        count, trusted = len(batch["image"]), truth["trusted"]
        self.val_loss.update(loss, count)
        self.kappa_rmse.update(output["kappa"][trusted].contiguous(), truth["kappa"][trusted].contiguous())
        self.log("val_loss", self.val_loss, on_epoch=True, batch_size=count)
        self.log("val_kappa_rmse", self.kappa_rmse, on_epoch=True, batch_size=count)

    def _compared(self, batch: Mapping[str, Tensor]) -> tuple[Maps, dict[str, Tensor], Tensor]:
        """What the network says, the truth at its nodes, and the loss."""
        image, dx, dy = batch["image"], batch["dx"], batch["dy"]
        output = self(image, dx=dx, dy=dy)
        truth = node_maps(batch, image.shape[-1] // output["kappa"].shape[-1])
        teacher = self.__dict__["teacher"]
        if teacher is not None:
            with torch.no_grad():
                truth = with_teacher(truth, teacher(image, dx=dx, dy=dy))
        return output, truth, self.loss(output, truth)
