"""The finder: a network, the pixels it takes and the way it learns, as one Lightning module.

Everything that costs arithmetic (augmentation, colour composites, normalisation) happens in batches on the
device of the network; loaders only copy raw pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import BinaryAUROC

from mlensing.contract import ModelContract
from mlensing.data.augment import augment
from mlensing.data.normalise import Normaliser
from mlensing.evaluation.positive_unlabelled import unlabelled_auc
from mlensing.models.checkpoint import read_checkpoint
from mlensing.models.maps import predict_maps
from mlensing.training.learner import Learner
from mlensing.training.losses import total_loss

MOVED = ("kappa", "psi", "alpha", "mask", "dx", "dy")
"""What of a batch turns and shifts with its images."""

Compose = Callable[[Tensor, Mapping[str, Tensor], Generator], Tensor]
"""``(image [B,3,H,W], batch, generator) -> 0..255 [B,3,H,W]``: linear light as some survey's 8-bit colour."""


class Finder(Learner):
    """Learns to tell lenses from everything else.

    Arguments:
        contract: what goes in and what comes out; rides in every checkpoint.
        net: a network of ``models.build``.
        lr: peak learning rate of AdamW.
        weight_decay: on weights only; norms and biases are not decayed.
        warmup: share of the steps of the linear warm-up before the cosine.
        loss: weights of the terms of ``losses.LOSSES``.
        prior: share of lenses among unlabelled images; with it validation needs no non-lenses.
        composites: share of the linear rows that become 8-bit colour, drawn anew in every step.
        compose: makes them; needed when ``composites`` is above 0.
        shift_px, rotate_deg: ranges of the augmentation [px, degrees].
        seed: of augmentation, composites and dropout.
        config: resolved configuration, kept in the checkpoint.

    See also: ``training.fit`` runs it; ``inference.Predictor`` uses what it learned.
    """

    figures: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss", "val_auroc")

    def __init__(
        self,
        contract: ModelContract,
        net: nn.Module,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup: float = 0.1,
        loss: Mapping[str, float] | None = None,
        prior: float | None = None,
        composites: float = 0.0,
        compose: Compose | None = None,
        shift_px: int = 4,
        rotate_deg: float = 0.0,
        seed: int = 42,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.contract, self.config, self.seed = contract, dict(config or {}), seed
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.composites, self.compose = composites, compose
        self.shift_px, self.rotate_deg = shift_px, rotate_deg
        self.loss, self.prior = total_loss(loss or {"bce": 1.0}), prior
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normaliser = Normaliser(contract)
        self.auroc, self.val_loss = BinaryAUROC(), MeanMetric()
        self.held_out = CatMetric(nan_strategy="disable")

    @classmethod
    def load(cls, path: str | Path) -> Finder:
        """The finder of a checkpoint, on the CPU, in evaluation mode.

        Raises:
            ContractError: as ``models.checkpoint.read_checkpoint``.
        """
        checkpoint = read_checkpoint(path)
        return cls(checkpoint.contract, checkpoint.network(), config=checkpoint.config).eval()

    def forward(self, image: Tensor, composite: Tensor) -> Tensor:
        """Raw image [B, C, H, W] and whether each is a composite [B] -> uncalibrated logit [B]."""
        pixels = self.normaliser(image, composite)
        return self.net(pixels.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    def output(
        self, image: Tensor, composite: Tensor, batch: Mapping[str, Tensor], *, net: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """What losses ask for: ``logit`` [B], and with the task ``maps`` those of ``models.maps`` [B, H, W].

        Arguments:
            image, composite: as ``forward``.
            batch: its ``dx``, ``dy`` [B] are the spacing of maps.
            net: which network is asked, if not the finder's own.
        """
        asked = self.net if net is None else net
        pixels = self.normaliser(image, composite).contiguous(memory_format=torch.channels_last)
        if self.contract.task != "maps":
            return {"logit": asked(pixels)}
        return predict_maps(asked, pixels, dx=batch["dx"], dy=batch["dy"])[0]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one augmented batch."""
        image, composite, batch = self.augmented(batch, self.step_generator())
        loss = self._loss(self.output(image, composite, batch), batch)
        self.log("train_loss", loss, batch_size=len(image), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def step_generator(self) -> Generator:
        """Seeded by the step, as dropout then is: a resumed run draws what an uninterrupted one would."""
        generator = self.generator("train", self.global_step, self.global_rank)
        torch.manual_seed(generator.initial_seed())  # of dropout, which takes no generator
        return generator

    def augmented(self, batch: Mapping[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Raw images of a batch as training shows them, which of them are composites, and the batch moved along."""
        image, moved = augment(
            batch["image"],
            self._moved(batch),
            generator,
            shift_px=self.shift_px,
            rotate_deg=self.rotate_deg,
            size=self.contract.input_size,
        )
        moved = {**batch, **moved}
        return *self._composed(image, moved, generator), moved

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss and ROC area of the validation split; with a prior, of all of it at its end."""
        output = self.output(*self.validation_images(batch, batch_idx), batch)
        logit = output["logit"]
        if self.prior is not None:
            self.held_out.update(torch.stack([logit.float(), batch["label"].float()], 1))
            return
        known = ~torch.isnan(batch["label"])
        self.auroc.update(logit.float().sigmoid()[known], (batch["label"][known] >= 0.5).int())
        self.val_loss.update(self._loss(output, batch), len(logit))  # log(sync_dist=True) would round the row count
        self.log("val_loss", self.val_loss, on_epoch=True, batch_size=len(logit))
        self.log("val_auroc", self.auroc, on_epoch=True, batch_size=len(logit))

    def on_validation_epoch_end(self) -> None:
        """With a prior: loss and ``unlabelled_auc`` of the whole split; few batches of it have a labelled lens."""
        if self.prior is None:
            return
        logit, label = self.held_out.compute().unbind(1)
        self.held_out.reset()
        self.log("val_loss", self._loss({"logit": logit}, {"label": label}))
        auc = unlabelled_auc(label.cpu().numpy(), logit.cpu().numpy(), self.prior)
        self.log("val_auroc", torch.tensor(auc, dtype=torch.float32))

    def validation_logit(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Logit [B] without augmentation; the same rows become the same composites every time."""
        return self(*self.validation_images(batch, batch_idx))  # type: ignore[no-any-return]

    def validation_images(self, batch: Mapping[str, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Raw images [B, C, H, W] of a validation batch, and which of them are composites [B]."""
        return self._composed(batch["image"], batch, self.generator("val", batch_idx, self.global_rank))

    def _loss(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        told = {"positive_weight": self.contract.class_weight_ratio, "prior": self.prior}
        device = output["logit"].device
        scalars = {name: torch.full((), value, device=device) for name, value in told.items() if value is not None}
        return self.loss(output, {**batch, **scalars})

    def _moved(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What augmentation shall move along; beyond the border of what is stored there is no truth."""
        if self.contract.task != "maps":
            return {}
        mask = torch.zeros_like(batch["kappa"], dtype=torch.bool)
        return {"mask": mask, **{name: batch[name] for name in MOVED if name in batch}}

    def _composed(self, image: Tensor, batch: Mapping[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        return composed(image, batch, generator, compose=self.compose, share=self.composites)


def composed(
    image: Tensor, batch: Mapping[str, Tensor], generator: Generator, *, compose: Compose | None, share: float
) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, W] of which a share of the linear ones are colour now, and which are composites [B].

    Arguments:
        image: of the batch, augmented perhaps.
        batch: ``composite`` [B] and what ``compose`` needs; those ``as_is`` [B] stay as they are.
        generator: draws them, and their stretch.
        compose, share: as ``compose`` and ``composites`` of ``Finder``.
    """
    composite = batch["composite"]
    if compose is None or share <= 0:
        return image, composite
    draw = torch.rand(len(image), generator=generator, device=image.device)
    chosen = ~composite & ~batch.get("as_is", torch.zeros_like(composite)) & (draw < share)
    image = torch.where(chosen[:, None, None, None], compose(image, batch, generator), image)
    return image, composite | chosen
