"""MoCo v3 (Chen, Xie & He 2021, arXiv:2104.02057): features learned from images without a label.

Two views of an image shall look alike to a network, and unlike all other images of the batch. A student predicts what
a slow average of itself, the teacher, says of the other view. There is no queue: the batch holds the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn.functional import cross_entropy, normalize
from torchmetrics import MeanMetric

from mlensing.contract import ModelContract
from mlensing.data.normalise import Normaliser
from mlensing.models import classifier
from mlensing.training.finder import Compose, composed
from mlensing.training.learner import Learner
from mlensing.training.schedules import rising_momentum
from mlensing.training.views import views

PATCHES = ("patch_embed.proj", "patch_embeddings.projection")
"""Names of linear projections of patches: sharp jumps of their gradients are what makes transformers diverge here
(section 4 of the paper). Convolutional stems, also that of ``light_transformer``, have no such jumps, and learn."""

Probe = Callable[[nn.Module, Normaliser], float]
"""How good the features of a network are: a figure of merit on labelled images."""


class Moco(Learner):
    """Learns features of images from pairs of views.

    Arguments:
        contract: what goes in, task ``features``; rides in every checkpoint.
        net: the backbone, a network of ``models.build``; its head learns nothing.
        lr, weight_decay, warmup: as for ``training.Finder``; AdamW, which the paper takes for transformers only.
        momentum: of the teacher at the start; it rises to 1 by half a cosine.
        temperature: of the softmax over the batch.
        hidden, dimension: width of the perceptrons, and of what is compared (the paper: 4096, 256).
        frozen_patches: leave the random projection of a transformer's patches as it is.
        looks: ranges of ``training.views.views``.
        composites, compose: as for ``training.Finder``, of images that are not ``as_is``.
        probe: judges the features after each epoch.
        seed: of views, composites and dropout.
        config: resolved configuration, kept in the checkpoint.

    See also: ``training.pretrain`` runs it; ``models.warm_start`` takes its backbone.
    """

    figures: ClassVar[tuple[str, ...]] = ("train_loss", "val_loss", "val_knn_auroc")  # the last only with a probe

    def __init__(
        self,
        contract: ModelContract,
        net: nn.Module,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup: float = 0.1,
        momentum: float = 0.99,
        temperature: float = 0.2,
        hidden: int = 1024,
        dimension: int = 256,
        frozen_patches: bool = True,
        looks: Mapping[str, Any] | None = None,
        composites: float = 0.0,
        compose: Compose | None = None,
        probe: Probe | None = None,
        seed: int = 42,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.contract, self.config, self.seed = contract, dict(config or {}), seed
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.momentum, self.temperature, self.looks = momentum, temperature, dict(looks or {})
        self.composites, self.compose, self.probe = composites, compose, probe
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.projector = perceptron(classifier(net).head.in_features, hidden, hidden, dimension)
        self.predictor = perceptron(dimension, hidden, dimension)
        classifier(net).head.requires_grad_(False)  # no part of a feature
        for name, part in net.named_modules():
            if frozen_patches and name.endswith(PATCHES):
                part.requires_grad_(False)
        self.teacher = nn.ModuleDict({"net": deepcopy(net), "projector": deepcopy(self.projector)})
        self.teacher.requires_grad_(False)
        self.normaliser, self.val_loss, self.steps = Normaliser(contract), MeanMetric(), 1

    def on_train_start(self) -> None:
        """Learn how long the training is."""
        self.steps = int(self.trainer.estimated_stepping_batches)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch, seeded by the step: a resumed run draws what an uninterrupted one would."""
        generator = self.generator("train", self.global_step, self.global_rank)
        torch.manual_seed(generator.initial_seed())  # of dropout, which takes no generator
        self.follow(rising_momentum(self.global_step, total=self.steps, start=self.momentum))
        loss = self.loss(*self.pair(batch, generator), gather=True)
        self.log("train_loss", loss, batch_size=len(batch["image"]), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss of the same pairs every time, among the images of this process."""
        pair = self.pair(batch, self.generator("val", batch_idx, self.global_rank))
        self.val_loss.update(self.loss(*pair, gather=False), len(batch["image"]))
        self.log("val_loss", self.val_loss, on_epoch=True, batch_size=len(batch["image"]))

    def on_validation_epoch_end(self) -> None:
        """What the features are worth; every process finds the same."""
        if self.probe is not None:
            self.log("val_knn_auroc", self.probe(self.net, self.normaliser))

    @torch.no_grad()
    def pair(self, batch: Mapping[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        """Two views of each image [B, C, S, S], normalised."""
        image, composite = composed(batch["image"], batch, generator, compose=self.compose, share=self.composites)
        spacing = (batch["dx"], batch["dy"])
        seen = views(image, composite, generator, spacing=spacing, size=self.contract.input_size, **self.looks)
        one, other = (self.normaliser(v, composite).contiguous(memory_format=torch.channels_last) for v in seen)
        return one, other

    def loss(self, one: Tensor, other: Tensor, *, gather: bool) -> Tensor:
        """Each view's prediction against the teacher's word on the other; both added (algorithm 1 of the paper)."""
        queries = [self.predictor(self.projector(classifier(self.net).features(v))) for v in (one, other)]
        with torch.no_grad():
            keys = [self.teacher["projector"](classifier(self.teacher["net"]).features(v)) for v in (other, one)]
        first = 0
        if gather and distributed.is_available() and distributed.is_initialized():
            first, keys = self.global_rank * len(one), [self.all_gather(key).flatten(0, 1) for key in keys]  # type: ignore[union-attr]
        terms = [info_nce(q, k, temperature=self.temperature, first=first) for q, k in zip(queries, keys, strict=True)]
        return terms[0] + terms[1]

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher's weights a step towards the student's; its running statistics are its own."""
        for teacher, student in ((self.teacher["net"], self.net), (self.teacher["projector"], self.projector)):
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - momentum)


def info_nce(query: Tensor, key: Tensor, *, temperature: float, first: int = 0) -> Tensor:
    """``-2 t mean_i log( exp(q_i . k_i / t) / sum_j exp(q_i . k_j / t) )`` of vectors brought to unit length.

    The factor 2 t makes the learning rate depend less on t (van den Oord+2018, arXiv:1807.03748; algorithm 1 of
    MoCo v3).

    Arguments:
        query: [B, D].
        key: [N, D], N >= B; that of query i is ``first + i``.
        temperature: t.
        first: place of the first query's key.

    Example:
        >>> query = torch.eye(2)
        >>> round(float(info_nce(query, query, temperature=1.0)), 4)  # 2 log(1 + 1/e)
        0.6265
    """
    with torch.autocast(query.device.type, enabled=False):
        cosine = normalize(query.float(), dim=1) @ normalize(key.float(), dim=1).T
        target = torch.arange(first, first + len(query), device=query.device)
        return 2.0 * temperature * cross_entropy(cosine / temperature, target)


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers, each with a batch norm, rectified in between; the last norm has no scale of its own.

    Example:
        >>> perceptron(8, 16, 4)(torch.randn(3, 8)).shape
        torch.Size([3, 4])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-2], nn.BatchNorm1d(widths[-1], affine=False))
