"""Trainings over ranges of settings: which are best, and how much each setting matters.

Every trial of every rung is a training of its own, from the first epoch, with the whole learning-rate schedule of its
length: so each row is what ``train`` gives with these settings. It has a folder named after its values; what is
finished there is not trained again, what was interrupted goes on from ``last.ckpt``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from rich.console import Console

from mlensing.data.module import LensDataModule
from mlensing.errors import ConfigError
from mlensing.evaluation.metrics import accuracy, precision, recall, roc_auc
from mlensing.models import MODELS
from mlensing.models.checkpoint import read_checkpoint
from mlensing.provenance import provenance, replacing, write_json
from mlensing.training.describe import require_positive
from mlensing.training.fit import fit
from mlensing.training.halving import (
    PARAMETERS,
    Range,
    Search,
    Values,
    draw,
    ranges_of,
    rungs,
    sensitivity_row,
    survivors,
)
from mlensing.training.run import scores

Job = tuple[Values, int]
"""The values of a trial, and for how many epochs it trains."""
Result = dict[str, Any]
BY_THE_WAY = ("accelerator", "num_workers")
"""Settings that may change when a sweep goes on."""
FIGURES = ("val_auroc", "accuracy", "recall", "precision")


@dataclass(frozen=True)
class Found:
    """What a sweep found.

    Attributes:
        best: values and figures of the best trial of the last rung.
        results: a row a training: stage, values, epochs, figures, checkpoint.
        sensitivity: a row a parameter; empty without points.
    """

    best: Result
    results: pd.DataFrame
    sensitivity: pd.DataFrame


def sweep(
    base: Mapping[str, Any],
    *,
    output_dir: str,
    trials: int = 12,
    min_epochs: int = 1,
    eta: int = 3,
    search: Search = "random",
    ranges: dict[str, list[float]] | None = None,
    points: int = 3,
    about: Literal["best", "default"] = "best",
    ray: bool = False,
) -> Found:
    """Successive halving over settings of ``fit``, then each setting varied alone.

    Arguments:
        base: arguments of ``fit``; ``max_epochs`` is the length of the last rung, ``seed`` that of the draws too.
        output_dir: folder of the trials, ``results.csv`` and ``sensitivity.csv``; the same command goes on in it.
        trials: how many settings are tried.
        min_epochs: length of the first rung at least.
        eta: of one rung 1 in ``eta`` goes on, and trains ``eta`` times as long.
        search: random draws, or a grid.
        ranges: bounds of what is swept, such as ``{lr: [1e-4, 1e-3], dropout: [0.1, 0.3]}``; None sweeps lr,
            weight_decay, dropout and class_weight_ratio.
        points: values of each parameter when it is varied alone, from bound to bound; 0 leaves that out.
        about: what the others are then: those of the best trial, or those of ``base``.
        ray: run the trials of a rung side by side with Ray Tune (extra ``ray``).

    Raises:
        ConfigError: counts or ranges that are none, results of other settings in ``output_dir``, or no Ray.
        CatalogError, ImageError, ContractError: as ``fit``.
    """
    if base.get("prior") is not None:
        problem = "a sweep judges by lenses and non-lenses, and prior says that there are none of these"
        raise ConfigError("prior", problem, "Sweep with bce, or train each setting.")
    require_positive(trials=trials, min_epochs=min_epochs, max_epochs=base["max_epochs"])
    if eta < 2 or points == 1 or points < 0:
        raise ConfigError("sweep", f"eta is {eta} and points is {points}", "Take eta 2 or more, points 0, 2 or more.")
    chosen, folder = ranges_of(ranges), Path(output_dir).resolve()
    drawn = draw(chosen, trials, seed=base["seed"], search=search)
    own = {"trials": trials, "min_epochs": min_epochs, "eta": eta, "search": search, "ranges": ranges}
    write_json(folder / "provenance.json", provenance("sweep", {**base, **own}, base["seed"]))
    book = Book({**base, "data_dir": str(Path(base["data_dir"]).resolve())}, folder, ray=ray)
    alive = list(range(len(drawn)))
    last: dict[int, Result] = {}
    for epochs, count in rungs(len(drawn), min_epochs=min_epochs, max_epochs=base["max_epochs"], eta=eta):
        alive = survivors({i: last[i]["val_auroc"] for i in alive}, count) if last else alive
        last = dict(zip(alive, book.train("halving", [(drawn[i], epochs) for i in alive]), strict=True))
    best = last[survivors({i: last[i]["val_auroc"] for i in last}, 1)[0]]
    centre = best["values"] if about == "best" else {name: default(base, name) for name in chosen}
    sensitivity = book.sensitivity(chosen, centre, points)
    return Found(best, book.table(), sensitivity)


class Book:
    """The trainings of a sweep, and its tables.

    Arguments:
        base: arguments of ``fit`` that all trials share.
        folder: where everything is written.
        ray: train side by side with Ray Tune.
    """

    def __init__(self, base: Mapping[str, Any], folder: Path, *, ray: bool) -> None:
        self.base, self.folder, self.ray, self.rows = base, folder, ray, list[Result]()

    def train(self, stage: str, jobs: Sequence[Job]) -> list[Result]:
        """Results of trainings, in order; each is entered into ``results.csv`` when it is there."""
        if self.ray:
            with_ray(self._train, jobs)
        found = []
        for number, (values, epochs) in enumerate(jobs, 1):
            shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
            Console(stderr=True).print(f"{stage} {number}/{len(jobs)}: {shown}; {epochs} epochs", highlight=False)
            found.append(self._train((values, epochs)))
            figures = {name: found[-1][name] for name in (*FIGURES, "checkpoint")}
            self.rows.append({"stage": stage, "epochs": epochs, **values, **figures})
            _write(self.table(), self.folder / "results.csv")
        return found

    def table(self) -> pd.DataFrame:
        """A row a training."""
        columns = ["stage", "epochs", *PARAMETERS, *FIGURES, "checkpoint"]
        return pd.DataFrame(self.rows).reindex(columns=columns)

    def sensitivity(self, ranges: Mapping[str, Range], centre: Values, points: int) -> pd.DataFrame:
        """How much the figures change with each parameter alone, beside what was claimed."""
        rows = []
        for name, limits in ranges.items() if points else ():
            jobs = [({**centre, name: value}, self.base["max_epochs"]) for value in limits.spread(points)]
            rows.append(sensitivity_row(name, limits, self.train("sensitivity", jobs)))
        table = pd.DataFrame(rows)
        if points:
            _write(table, self.folder / "sensitivity.csv")
        return table

    def _train(self, job: Job) -> Result:
        values, epochs = job
        name = "-".join(f"{name}_{values[name]:g}" for name in PARAMETERS if name in values)
        folder = self.folder / "trials" / name / f"epochs_{epochs}"
        return train_trial(with_values(self.base, values, epochs), values, folder)


def train_trial(settings: dict[str, Any], values: Values, folder: Path) -> Result:
    """The result of a training in its folder: what stands there, or what comes out of finishing it.

    Figures are those of ``best.ckpt`` on the validation split; a lens is what has a probability above 0.5 as trained,
    that is with the shift of the class weights, which is what moves recall.

    Raises:
        ConfigError: a result of other settings stands there.
    """
    path = folder / "result.json"
    plain = json.loads(json.dumps(settings))
    if path.is_file():
        kept: Result = json.loads(path.read_text())
        changed = [name for name in plain if kept["settings"].get(name) != plain[name] and name not in BY_THE_WAY]
        if changed:
            problem = f"made with other settings ({', '.join(changed)})"
            raise ConfigError(path, problem, "Use those, or another --output_dir.")
        return kept
    best = fit(**settings, monitor="val_auroc", resume="auto", log_dir=str(folder))
    figures = measure(best, settings)
    result = {"values": values, **figures, "checkpoint": str(best), "settings": plain}
    write_json(path, result)
    return result


def measure(checkpoint: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a checkpoint on the validation split, at a probability of 0.5 as trained."""
    contract = read_checkpoint(checkpoint).contract
    data = LensDataModule(
        settings["data_dir"], bands=contract.bands, input_size=contract.input_size, batch_size=settings["batch_size"],
        margin=settings["shift_px"], survey=settings["survey"], seed=settings["seed"],
    )  # fmt: skip
    on_gpu = settings["accelerator"] != "cpu" and torch.cuda.is_available()
    labels, logits = scores(checkpoint, data, "cuda" if on_gpu else "cpu")
    called = (logits >= 0).astype(float)
    figures = {"val_auroc": roc_auc(labels, logits)}
    figures |= {f.__name__: f(labels, called) for f in (accuracy, recall, precision)}
    return {**figures, "images": len(labels), "lenses": int((labels >= 0.5).sum())}


def with_values(base: Mapping[str, Any], values: Values, epochs: int) -> dict[str, Any]:
    """The arguments of a trial's ``fit``; dropout is an option of the network.

    Example:
        >>> with_values({"lr": 1e-3, "model_options": {"width": 8}}, {"dropout": 0.3}, 9)
        {'lr': 0.001, 'model_options': {'width': 8, 'dropout': 0.3}, 'max_epochs': 9}
    """
    plain = {name: value for name, value in values.items() if name != "dropout"}
    options = dict(base.get("model_options") or {})
    options |= {"dropout": values["dropout"]} if "dropout" in values else {}
    return {**base, **plain, "model_options": options, "max_epochs": epochs}


def default(base: Mapping[str, Any], name: str) -> float:
    """What a parameter is without a sweep."""
    if name != "dropout":
        return float(base[name])
    options = base.get("model_options") or {}
    return float(options.get(name, inspect.signature(MODELS[base["model"]]).parameters[name].default))


def with_ray(train: Callable[[Job], Result], jobs: Sequence[Job]) -> None:
    """Run the trainings side by side with Ray Tune; each has a GPU of its own where there are any.

    Raises:
        ConfigError: no Ray, or a training that failed.
    """
    try:
        from ray import tune
    except ImportError as error:
        raise ConfigError("ray", "Ray Tune is not installed", "pip install 'mlensing[ray]', or leave --ray.") from error

    def trial(config: dict[str, Any]) -> dict[str, float]:
        return {"val_auroc": train(config["job"])["val_auroc"]}

    resources = {"cpu": 1.0, "gpu": float(torch.cuda.is_available())}
    space = {"job": tune.grid_search(list(jobs))}
    done = tune.Tuner(tune.with_resources(trial, resources), param_space=space).fit()
    if done.errors:
        raise ConfigError("ray", f"{len(done.errors)} trials failed ({done.errors[0]})", "Try without --ray.")


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as beside:
        table.to_csv(beside, index=False)
