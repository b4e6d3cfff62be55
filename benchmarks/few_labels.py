"""What unlabelled images buy where labels are few: ROC AUC and accuracy by number of labels.

    python benchmarks/few_labels.py [--full] [--labels N ...] [--seed S] [--methods NAME ...]

A small ResNet learns to tell the lenses of the paper's simulated sky from impostors in four ways: from labels alone,
from weights pretrained without labels (MoCo v3, ``mlensing pretrain``), with a mean teacher, and with both. All have
the same labelled images, half of them lenses, the same number of steps and the same average of weights; none chooses an
epoch, what is judged are the weights at the end. Labels alone is ``train_semi`` with a warm-up that never ends, in
which no unlabelled image has any part. The unlabelled images, of the mean teacher and of pretraining, are the training
set without its labels. Pretraining passes over nine tenths of them 50 times (2 without ``--full``), holding out the
rest; it is made once, of one seed, for all rows, so its own scatter is in no interval, and its time in no row.
All are judged on another sky. Seeds choose labelled images, first weights and order. Intervals are of 95 %: of a row by
bootstrap over the images judged, of a mean over seeds by Student's t.

Rows go to ``runs/out/few_labels/``, and so do pretrained weights; what is there is not computed again, an interrupted
training goes on. The default only shows that it runs. ``--full`` takes 10,240 training images, 2,048 to judge, 50 to
5,000 labels and three seeds: three hours of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import t as student_t

from mlensing.catalog import Catalog
from mlensing.data.module import LensDataModule
from mlensing.evaluation.bootstrap import intervals
from mlensing.evaluation.metrics import accuracy, roc_auc
from mlensing.provenance import replacing, write_json
from mlensing.simulate import simulate
from mlensing.training.fit_semi import fit_semi
from mlensing.training.pretrain import pretrain
from mlensing.training.run import scores

MIXTURE, OUT, BANDS = "configs/paper_synthetic.yaml", Path("runs/out/few_labels"), ["g", "r", "i"]
PIXELS, SHIFT = 56, 4  # of 64: what is shifted and turned in has been simulated
JUDGING_SKY, VALIDATED = 1000, 64
ALONE, PRETRAINED, TAUGHT, BOTH = "labels alone", "pretrained", "mean teacher", "both"
METHODS = ALONE, PRETRAINED, TAUGHT, BOTH
Row = dict[str, Any]


class Size(NamedTuple):
    """How large the experiment is; epochs by number of labels."""

    name: str
    images: int
    judged: int
    epochs: dict[int, int]
    epoch_steps: int
    warmup_epochs: int
    seeds: int
    width: int
    passes: int
    batch: int

    @property
    def network(self) -> dict[str, Any]:
        """What learns, and the pixels it takes."""
        options = {"width": self.width, "stem": "stride2"}
        return {"model": "resnet10", "model_options": options, "bands": BANDS, "input_size": PIXELS, "shift_px": SHIFT}


QUICK = Size("quick", 384, 256, {64: 6}, 15, 2, 1, 8, 2, 64)
FULL = Size("full", 10_240, 2048, {50: 16, 200: 16, 1000: 24, 5000: 32}, 50, 5, 3, 16, 50, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself")
    parser.add_argument("--labels", type=int, nargs="+", help="of the numbers of labels these alone")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="these, and labels alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = FULL if given.full else QUICK
    chosen = [count for count in size.epochs if given.labels is None or count in given.labels]
    seeds = range(size.seeds) if given.seed is None else [given.seed]
    methods = [name for name in METHODS if name == ALONE or name in given.methods]
    rows = [row for count in chosen for seed in seeds for row in group(size, count, seed, methods)]
    if not rows:
        parser.error(f"--labels: choose among {', '.join(map(str, size.epochs))}")
    print(f"FEW_LABELS_AUC_GAIN = {summary(rows):.3f} (aim 0.02)")


def group(size: Size, labels: int, seed: int, methods: list[str]) -> list[Row]:
    """The rows of one set of labelled images: those that are kept, and those that were lacking."""
    found, work = [], OUT / f"{size.name}_{labels}_{seed}"
    for method in methods:
        file = OUT / f"{size.name}_rows/{labels}_{seed}_{method.replace(' ', '_')}.json"
        if not file.is_file():
            row: Row = {"labels": labels, "seed": seed, "method": method}
            write_json(file, row | judged(size, row, work))
        row = json.loads(file.read_text())
        print(
            f"{labels:5,} labels, seed {seed}, {method:12}: AUC {row['auc']:.4f} ({row['auc_low']:.4f} .. "
            f"{row['auc_high']:.4f}), accuracy {row['accuracy']:.4f}; {row['cpu_s']:.0f} s",
            flush=True,
        )
        found.append(row)
    shutil.rmtree(work, ignore_errors=True)
    return found


def judged(size: Size, row: Row, work: Path) -> Row:
    """Train one network, and what it makes of the sky that judges."""
    sky, judging = skies(size)
    data = labelled(sky, judging, row["labels"], row["seed"], work / "data")
    init = str(pretrained(size, sky, judging)) if row["method"] in (PRETRAINED, BOTH) else None
    epochs, start = size.epochs[row["labels"]], time.process_time()
    taught = row["method"] in (TAUGHT, BOTH)
    best = fit_semi(
        str(data), unlabelled=str(sky / "index.csv"), warmup_epochs=size.warmup_epochs if taught else epochs,
        epoch_steps=size.epoch_steps, max_epochs=epochs, **size.network, lr=3e-3, init=init, seed=row["seed"],
        accelerator="cpu", resume="auto", log_dir=str(work / row["method"].replace(" ", "_")),
    )  # fmt: skip
    spent = time.process_time() - start
    held_out = LensDataModule(judging, bands=BANDS, input_size=PIXELS)
    truth, logits = scores(best.with_name("last.ckpt"), held_out)
    auc = intervals({"auc": roc_auc}, truth, logits)["auc"]
    right = accuracy(truth, 1 / (1 + np.exp(-logits)))
    return {"auc": auc.value, "auc_low": auc.low, "auc_high": auc.high, "accuracy": right, "cpu_s": spent}


def pretrained(size: Size, sky: Path, judging: Path) -> Path:
    """Weights of MoCo at the end of so many passes over the sky without its labels; made once.

    What the features are worth is told on the way, on the sky that judges, from which nothing is learned.
    """
    kept, work = OUT / f"{size.name}_{size.passes}_passes.ckpt", OUT / f"{size.name}_{size.passes}_passes"
    if not kept.is_file():
        best = pretrain(
            [str(sky / "index.csv")], **size.network, epochs=size.passes, batch_size=size.batch, seed=0,
            labelled=str(judging / "val/index.csv"), accelerator="cpu", resume="auto", log_dir=str(work),
        )  # fmt: skip
        with replacing(kept) as beside:
            shutil.copyfile(best.with_name("last.ckpt"), beside)
        shutil.rmtree(work)
    return kept


def skies(size: Size) -> tuple[Path, Path]:
    """Folders of the training images and of those that judge, which are its validation split; simulated once."""
    folders = OUT / f"{size.name}_sky", OUT / f"{size.name}_judging"
    for folder, count, seed in zip(folders, (size.images, size.judged + VALIDATED), (0, JUDGING_SKY), strict=True):
        simulate(MIXTURE, num_samples=count, output_dir=str(folder), seed=seed, maps=False, num_workers=1)
    every = Catalog.read(folders[1] / "index.csv")
    every.select(np.arange(size.judged)).write(folders[1] / "val/index.csv")
    return folders


def labelled(sky: Path, judging: Path, count: int, seed: int, folder: Path) -> Path:
    """A prepared set whose training images have labels, half of them 1; ``fit_semi`` asks for some to validate on."""
    every = Catalog.read(sky / "index.csv")
    order = np.random.default_rng(seed).permutation(len(every))
    halves = [order[every.labels[order] == kind][: count // 2] for kind in (0, 1)]
    every.select(np.sort(np.concatenate(halves))).write(folder / "train/index.csv")
    others = Catalog.read(judging / "index.csv")
    others.select(np.arange(len(others) - VALIDATED, len(others))).write(folder / "val/index.csv")
    return folder


def summary(rows: list[Row]) -> float:
    """Means over seeds with their intervals; the gain of the last method over labels alone at the fewest labels."""
    gains: dict[int, float] = {}
    for count in sorted({int(row["labels"]) for row in rows}):
        columns = {
            row["method"]: [one for one in rows if one["labels"] == count and one["method"] == row["method"]]
            for row in rows
        }
        alone = [float(row["auc"]) for row in columns[ALONE]]
        for method, some in columns.items():
            auc = [float(row["auc"]) for row in some]
            gain = [ours - base for ours, base in zip(auc, alone, strict=True)]
            right = [float(row["accuracy"]) for row in some]
            words = [f"AUC {interval(auc)}", f"accuracy {interval(right)}", f"gain of AUC {interval(gain)}"]
            print(f"{count:5,} labels, {method:12}: {', '.join(words[: 2 if method == ALONE else 3])}")
            gains[count] = statistics.mean(gain)
    return gains[min(gains)]


def interval(values: list[float]) -> str:
    """Mean, and half the 95 % interval of Student's t if there are several."""
    mean, count = statistics.mean(values), len(values)
    if count < 2:
        return f"{mean:.3f}"
    return f"{mean:.3f} +- {student_t.ppf(0.975, count - 1) * statistics.stdev(values) / math.sqrt(count):.3f}"


if __name__ == "__main__":
    main()
