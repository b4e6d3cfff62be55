"""Sweeps: halving, resuming, what they write, and what they refuse."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mlensing.training.sweep as room
from mlensing.cli import PARSERS, main
from mlensing.errors import ConfigError
from mlensing.models.checkpoint import read_checkpoint
from mlensing.training.halving import PARAMETERS, draw, ranges_of, rungs, survivors
from mlensing.training.sweep import Found, sweep, with_ray

RANGES = {"lr": [1e-3, 1e-2], "dropout": [0.0, 0.4], "class_weight_ratio": [1.0, 30.0]}


def base(data_dir: Path, **more: Any) -> dict[str, Any]:
    small = ["--data_dir", str(data_dir), "--input_size", "32", "--shift_px", "2", "--accelerator", "cpu"]
    options = vars(PARSERS["sweep"]().parse_args([*small, "--output_dir", "x", "--max_epochs", "2"]))
    own = ("config", "output_dir", "trials", "min_epochs", "eta", "search", "ranges", "points", "about", "ray")
    chosen = {name: value for name, value in options.items() if name not in own}
    return {**chosen, "batch_size": 16, "model_options": {"width": 4}, **more}


@pytest.mark.parametrize("trials", [1, 2, 3, 9, 10, 27])
@pytest.mark.parametrize(("shortest", "longest", "eta"), [(1, 9, 3), (2, 9, 3), (1, 1, 3), (1, 20, 2), (5, 4, 3)])
def test_rungs_shorten_the_list_and_lengthen_the_training(trials: int, shortest: int, longest: int, eta: int) -> None:
    found = rungs(trials, min_epochs=shortest, max_epochs=longest, eta=eta)
    assert found[0][1] == trials and found[-1][0] == longest
    for (short, many), (long, few) in pairwise(found):
        assert many >= eta * few >= eta and short == long // eta >= shortest


def test_survivors_are_the_best_and_what_diverged_is_none() -> None:
    assert survivors({0: float("nan"), 1: 0.5, 2: 0.9, 3: 0.5}, 3) == [2, 1, 3]


def test_draws_stay_in_range_and_fill_it() -> None:
    ranges = ranges_of(None)
    drawn = draw(ranges, 200, seed=3)
    for name, limits in ranges.items():
        values = [values[name] for values in drawn]
        assert limits.low <= min(values) and max(values) <= limits.high
        below = sum(value < limits.at(0.5) for value in values)
        assert 70 < below < 130, name
    assert drawn != draw(ranges, 200, seed=4)
    grid = draw(ranges, 16, seed=3, search="grid")
    assert len(grid) == 16 and {values["lr"] for values in grid} == {1e-4, 1e-3}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ranges": {"momentum": [0, 1]}}, "momentum"),
        ({"ranges": {"lr": [0.0, 1e-3]}}, "above 0"),
        ({"ranges": {"lr": [1e-3, 1e-4]}}, "rising"),
        ({"ranges": {"lr": [1e-3]}}, "two rising"),
        ({"ranges": {"dropout": [0.1, 1.0]}}, "dropout"),
        ({"trials": 15, "search": "grid"}, "16 trials"),
        ({"trials": 0}, "trials"),
        ({"min_epochs": 0}, "min_epochs"),
        ({"eta": 1}, "eta is 1"),
        ({"points": 1}, "points is 1"),
    ],
)
def test_bad_ranges_are_errors_before_anything_is_written(
    wrong: dict[str, Any], said: str, data_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        sweep(base(data_dir), output_dir=str(tmp_path / "a"), **wrong)
    assert not (tmp_path / "a").exists()


@pytest.fixture(scope="module")
def swept(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    folder = tmp_path_factory.mktemp("sweeps") / "a"
    chosen = {"lr": RANGES["lr"], "dropout": RANGES["dropout"]}
    return folder, sweep(base(data_dir), output_dir=str(folder), trials=3, eta=2, ranges=chosen, points=2)


def test_a_sweep_trains_halves_and_measures_each_alone(swept: tuple[Path, Found]) -> None:
    folder, found = swept
    table = pd.read_csv(folder / "results.csv")
    assert list(table["stage"]) == ["halving"] * 4 + ["sensitivity"] * 4
    assert list(table["epochs"]) == [1, 1, 1, 2, 2, 2, 2, 2]
    first, second = table[:3], table.iloc[3]
    assert second["lr"] == first.loc[first["val_auroc"].idxmax(), "lr"] == found.best["values"]["lr"]
    assert table["class_weight_ratio"].isna().all() and table["recall"].between(0, 1).all()
    kept = read_checkpoint(second["checkpoint"])
    assert kept.contract.options == {"width": 4, "dropout": second["dropout"]} and kept.config["lr"] == second["lr"]
    alone = pd.read_csv(folder / "sensitivity.csv").set_index("parameter")
    rows = table[4:6]["accuracy"]
    assert alone.loc["lr", "accuracy_range"] == pytest.approx(100 * (rows.max() - rows.min()), abs=1e-3)
    assert list(alone["claim"]) == [PARAMETERS["lr"].claim, PARAMETERS["dropout"].claim]
    assert set(table[4:6]["lr"]) == set(RANGES["lr"]) and set(table[4:6]["dropout"]) == {
        found.best["values"]["dropout"]
    }


def test_what_is_finished_is_not_trained_again(
    swept: tuple[Path, Found], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = swept
    options: dict[str, Any] = {"output_dir": str(folder), "eta": 2, "points": 2, "trials": 3}
    options["ranges"] = {"lr": RANGES["lr"], "dropout": RANGES["dropout"]}
    trained, before = [], (folder / "results.csv").read_text()
    monkeypatch.setattr(room, "fit", lambda **settings: trained.append(settings) or 1 / 0)
    assert sweep(base(data_dir), **options).best == found.best
    assert not trained and (folder / "results.csv").read_text() == before
    with pytest.raises(ConfigError, match="batch_size"):
        sweep(base(data_dir, batch_size=8), **options)


def test_an_interrupted_trial_goes_on(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"output_dir": str(tmp_path), "trials": 1, "ranges": {"lr": RANGES["lr"]}, "points": 0}

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(base(data_dir), **options)
    found = sweep(base(data_dir), **options)
    best = Path(found.best["checkpoint"])
    assert best.parents[1].name == "version_0" and [p.name for p in best.parents[2].glob("version_*")] == ["version_0"]
    assert len(found.results) == 1 and not len(found.sensitivity) and not (tmp_path / "sensitivity.csv").exists()
    assert list(pd.read_csv(best.parents[1] / "metrics.csv")["epoch"]) == [1, 2]


def test_figures_are_those_of_the_logits_as_trained(
    swept: tuple[Path, Found], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Path(swept[1].best["checkpoint"])
    kept = room.measure(best, base(data_dir))
    assert kept == {name: swept[1].best[name] for name in kept} and kept["images"] == 16 and kept["lenses"] == 8
    labels, logits = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.5, 2.0, -0.5, 1.0])
    monkeypatch.setattr(room, "scores", lambda *_: (labels, logits))
    told = room.measure(best, base(data_dir, class_weight_ratio=20.0))  # log 20 is not taken off
    assert told["recall"] == told["precision"] == pytest.approx(2 / 3) and told["accuracy"] == 0.5


def test_centre_of_what_is_varied_alone(data_dir: Path) -> None:
    settings = base(data_dir, lr=2e-3)
    assert room.default(settings, "lr") == 2e-3 and room.default(settings, "dropout") == 0.2
    assert room.default({**settings, "model_options": {"dropout": 0.4}}, "dropout") == 0.4


def test_on_the_command_line(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "train_trial", lambda settings, values, folder: {
        "values": values, "val_auroc": settings["lr"], "accuracy": 0.9, "recall": 0.8, "precision": 0.7, "images": 10,
        "lenses": 5, "checkpoint": "a/best.ckpt", "settings": settings,
    })  # fmt: skip
    flags = ["--data_dir", str(data_dir), "--trials", "12", "--max_epochs", "9", "--output_dir", str(tmp_path / "a")]
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["sweep", *flags]) == 0
    told = capsys.readouterr().out
    assert "high (5-10 % recall)" in told and "best: lr" in told
    table = pd.read_csv(tmp_path / "a" / "results.csv")
    assert list(table[table["stage"] == "halving"]["epochs"]) == [1] * 12 + [3] * 4 + [9]
    assert main(["sweep", *flags, "--ranges", "{lr: [2, 1]}"]) == 2


def fake_ray(failed: bool) -> ModuleType:
    def with_resources(trial: Any, resources: dict[str, float]) -> Any:
        assert resources["cpu"] == 1.0
        return trial

    class Tuner:
        def __init__(self, trial: Any, param_space: dict[str, Any]) -> None:
            self.trial, self.jobs = trial, param_space["job"]

        def fit(self) -> Any:
            found = [self.trial({"job": job}) for job in self.jobs]
            assert all(set(result) == {"val_auroc"} for result in found)
            return SimpleNamespace(errors=[RuntimeError("no memory")] if failed else [])

    ray = ModuleType("ray")
    ray.tune = SimpleNamespace(Tuner=Tuner, grid_search=list, with_resources=with_resources)  # type: ignore[attr-defined]
    return ray


def test_ray_trains_the_trials_of_a_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    def train(job: Any) -> dict[str, float]:
        trained.append(job)
        return {"val_auroc": 0.5, "recall": 0.1}

    monkeypatch.setitem(sys.modules, "ray", fake_ray(failed=False))
    with_ray(train, [({"lr": 1.0}, 1), ({"lr": 2.0}, 1)])
    assert [values["lr"] for values, _ in trained] == [1.0, 2.0]
    monkeypatch.setitem(sys.modules, "ray", fake_ray(failed=True))
    with pytest.raises(ConfigError, match="no memory"):
        with_ray(train, [({"lr": 1.0}, 1)])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"mlensing\[ray\]"):
        with_ray(train, [({"lr": 1.0}, 1)])
