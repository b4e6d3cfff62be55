"""MoCo v3: its loss against one written by hand, its teacher, its frozen patches, and that features come of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from tests.models.test_conformance import SMALL
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from mlensing.contract import ModelContract
from mlensing.data.normalise import measure_statistics
from mlensing.evaluation.probe import knn_auc
from mlensing.models import MODELS, build, classifier
from mlensing.training.moco import Moco, info_nce, perceptron
from mlensing.training.run import quiet
from mlensing.training.schedules import rising_momentum

ARCHITECTURES = [name for name in MODELS if name not in ("dinov2", "zoobot")]  # those need libraries of their own


def pictures(count: int, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy galaxies of any brightness, half of them with a faint ring; images [N, 3, y, x] and labels."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y)
    bright = generator.uniform(5, 60, count)[:, None, None]
    label = np.arange(count) % 2
    light = bright * np.exp(-radius / generator.uniform(1.5, 3.0, count)[:, None, None])
    light = light + 6 * label[:, None, None] * np.exp(-((radius - 9) ** 2) / 3)
    image = light[:, None] * np.array([0.5, 1.0, 1.5])[:, None, None] + generator.normal(size=(count, 3, size, size))
    return torch.from_numpy(image).float(), torch.from_numpy(label)


def batch_of(image: Tensor) -> dict[str, Tensor]:
    count = len(image)
    return {"image": image, "composite": torch.zeros(count, dtype=torch.bool), "dx": torch.ones(count),
            "dy": torch.ones(count)}  # fmt: skip


def make(image: Tensor, name: str = "resnet18", options: dict[str, Any] | None = None, **more: Any) -> Moco:
    torch.manual_seed(0)
    options = {"width": 4} if options is None else options
    kinds = measure_statistics(image, torch.zeros(len(image), dtype=torch.bool), 3.0)
    contract = ModelContract(
        name=name, options=options, bands=("g", "r", "i"), input_size=image.shape[-1], pixel_scale=(0.2, 0.2),
        statistics=kinds, task="features",
    )  # fmt: skip
    return Moco(contract, build(name, contract, **options), hidden=32, dimension=16, **more)


class Batches(IterableDataset[dict[str, Tensor]]):
    def __init__(self, image: Tensor, size: int) -> None:
        self.image, self.size = image, size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (batch_of(rows) for rows in self.image.split(self.size))

    def __len__(self) -> int:
        return len(self.image) // self.size


def train(moco: Moco, image: Tensor, epochs: int, size: int = 32) -> Moco:
    loader = DataLoader(Batches(image, size), batch_size=None)
    with quiet():
        Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(moco, loader)  # fmt: skip
    return moco


def test_the_loss_is_that_of_a_loop() -> None:
    generator = Generator().manual_seed(0)
    query, key = torch.randn(3, 5, generator=generator), torch.randn(8, 5, generator=generator)
    total = 0.0
    for i in range(3):
        q = query[i] / query[i].norm()
        terms = [math.exp(float(q @ (k / k.norm())) / 0.3) for k in key]
        total += -math.log(terms[4 + i] / sum(terms))
    expected = 2 * 0.3 * total / 3
    assert float(info_nce(query, key, temperature=0.3, first=4)) == pytest.approx(expected, rel=1e-5)


def test_both_views_count_alike_and_each_is_compared_with_the_other_s_teacher() -> None:
    image, _ = pictures(8)
    moco = make(image).eval()
    one, other = moco.pair(batch_of(image), Generator().manual_seed(1))
    with torch.no_grad():
        q = [moco.predictor(moco.projector(moco.net.features(view))) for view in (one, other)]  # type: ignore[operator]
        k = [moco.teacher["projector"](moco.teacher["net"].features(view)) for view in (one, other)]  # type: ignore[operator]
        expected = info_nce(q[0], k[1], temperature=0.2) + info_nce(q[1], k[0], temperature=0.2)
        torch.testing.assert_close(moco.loss(one, other, gather=False), expected)
        torch.testing.assert_close(moco.loss(other, one, gather=False), expected)


def test_momentum_rises_from_its_start_to_one() -> None:
    values = [rising_momentum(step, total=100, start=0.9) for step in range(101)]
    assert values[0] == pytest.approx(0.9) and values[-1] == 1.0 and values == sorted(values)
    assert values[25] == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)


def test_the_teacher_is_an_average_of_students_and_gets_no_gradient() -> None:
    image, _ = pictures(64)
    moco, students = make(image, momentum=0.5, lr=1e-2), []
    expected = [weight.clone() for weight in moco.net.parameters()]
    before = [weight.clone() for weight in moco.teacher.parameters()]
    moco.on_train_batch_start = lambda *_: students.append([w.detach().clone() for w in moco.net.parameters()])  # type: ignore[method-assign,assignment]
    train(moco, image, epochs=2)
    for step, student in enumerate(students):
        m = rising_momentum(step, total=4, start=0.5)
        expected = [m * slow + (1 - m) * fast for slow, fast in zip(expected, student, strict=True)]
    found = list(moco.teacher["net"].parameters())
    for slow, want in zip(found, expected, strict=True):
        torch.testing.assert_close(slow, want, rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(old, new) for old, new in zip(before, moco.teacher.parameters(), strict=True))
    assert all(weight.grad is None and not weight.requires_grad for weight in moco.teacher.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns_all_of_it_but_head_and_patches(name: str) -> None:
    image, _ = pictures(8)
    moco = make(image, name, SMALL[name])
    one, other = moco.pair(batch_of(image), Generator().manual_seed(1))
    moco.loss(one, other, gather=False).backward()
    still = {name for name, weight in moco.net.named_parameters() if weight.grad is None}
    head = {name for name, weight in moco.net.named_parameters() if weight is classifier(moco.net).head.weight}
    frozen = {"patch_embed.proj.weight", "patch_embed.proj.bias"} if name.startswith("vit") else set()
    assert still == {*head, next(iter(head)).replace("weight", "bias"), *frozen}
    for weight in (w for w in (*moco.projector.parameters(), *moco.predictor.parameters())):
        assert weight.grad is not None and torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_patches_stay_where_they_were(frozen: bool) -> None:
    image, _ = pictures(16)
    moco = make(image, "vit_s16", {**SMALL["vit_s16"], "depth": 1}, frozen_patches=frozen, weight_decay=0.1, lr=1e-2)
    patches = moco.net.get_submodule("patch_embed.proj")
    assert isinstance(patches, nn.Conv2d)
    before, other = patches.weight.clone(), moco.net.get_parameter("cls_token").clone()
    train(moco, image, epochs=2, size=16)
    assert torch.equal(before, patches.weight) == frozen
    assert torch.equal(moco.teacher["net"].get_submodule("patch_embed.proj").weight, before) == frozen  # type: ignore[arg-type]
    assert not torch.equal(other, moco.net.get_parameter("cls_token"))


def test_the_perceptrons_end_in_a_norm_without_a_scale() -> None:
    layers = perceptron(8, 16, 4)
    said = layers(torch.randn(64, 8, generator=Generator().manual_seed(0)))
    torch.testing.assert_close(said.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(said.var(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    assert sum(p.numel() for p in layers.parameters()) == 8 * 16 + 2 * 16 + 16 * 4


def test_features_tell_rings_better_than_those_of_random_weights() -> None:
    image, _ = pictures(256, seed=1)
    shown, label = pictures(200, seed=2)
    moco = make(image, "resnet10", {"width": 4, "stem": "stride2"}, lr=1e-2, momentum=0.9)

    def auc() -> float:
        moco.eval()
        with torch.no_grad():
            pixels = moco.normaliser(shown, torch.zeros(len(shown), dtype=torch.bool))
            return knn_auc(classifier(moco.net).features(pixels).numpy(), label)

    before = auc()
    train(moco, image, epochs=4, size=64)
    assert auc() > before + 0.1
