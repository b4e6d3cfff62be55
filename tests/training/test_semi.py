"""A mean teacher: its views, its images, its file, and that it goes on where it was."""

from __future__ import annotations

import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tests.conftest import write_split
from tests.test_ssl_schedule import RATIO, THRESHOLD, W, contract, network
from torch import Generator, Tensor, nn

from mlensing.data.normalise import sky
from mlensing.errors import CatalogError, ConfigError, ContractError
from mlensing.inference import Predictor
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training import semi
from mlensing.training.finder import Finder
from mlensing.training.fit import fit
from mlensing.training.fit_semi import fit_semi, require_student
from mlensing.training.losses import consistency
from mlensing.training.schedules import averaging_decay
from mlensing.training.semi import MeanTeacher
from mlensing.training.semi_data import PartBatches, PartlyLabelled, places
from mlensing.training.views import exposed

SMALL: dict[str, Any] = {
    "model_options": {"width": 4}, "input_size": 32, "batch_size": 8, "shift_px": 2, "accelerator": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set with 16 labelled training images and 32 without a label."""
    folder = tmp_path_factory.mktemp("partly")
    for seed, (split, count) in enumerate({"train": 48, "val": 16}.items()):
        write_split(folder / split, count=count, seed=seed)
    table = pd.read_csv(folder / "train/index.csv")
    table.loc[16:, "label"] = np.nan
    table.to_csv(folder / "train/index.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(partly: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options: dict[str, Any] = {"warmup_epochs": W, "epoch_steps": 3, "max_epochs": 8, "lr": 3e-3}
    return fit_semi(str(partly), log_dir=str(tmp_path_factory.mktemp("runs")), **options, **SMALL)


def test_what_is_recorded_is_the_schedule(trained: Path) -> None:
    table = pd.read_csv(trained.parents[1] / "metrics.csv")
    assert table["ratio"].round(4).tolist() == RATIO[:8]
    assert table["threshold"].round(4).tolist() == THRESHOLD[:8]
    assert table["pseudo_lenses"].notna().tolist() == [epoch >= W for epoch in range(8)]
    assert table["step"].tolist() == [3 * (epoch + 1) for epoch in range(8)]


def test_the_checkpoint_is_a_finders_and_holds_the_teacher(trained: Path, partly: Path, tmp_path: Path) -> None:
    last = read_checkpoint(trained.with_name("last.ckpt"))
    names = {f"net.{name}" for name in last.network().state_dict()}
    assert names == {name for name in last.content["state_dict"] if not name.startswith("domain")}
    student = {name.replace("student.", "net.", 1): value for name, value in last.content["student"].items()}
    assert student.keys() == names
    assert not torch.equal(student["net.fc.weight"], last.content["state_dict"]["net.fc.weight"])
    images = [partly / "val/0.fits", partly / "val/1.fits"]
    table = Predictor.load(str(trained)).predict(images)
    assert (table["status"] == "ok").all() and table["logit"][0] < table["logit"][1]
    more = fit(str(partly), max_epochs=1, lr=0.0, init=str(trained), log_dir=str(tmp_path), **SMALL)
    again, teacher = (read_checkpoint(path).content["state_dict"] for path in (more, trained))
    assert torch.equal(again["net.fc.weight"], teacher["net.fc.weight"])


def test_the_teacher_follows_the_student_after_every_step_of_the_optimiser(
    partly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Tensor]] = []
    follow = MeanTeacher.on_train_batch_end

    def copied(net: nn.Module) -> dict[str, Tensor]:
        return {name: value.double().clone() for name, value in net.state_dict().items()}

    def followed(self: MeanTeacher, *given: Any) -> None:
        if not states:
            states.append(copied(self.net))  # what both began as
        states.append(copied(self.student))
        follow(self, *given)

    monkeypatch.setattr(MeanTeacher, "on_train_batch_end", followed)
    options = {"warmup_epochs": 1, "epoch_steps": 4, "max_epochs": 2, "log_dir": str(tmp_path), **SMALL}
    best = fit_semi(str(partly), **options)
    moved = [not torch.equal(a["fc.weight"], b["fc.weight"]) for a, b in pairwise(states)]
    assert len(states) == 1 + 8 and all(moved)  # each was taken after the optimiser had moved it
    mean = states[0]
    for number, state in enumerate(states[1:]):
        keep = averaging_decay(number, decay=0.999)
        mean = {name: keep * mean[name] + (1 - keep) * value for name, value in state.items()}
    kept = read_checkpoint(best.with_name("last.ckpt")).content["state_dict"]
    for name in ("conv1.weight", "fc.bias", "bn1.weight", "bn1.running_var", "layer4.0.bn2.running_mean"):
        torch.testing.assert_close(kept[f"net.{name}"].double(), mean[name], rtol=1e-5, atol=1e-6)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    partly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"warmup_epochs": 1, "epoch_steps": 3, "max_epochs": 4, **SMALL}
    whole = fit_semi(str(partly), log_dir=str(tmp_path / "whole"), **options)
    step = MeanTeacher.training_step

    def interrupted(self: MeanTeacher, batch: Any, index: int) -> Tensor:
        if self.global_step == 7:
            raise TimeoutError
        return step(self, batch, index)

    monkeypatch.setattr(MeanTeacher, "training_step", interrupted)
    with pytest.raises(TimeoutError):
        fit_semi(str(partly), log_dir=str(tmp_path / "parts"), **options)
    monkeypatch.setattr(MeanTeacher, "training_step", step)
    parts = fit_semi(str(partly), log_dir=str(tmp_path / "parts"), resume="auto", **options)
    for name in ("best.ckpt", "last.ckpt"):
        one, other = (read_checkpoint(path.with_name(name)).content for path in (whole, parts))
        for part in ("state_dict", "student"):
            torch.testing.assert_close(one[part], other[part], rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ConfigError, match="epoch_steps"):
        fit_semi(
            str(partly),
            log_dir=str(tmp_path),
            resume=str(parts.with_name("last.ckpt")),
            **{**options, "epoch_steps": 2},
        )


def test_other_trainings_are_not_resumed(partly: Path, tmp_path: Path) -> None:
    found = fit(str(partly), max_epochs=1, log_dir=str(tmp_path), **SMALL)
    with pytest.raises(ContractError, match="trained with training_hash"):
        fit_semi(str(partly), resume=str(found), log_dir=str(tmp_path), **SMALL)
    with pytest.raises(ContractError, match="not of a training with a mean teacher"):
        require_student(str(found))


def test_every_pass_shows_every_image_once_and_passes_differ() -> None:
    seen = np.concatenate([places(10, number, 4, seed=(7, 1)) for number in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and list(seen[:10]) != list(seen[10:])
    assert list(places(10, 3, 4, seed=(7, 1))) == list(seen[12:16]) != list(places(10, 3, 4, seed=(8, 1)))


def test_batches_hold_labelled_images_and_images_of_all_pools(partly: Path, tmp_path: Path) -> None:
    write_split(tmp_path / "more", count=8, seed=9)
    data = PartlyLabelled(
        str(partly), unlabelled=str(tmp_path / "more"), bands=("g", "r", "i"), input_size=32, batch_size=16, margin=2
    )
    data.setup("fit")
    assert [len(pool) for pool in data.pools] == [32, 8] and len(data.split("train")) == 16
    batches = PartBatches(data.split("train"), data.pools, batch_size=16, seed=3)
    one = batches[0]
    assert one["labelled"]["label"].isfinite().all() and one["labelled"]["image"].shape == (16, 3, 36, 36)
    assert "label" not in one["unlabelled"] and one["unlabelled"]["image"].shape == (7, 3, 36, 36)
    everything = batches.read(np.arange(40))["image"]
    assert torch.equal(everything[:32], torch.from_numpy(data.split("train").cache.read(np.arange(16, 48))))
    assert torch.equal(everything[33], torch.from_numpy(data.pools[1].cache.read([1]))[0])
    mixed = batches.read(np.array([35, 2, 33]))["image"]
    assert {float(image.sum()) for image in mixed} == {float(everything[i].sum()) for i in (35, 2, 33)}
    assert data.steps(1) == 56 // 16


class Shows(nn.Module):
    """A network of maps whose kappa is the first band: turn the image, and kappa turns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dropout = 0.0

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image.mean(dim=(2, 3)), image

    def head(self, features: Tensor) -> Tensor:
        return features.sum(1, keepdim=True) * self.weight

    def maps(self, grid: Tensor, image: Tensor, *, dx: Tensor, dy: Tensor) -> dict[str, Tensor]:
        kappa = image[:, 0] * self.weight
        return {"kappa": kappa, "kappa_log_variance": torch.zeros_like(kappa), "psi": kappa}


class AsItIs(nn.Module):
    """No normalisation."""

    def forward(self, image: Tensor, composite: Tensor) -> Tensor:
        return image


def smooth(count: int, size: int) -> Tensor:
    noise = np.random.default_rng(3).normal(size=(count, 3, size, size))
    return torch.from_numpy(gaussian_filter(noise, (0, 0, 3, 3))).float()


@pytest.mark.parametrize("margin", [4, 0])
def test_maps_are_turned_back_before_they_are_compared(margin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that turns with its image, teacher and student agree, whatever the two views; else they do not."""
    monkeypatch.setattr(semi, "exposed", lambda image, *rest, **more: image)
    terms = {"task": "maps"}
    finder = MeanTeacher(contract().model_copy(update=terms), Shows(), shift_px=4, loss={"bce": 1.0, "kappa": 1.0})
    finder.normaliser = AsItIs()  # type: ignore[assignment]
    spacing = {"dx": torch.full((24,), 0.2), "dy": torch.full((24,), 0.26)}
    rows = {"image": smooth(24, 32 + 2 * margin), "composite": torch.zeros(24, dtype=torch.bool), **spacing}
    strong, composite, taught = finder.taught(rows, Generator().manual_seed(0))
    compared = ~taught["teacher_mask"]
    assert 0.5 < float(compared.float().mean()) < 0.95
    output = finder.output(strong, composite, taught, net=finder.student)
    size = float(output["kappa"].detach().std())
    apart = (output["kappa"] - taught["teacher_kappa"])[compared]
    assert float(apart.detach().abs().max()) < 1e-3 * size  # what a mask lets through of its neighbours
    assert float(consistency(output, taught).detach()) < 1e-6 * size**2
    still = {**taught, "teacher_kappa": rows["image"][:, 0, margin : margin + 32, margin : margin + 32]}
    assert float(consistency(output, still).detach()) > 0.1 * size**2
    swapped = {(round(x, 2), round(y, 2)) for x, y in zip(taught["dx"].tolist(), taught["dy"].tolist(), strict=True)}
    assert swapped == {(0.2, 0.26), (0.26, 0.2)}


def test_the_core_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    place = torch.arange(25).view(1, 5, 5)
    view = {name: torch.ones(1, 5, 5) for name in ("kappa", "kappa_log_variance")}
    mask = semi.laid_back(view, place, torch.zeros(1, 5, 5, dtype=torch.bool), torch.Size((5, 5)))["mask"][0]
    y, x = np.mgrid[:5, :5] - 2
    assert np.array_equal(mask.numpy(), x**2 + y**2 < 4)


def test_a_network_of_maps_learns_with_a_teacher(partly: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(partly, tmp_path / "maps", ignore=shutil.ignore_patterns(".mlensing_cache")))
    from astropy.io import fits

    for split in ("train", "val"):
        for path in (folder / split).glob("*.fits"):
            with fits.open(path, mode="update") as file:
                file.append(fits.ImageHDU(np.full((32, 32), 0.4, np.float32), name="KAPPA"))
    options: dict[str, Any] = {"warmup_epochs": 1, "epoch_steps": 2, "max_epochs": 2, "log_dir": str(tmp_path), **SMALL}
    best = fit_semi(str(folder), loss={"bce": 1.0, "kappa": 1.0}, model="resnet10", **options)
    assert read_checkpoint(best).contract.task == "maps"
    assert pd.read_csv(best.parents[1] / "metrics.csv")["train_loss"].notna().all()


def test_the_strong_view_is_a_worse_exposure_of_the_same() -> None:
    count, size = 64, 48
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    light = torch.from_numpy(50 * np.exp(-np.hypot(x, y) / 4)).float()
    image = 7 + light + torch.randn(count, 3, size, size, generator=Generator().manual_seed(0))
    linear = torch.zeros(count, dtype=torch.bool)
    seen = exposed(image, linear, Generator().manual_seed(1))
    level, noise = sky(seen)
    assert float((level - sky(image)[0]).abs().mean()) < 0.25  # the sky stays where it was
    assert 0.6 < float(noise.mean()) < 1.3
    flux, before = (part[..., 16:32, 16:32].sum((2, 3)) - 7 * 256 for part in (seen, image))
    kept = flux / before
    assert float(kept.min()) > 0.6 and float(kept.max()) < 1.05 and float(kept.std(1).mean()) > 0.03
    centre = (slice(None), slice(None), slice(20, 28), slice(20, 28))
    assert (torch.corrcoef(torch.stack([seen[centre].mean(0).flatten(), image[centre].mean(0).flatten()]))[0, 1]) > 0.95
    assert torch.equal(seen, exposed(image, linear, Generator().manual_seed(1)))
    colour = exposed(image.clamp(0, 255) * 4, ~linear, Generator().manual_seed(1))
    assert float(colour.min()) >= 0 and float(colour.max()) <= 255


def finder_for(monkeypatch: pytest.MonkeyPatch, **options: Any) -> MeanTeacher:
    monkeypatch.setattr(Finder, "log", lambda *given, **more: None)
    monkeypatch.setattr(Finder, "current_epoch", 0)
    return MeanTeacher(contract(), network(), warmup_epochs=0, consistency=0.0, **options)


def test_pseudo_labels_are_right_as_often_as_the_threshold_says_where_lenses_are_rare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logits are calibrated at even odds (two unit Gaussians, 3 apart); 1 image in 200 is a lens."""
    finder = finder_for(monkeypatch, prevalence=0.005)
    generator = np.random.default_rng(0)
    truth = generator.random(400_000) < 0.005
    x = generator.normal(size=len(truth)) + 3.0 * truth
    logit = torch.from_numpy(3.0 * x - 4.5).float()  # log of the ratio of the two densities
    calls: list[Tensor] = []
    monkeypatch.setattr(
        semi, "pseudo_bce", lambda output, batch: calls.append(batch["pseudo_label"]) or logit.sum() * 0
    )
    finder.unlabelled_loss({"logit": logit}, {"teacher_logit": logit})
    labels = calls[0].numpy()
    assert np.mean(truth[labels == 1]) > 0.95 and np.mean(truth[labels == 0]) < 0.05
    unaware = logit.numpy() > math.log(0.95 / 0.05)
    assert np.mean(truth[unaware]) < 0.5  # what a teacher that knows only its own even odds would have believed


def test_rare_pseudo_labels_leave_the_finders_prior_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels drawn at 1 in 50, and a bias that is learned from them: it ends at even odds, where the labels are."""
    finder = finder_for(monkeypatch, prevalence=0.02)
    truth = torch.arange(1000) % 50 == 0
    sure = torch.where(truth, 12.0, -12.0)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([bias], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = finder.unlabelled_loss({"logit": bias.expand(1000)}, {"teacher_logit": sure})
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    assert float(bias.detach()) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"ema": 1.0}, ConfigError, "ema"),
        ({"prevalence": 0.0}, ConfigError, "prevalence"),
        ({"warmup_epochs": -1}, ConfigError, "warmup_epochs"),
        ({"consistency": -1.0}, ConfigError, "consistency"),
        ({"pseudo": float("nan")}, ConfigError, "pseudo"),
        ({"epoch_steps": -2}, ConfigError, "epoch_steps"),
        ({"unlabelled": "nowhere"}, CatalogError, "nowhere: there is no such index"),
        ({"resume": "nowhere.ckpt"}, ContractError, "nowhere.ckpt"),
    ],
)
def test_wrong_settings_are_named(
    wrong: dict[str, Any], error: type[Exception], said: str, partly: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        fit_semi(str(partly), **{**SMALL, "log_dir": str(tmp_path), "max_epochs": 1, **wrong})
    assert not list(tmp_path.rglob("*.ckpt"))


def test_images_that_cannot_teach_are_refused(data_dir: Path, partly: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not one image is without a label"):
        fit_semi(str(data_dir), log_dir=str(tmp_path / "logs"), **SMALL)
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pictures/a.png")
    options = {"unlabelled": str(tmp_path / "pictures"), "survey": "lsst", "log_dir": str(tmp_path / "logs"), **SMALL}
    with pytest.raises(ConfigError, match="some unlabelled images are composite"):
        fit_semi(str(partly), **options)
    assert not (tmp_path / "logs").exists()


def test_the_student_sees_at_least_the_noise_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = finder_for(monkeypatch)
    image = torch.randn(64, 3, 48, 48, generator=Generator().manual_seed(0))
    rows = {"image": image, "composite": torch.zeros(64, dtype=torch.bool), "dx": torch.ones(64), "dy": torch.ones(64)}
    strong, _, _ = finder.taught(rows, Generator().manual_seed(1))
    assert float(sky(strong)[1].mean()) == pytest.approx(1.15, abs=0.08)  # the root of 1 + u^2, u even in [0, 1]
