"""The schedule of the mean teacher, to the epoch; and that gradients follow it, not only what is logged."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from mlensing.contract import BandStatistics, ModelContract
from mlensing.models import build
from mlensing.training.finder import Finder
from mlensing.training.schedules import averaging_decay, pseudo_threshold, unlabelled_count, unlabelled_ratio
from mlensing.training.semi import MeanTeacher

W = 3
RATIO = [0.0, 0.0, 0.0, 0.10, 0.10, 0.15, 0.15, 0.20, 0.20, 0.25, 0.25, 0.30, 0.30, 0.30, 0.30, 0.30]
THRESHOLD = [0.95, 0.95, 0.95, 0.95, 0.94, 0.93, 0.92, 0.91, 0.90, 0.89, 0.88, 0.87, 0.86, 0.85, 0.85, 0.85]
LABELLED, BESIDE = 16, 12
COUNTS = [0, 0, 0, 2, 2, 3, 3, 4, 4, 5, 5, 7, 7, 7, 7, 7]
"""Unlabelled images beside 16: those whose share of all comes nearest to the ratio, 16 r / (1 - r)."""


@pytest.mark.parametrize(("epoch", "ratio", "threshold"), list(zip(range(16), RATIO, THRESHOLD, strict=True)))
def test_ratio_and_threshold_of_every_epoch(epoch: int, ratio: float, threshold: float) -> None:
    assert unlabelled_ratio(epoch, warmup=W) == ratio
    assert pseudo_threshold(epoch, warmup=W) == threshold


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_the_formula_at_other_warm_ups(warmup: int) -> None:
    for epoch in range(60):
        since = epoch - warmup
        ratio = min(Fraction(30, 100), Fraction(10, 100) + Fraction(5, 100) * (since // 2)) if since >= 0 else 0
        threshold = max(Fraction(85, 100), Fraction(95, 100) - Fraction(1, 100) * max(since, 0))
        assert unlabelled_ratio(epoch, warmup=warmup) == float(ratio)
        assert pseudo_threshold(epoch, warmup=warmup) == float(threshold)


def test_counts_come_nearest_to_the_ratio() -> None:
    for ratio in (0.1, 0.15, 0.2, 0.25, 0.3):
        for labelled in (8, 16, 64, 100):
            count = unlabelled_count(labelled, ratio)
            wanted = labelled * ratio / (1 - ratio)
            assert abs(count - wanted) <= 0.5


class Says(nn.Module):
    """Gives every image the same logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, image: Tensor) -> Tensor:
        return self.logit.expand(len(image))


class Linear(nn.Module):
    """A logit that is linear in the mean of each band: no image knows of its batch mates."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, image: Tensor) -> Tensor:
        return (image.mean(dim=(2, 3)) * self.weight).sum(1)


def contract() -> ModelContract:
    stats: dict[Any, BandStatistics] = {"linear": BandStatistics(mean=(0.0,) * 3, std=(1.0,) * 3)}
    return ModelContract(
        name="resnet10", options={"width": 4, "dropout": 0.2}, bands=("g", "r", "i"), input_size=32,
        pixel_scale=(0.2, 0.2), statistics=stats,
    )  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(1)
    return build("resnet10", contract(), **contract().options)


def images(count: int, seed: int) -> dict[str, Tensor]:
    spacing, linear = torch.full((count,), 0.2), torch.zeros(count, dtype=torch.bool)
    image = torch.randn(count, 3, 40, 40, generator=Generator().manual_seed(seed))
    return {"image": image, "composite": linear, "dx": spacing, "dy": spacing}


def batch(seed: int = 1) -> dict[str, dict[str, Tensor]]:
    labelled = {**images(LABELLED, 0), "label": (torch.arange(LABELLED) % 2).float()}
    return {"labelled": labelled, "unlabelled": images(BESIDE, seed)}


class Epoch:
    """What epoch it is, and what a finder logs in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.logged: dict[str, float] = {}
        self.now = 0
        monkeypatch.setattr(Finder, "global_step", 5)
        monkeypatch.setattr(Finder, "current_epoch", property(lambda _: self.now))
        monkeypatch.setattr(Finder, "log", self.log)

    def log(self, name: str, value: Tensor | float, **rest: Any) -> None:
        self.logged[name] = value if isinstance(value, float) else float(value.detach())

    def gradients(self, epoch: int, given: dict[str, Any], *, net: nn.Module | None = None, **options: Any) -> Tensor:
        """All gradients of a student in one step of this epoch, its teacher saying ``teacher`` if that is given."""
        self.now = epoch
        teacher = options.pop("teacher", None)
        finder = MeanTeacher(contract(), network() if net is None else net, warmup_epochs=W, **options).train()
        if teacher is not None:
            finder.net = Says(teacher).requires_grad_(False)
        finder.training_step(given, 0).backward()
        return torch.cat([weight.grad.flatten() for weight in finder.student.parameters() if weight.grad is not None])


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Epoch:
    return Epoch(monkeypatch)


@pytest.mark.parametrize("epoch", range(W))
def test_in_the_warm_up_unlabelled_images_change_no_bit_of_the_gradient(epoch: int, at: Epoch) -> None:
    one, other = at.gradients(epoch, batch(1)), at.gradients(epoch, batch(2))
    assert torch.equal(one, other)
    plain = Finder(contract(), network()).train()
    plain.training_step(batch()["labelled"], 0).backward()
    theirs = torch.cat([weight.grad.flatten() for weight in plain.net.parameters() if weight.grad is not None])
    assert torch.equal(one, theirs) and bool((one != 0).any())  # all that there is, is what labels alone give


@pytest.mark.parametrize("epoch", [W, W + 1, W + 9])
def test_after_the_warm_up_they_do(epoch: int, at: Epoch) -> None:
    assert not torch.equal(at.gradients(epoch, batch(1)), at.gradients(epoch, batch(2)))


@pytest.mark.parametrize("epoch", range(16))
def test_so_many_unlabelled_images_as_the_ratio_says_are_in_a_batch(epoch: int, at: Epoch) -> None:
    net, shown = network(), []
    net.register_forward_hook(lambda _, given, said: shown.append(len(given[0])))
    first = at.gradients(epoch, batch(), net=net)
    students = [count for count in shown if count >= LABELLED]  # the teacher, a copy with the hook, sees fewer
    assert students == [LABELLED + COUNTS[epoch]]
    assert at.logged["ratio"] == RATIO[epoch] and at.logged["threshold"] == THRESHOLD[epoch]
    beyond, within = batch(), batch()
    beyond["unlabelled"]["image"][COUNTS[epoch] :] *= -3
    assert torch.equal(at.gradients(epoch, beyond), first)
    within["unlabelled"]["image"][: COUNTS[epoch]] *= -3
    assert torch.equal(at.gradients(epoch, within), first) == (COUNTS[epoch] == 0)


def test_an_unlabelled_image_weighs_as_much_as_a_labelled_one(at: Epoch) -> None:
    """The teacher's label is that of a true lens: loss and gradient are those of so many more labelled images."""
    alone = at.gradients(0, batch(), net=Linear(), teacher=9.0)
    only = [at.gradients(e, batch(), net=Linear(), teacher=9.0, consistency=0.0) - alone for e in (W, W + 8)]
    twice = [
        at.gradients(e, batch(), net=Linear(), teacher=9.0, consistency=0.0, pseudo=2.0) - alone for e in (W, W + 8)
    ]
    for once, doubled in zip(only, twice, strict=True):
        torch.testing.assert_close(doubled, 2 * once, rtol=1e-4, atol=1e-6)
    loss = {}
    for epoch in (0, W, W + 8):
        at.gradients(epoch, batch(), net=Linear(), teacher=9.0, consistency=0.0)
        loss[epoch] = at.logged["train_loss"]
    # A student that says 0 to everything has a loss of log 2 for every image.
    assert loss[W] / loss[0] == pytest.approx(1 + 2 / 16) and loss[W + 8] / loss[0] == pytest.approx(1 + 7 / 16)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("epoch", range(W, 16))
def test_pseudo_labels_below_the_threshold_of_the_epoch_are_not_used(epoch: int, sign: int, at: Epoch) -> None:
    threshold = THRESHOLD[epoch]

    def taught_by(probability: float) -> Tensor:
        logit = sign * float(torch.logit(torch.tensor(probability, dtype=torch.float64)))
        return at.gradients(epoch, batch(), net=Linear(), teacher=logit, consistency=0.0)

    silent = taught_by(0.5)
    assert torch.equal(taught_by(threshold - 0.004), silent)
    assert at.logged["pseudo_lenses"] == at.logged["pseudo_others"] == 0
    assert not torch.equal(taught_by(threshold + 0.004), silent)
    used = "pseudo_lenses" if sign > 0 else "pseudo_others"
    assert at.logged[used] == 1 and at.logged["pseudo_lenses"] + at.logged["pseudo_others"] == 1
    torch.testing.assert_close(silent, at.gradients(epoch, batch(), net=Linear(), consistency=0.0, pseudo=0.0))


def test_the_teacher_starts_as_a_copy_in_evaluation_mode_without_gradients() -> None:
    finder = MeanTeacher(contract(), network()).train()
    theirs, ours = finder.net.state_dict(), finder.student.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert not any(mine is other for mine in finder.net.parameters() for other in finder.student.parameters())
    assert not any(part.training for part in finder.net.modules()) and finder.student.training
    assert not any(weight.requires_grad for weight in finder.net.parameters())
    assert all(weight.requires_grad for weight in finder.student.parameters())


def test_the_teacher_is_the_average_of_what_the_student_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and running statistics, against the recursion in double precision; it is never given a gradient."""
    finder = MeanTeacher(contract(), network(), ema=0.5)
    names = [name for name, value in finder.student.state_dict().items() if value.is_floating_point()]
    assert any("running_var" in name for name in names)
    expected = {name: finder.student.state_dict()[name].double() for name in names}
    for step in range(1, 13):
        with torch.no_grad():
            for value in finder.student.state_dict().values():
                value.add_(1)
        monkeypatch.setattr(Finder, "global_step", step)
        finder.on_train_batch_end(None, None, step)
        keep = min(0.5, step / (9 + step))
        expected = {n: keep * expected[n] + (1 - keep) * finder.student.state_dict()[n].double() for n in names}
    theirs = finder.net.state_dict()
    for name in names:
        torch.testing.assert_close(theirs[name].double(), expected[name], rtol=1e-5, atol=1e-5)
    counted = [n for n in theirs if n not in names]
    assert counted and all(torch.equal(theirs[n], finder.student.state_dict()[n]) for n in counted)


def test_the_decay_rises_to_0_999_and_no_further() -> None:
    ema = MeanTeacher(contract(), network()).ema
    decays = [averaging_decay(n, decay=ema) for n in range(0, 20_000, 10)]
    assert decays == sorted(decays) and max(decays) == decays[-1] == 0.999
