"""The non-negative risk: its formula, its gradient, what it finds, and a training from labelled lenses alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from mlensing.data.module import LensDataModule
from mlensing.data.order import WithRare
from mlensing.errors import CatalogError, ConfigError
from mlensing.evaluation.calibration import remove_class_weight_shift, sigmoid
from mlensing.evaluation.calibrators import calibrate
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training.fit import fit, fit_live
from mlensing.training.fit_semi import fit_semi
from mlensing.training.losses import LOSSES, weighted_bce
from mlensing.training.positive_unlabelled import nnpu
from mlensing.training.run import scores

NAN = math.nan
SMALL = {"model_options": {"width": 4}, "input_size": 32, "batch_size": 16, "shift_px": 2, "accelerator": "cpu"}


def risk(logit: list[float], label: list[float], prior: float = 0.3, weight: float = 2.0) -> tuple[float, Tensor]:
    """Value and gradient."""
    z = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    batch = {"label": torch.tensor(label), "prior": torch.tensor(prior), "positive_weight": torch.tensor(weight)}
    loss = nnpu({"logit": z}, batch)
    loss.backward()
    assert z.grad is not None
    return float(loss.detach()), z.grad


def test_the_risk_is_the_formula_and_its_gradient() -> None:
    z = torch.tensor([1.0, -0.5, 0.3, -1.0, 2.0])
    label = [1.0, 1.0, NAN, NAN, NAN]
    value, gradient = risk(z.tolist(), label)
    lens, free = z[:2], z[2:]
    expected = 2 * 0.3 * torch.log1p(torch.exp(-lens)).mean()
    expected += torch.log1p(torch.exp(free)).mean() - 0.3 * torch.log1p(torch.exp(lens)).mean()
    assert value == pytest.approx(float(expected), rel=1e-6)
    slope = torch.cat([(-0.6 * (1 - lens.sigmoid()) - 0.3 * lens.sigmoid()) / 2, free.sigmoid() / 3])
    torch.testing.assert_close(gradient.float(), slope)


def test_below_zero_the_step_goes_the_other_way_and_the_risk_stays_above() -> None:
    value, gradient = risk([5.0, -9.0, -9.0], [1.0, NAN, NAN])
    assert value == pytest.approx(0.6 * math.log1p(math.exp(-5.0)), rel=1e-3)  # the lenses' part alone
    p = sigmoid([5.0, -9.0])
    torch.testing.assert_close(gradient, torch.tensor([0.3 * p[0], -p[1] / 2, -p[1] / 2], dtype=torch.float64))
    z = {"logit": torch.tensor([5.0, -9.0, -9.0], requires_grad=True)}
    batch = {"label": torch.tensor([1.0, NAN, NAN]), "prior": torch.tensor(0.3)}
    nnpu(z, batch, tolerance=5.0).backward()
    assert z["logit"].grad is not None and z["logit"].grad[0] < 0 < z["logit"].grad[1]  # within beta it does not turn


def test_the_mean_over_batches_is_the_risk_with_all_labels() -> None:
    """Far from zero nothing is cut off, and E_U - pi E_P is the non-lenses' part."""
    rng, pi = np.random.default_rng(0), 0.4
    values = []
    for _ in range(400):
        lens = rng.random(64) < pi
        logit = np.append(rng.normal(1.0, 1.0, 16), rng.normal(np.where(lens, 1.0, -1.0), 1.0))
        values.append(risk(logit.tolist(), [1.0] * 16 + [NAN] * 64, pi, 1.0)[0])
    lenses, others = rng.normal(1.0, 1.0, 400_000), rng.normal(-1.0, 1.0, 400_000)
    truth = pi * np.logaddexp(0, -lenses).mean() + (1 - pi) * np.logaddexp(0, others).mean()
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / 20)


def test_known_nonlenses_may_be_chosen_as_one_likes() -> None:
    """All rows once: with the hardest non-lenses labelled, the risk is that of the rest, unlabelled, plus theirs."""
    rng = np.random.default_rng(1)
    lens = np.arange(4000) < 1000
    z = rng.normal(np.where(lens, 1.0, -1.0))
    positives, hard = rng.normal(1.0, 1.0, 500_0), ~lens & (z > -0.5)
    labels = np.where(hard, 0.0, NAN)
    value, _ = risk([*positives, *z], [1.0] * len(positives) + labels.tolist(), 1000 / (~hard).sum(), 1.0)
    truth = 0.25 * np.logaddexp(0, -positives).mean() + np.logaddexp(0, z[~lens]).sum() / 4000
    assert value == pytest.approx(float(truth), abs=0.01)


def test_with_known_nonlenses_alone_it_is_the_cross_entropy() -> None:
    """No unlabelled rows: nothing but the known ones is left of the part of the non-lenses."""
    value, _ = risk([3.0, -1.0, 0.5], [1.0, 0.0, 0.0])
    others = weighted_bce({"logit": torch.tensor([-1.0, 0.5])}, {"label": torch.zeros(2)})
    assert value == pytest.approx(float(others), rel=1e-6)


def test_a_batch_without_a_lens_and_one_without_a_prior() -> None:
    assert risk([0.0, 0.0], [NAN, NAN])[0] == pytest.approx(math.log(2))
    with pytest.raises(ConfigError, match="--prior"):
        LOSSES["nnpu"]({"logit": torch.zeros(1)}, {"label": torch.ones(1)})


def flexible(term: str, x: Tensor, label: Tensor, pi: float, *, steps: int = 300) -> nn.Module:
    """A wide network that could learn every label by heart, taught with batches that have a quarter of lenses."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    lens, others = (label == 1).nonzero()[:, 0], (label != 1).nonzero()[:, 0]
    told = label if term == "nnpu" else label.nan_to_num(0.0)
    for _ in range(steps):
        rows = torch.cat([lens[torch.randint(len(lens), (64,))], others[torch.randint(len(others), (192,))]])
        extra = {"prior": torch.tensor(pi), "positive_weight": torch.tensor((1 - pi) / pi if term == "nnpu" else 3.0)}
        loss = LOSSES[term]({"logit": net(x[rows])}, {"label": told[rows], **extra})
        assert loss >= 0
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def test_it_finds_the_log_odds_and_beats_unlabelled_as_nonlenses() -> None:
    """Lenses on a ring about the others; half of the unlabelled rows are lenses, so that naive labels mislead."""
    rng, pi, count = np.random.default_rng(2), 0.5, 3000
    lens = rng.random(count) < pi
    turn, radius = rng.uniform(0, 2 * np.pi, count), np.where(lens, rng.normal(2.0, 0.5, count), 0.0)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1) + rng.normal(0, 0.5, (count, 2)) * 1.5
    known = lens & (rng.random(count) < 0.1)
    x, label = torch.from_numpy(points).float(), torch.from_numpy(np.where(known, 1.0, NAN)).float()
    free = ~known[:2000]
    prior = float(lens[:2000][free].mean())
    auc, confidence = {}, {}
    for term in ("nnpu", "bce"):
        logit = flexible(term, x[:2000], label[:2000], prior)(x[2000:]).detach().double().numpy()
        auc[term] = roc_auc_score(lens[2000:], logit)
        ratio = (1 - prior) / prior if term == "nnpu" else 3.0
        confidence[term] = sigmoid(remove_class_weight_shift(logit, ratio)).mean()
    assert auc["nnpu"] > auc["bce"] + 0.01
    assert confidence["nnpu"] == pytest.approx(lens[2000:].mean(), abs=0.1)
    assert confidence["bce"] < 0.3


@pytest.fixture
def unlabelled_dir(data_dir: Path, tmp_path: Path) -> Path:
    """The prepared discs with a third of their rings labelled, and no label else."""
    for split in ("train", "val", "test"):
        table = pd.read_csv(data_dir / split / "index.csv")
        table["filepath"] = [str(data_dir / split / name) for name in table["filepath"]]
        if split != "test":
            rings = np.flatnonzero(table["label"] == 1)
            table["label"] = np.where(np.isin(np.arange(len(table)), rings[::3]), "1", "")
        (tmp_path / split).mkdir()
        table.to_csv(tmp_path / split / "index.csv", index=False)
    return tmp_path


def test_a_finder_learns_from_labelled_lenses_and_unlabelled_images(unlabelled_dir: Path, data_dir: Path) -> None:
    prior = 16 / 40
    best = fit(
        str(unlabelled_dir), loss={"nnpu": 1.0}, prior=prior, max_epochs=10, lr=3e-3, monitor="val_auroc",
        log_dir=str(unlabelled_dir / "logs"), **SMALL,
    )  # type: ignore[arg-type]  # fmt: skip
    contract = read_checkpoint(best).contract
    assert contract.class_weight_ratio == pytest.approx((1 - prior) / prior)
    assert contract.prevalence == pytest.approx(prior)
    table = pd.read_csv(best.parent.parent / "metrics.csv")
    assert table["val_auroc"].notna().all() and (table["val_loss"] >= 0).all()
    truth, told = scores(best, LensDataModule(data_dir, input_size=32))
    assert roc_auc_score(truth, told) > 0.9
    data = LensDataModule(unlabelled_dir, input_size=32, keep_unlabelled=True)
    labels, logits = scores(best, data, unlabelled=True)
    assert np.isnan(labels).sum() == 13 and (labels == 1).sum() == 3
    if contract.calibration.kind == "beta":
        told = sigmoid(calibrate(remove_class_weight_shift(logits, contract.class_weight_ratio), contract.calibration))
        assert told[np.isnan(labels)].mean() == pytest.approx(prior, abs=0.02)


def test_every_batch_has_its_lenses_and_every_other_image_comes_once(unlabelled_dir: Path) -> None:
    data = LensDataModule(unlabelled_dir, input_size=32, batch_size=16, keep_unlabelled=True)
    loader = data.train_dataloader()
    batches = [list(loader) for _ in range(2)]
    assert [[int((b["label"] == 1).sum()) for b in epoch] for epoch in batches] == [[4, 4, 4]] * 2
    assert [len(b["label"]) for b in batches[0]] == [16, 16, 16]
    free = [torch.cat([b["image"][b["label"].isnan(), 0, 0, 0] for b in epoch]) for epoch in batches]
    assert all(len(values.unique()) == 36 for values in free) and not torch.equal(*free)
    resumed = LensDataModule(unlabelled_dir, input_size=32, batch_size=16, keep_unlabelled=True)
    resumed.load_state_dict({"epochs": 1})
    again = [batch["image"] for batch in resumed.train_dataloader()]
    assert all(torch.equal(one, other["image"]) for one, other in zip(again, batches[1], strict=True))


def test_processes_share_the_others_and_all_have_lenses() -> None:
    rare, common = np.array([3, 8]), np.setdiff1d(np.arange(50), [3, 8])
    shares = [WithRare(rare, common, batch_size=8, seed=1, rank=rank, world=2) for rank in range(2)]
    rows = [list(share) for share in shares]
    assert [len(r) for r in rows] == [len(share) for share in shares] == [32, 32]
    assert all({*r[k : k + 8]} >= {3, 8} for r in rows for k in range(0, 32, 8))
    others = [{*r} - {3, 8} for r in rows]
    assert not others[0] & others[1] and len(others[0] | others[1]) == 48


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": {"nnpu": 1.0}}, "go together"),
        ({"prior": 0.1}, "go together"),
        ({"loss": {"nnpu": 1.0}, "prior": 1.5}, "share in"),
        ({"loss": {"nnpu": 1.0, "kappa": 1.0}, "prior": 0.1}, "add_maps"),
    ],
)
def test_settings_that_cannot_be_are_told(wrong: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(str(tmp_path), **wrong)  # type: ignore[arg-type]


def test_trainings_without_a_prior_name_the_one_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mlensing train.*--prior"):
        fit_semi(str(tmp_path), loss={"nnpu": 1.0})
    with pytest.raises(ConfigError, match=r"mlensing train.*--prior"):
        fit_live("nowhere.yaml", draws=64, loss={"nnpu": 1.0})


def test_data_without_unlabelled_images_are_told(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no unlabelled image"):
        fit(str(data_dir), loss={"nnpu": 1.0}, prior=0.1, log_dir=str(tmp_path), **SMALL)  # type: ignore[arg-type]
