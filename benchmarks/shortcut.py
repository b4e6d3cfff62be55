"""Whether brightness, colour or position alone tell simulated lenses from simulated non-lenses.

    python benchmarks/shortcut.py [--mixture M.yaml] [--full]

Gradient boosting on ring means, colours and the centroid of linear images in units of their sky noise; five folds. The
last line is the larger AUC of the two mixtures, the aim is at most. Arcs are light and raise ring means themselves, so
that 0.5 is neither possible nor wanted. ``--full`` takes more images and leaves groups of features out, one at a time.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from mlensing.contract import CHANNELS
from mlensing.data.normalise import sky
from mlensing.evaluation.metrics import roc_auc
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.mixture import KINDS
from mlensing.simulate.simulator import BLOCK

MIXTURES = ("configs/paper_synthetic.yaml", "configs/release_sky.yaml")
EDGES = (0, 2, 4, 6, 8, 10, 13, 16, 20, 25, 32)
"""Rings [px]."""
FLOOR = 0.05
"""Sky noise below which the mean of a ring says nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixture", nargs="+", default=MIXTURES, help="simulated skies (default: %(default)s)")
    parser.add_argument("--samples", type=int, help="images of each (default: 2048, with --full 8192)")
    parser.add_argument("--seed", type=int, default=11, help="of the skies (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="more images, and which features leak")
    chosen = parser.parse_args()
    count = chosen.samples or (8192 if chosen.full else 2048)
    worst = 0.0
    for path in chosen.mixture:
        groups, kind = table(Mixture.load(path), count, chosen.seed)
        auc, score = shortcut(groups, kind == 0)
        worst = max(worst, auc)
        print(f"{path}: {count} images, AUC {auc:.3f}")
        if chosen.full:
            ablate(groups, kind, score)
    print(f"SHORTCUT_AUC = {worst:.3f} (aim 0.75)")


def table(mixture: Mixture, count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features by group, [N, F] each, and the kind of every image."""
    simulator = Simulator(mixture, seed=seed)
    parts, kinds = [], []
    for number in range(-(-count // BLOCK)):
        block = simulator.block(number)
        parts.append(features(block["image"]))
        kinds.append(block["kind"].numpy())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, np.concatenate(kinds)


def features(image: torch.Tensor) -> dict[str, np.ndarray]:
    """Brightness, ring means, ring colours and centroid of linear images [B, 3, y, x]."""
    level, noise = sky(image)
    x = ((image - level[..., None, None]) / noise[..., None, None]).numpy()
    size = x.shape[-1]
    line = np.arange(size) - (size - 1) / 2
    radius = np.hypot(line[:, None], line)
    grey = x.mean(1)
    rings = np.stack([x[:, :, (radius >= a) & (radius < b)].mean(-1) for a, b in pairwise(EDGES)], 2)
    shown = np.arcsinh(rings / FLOOR)
    weight = np.clip(np.where(radius < 20, grey, 0.0), 0.0, None)
    total = weight.sum((1, 2)) + 1e-6
    centroid = [(weight * line[:, None]).sum((1, 2)) / total, (weight * line).sum((1, 2)) / total]
    return {
        "brightness": np.stack([np.arcsinh(grey.mean((1, 2)) / FLOOR), np.arcsinh(grey.max((1, 2)) / FLOOR)], 1),
        "rings": shown.mean(1),
        "colours": np.concatenate([shown[:, 0] - shown[:, 1], shown[:, 1] - shown[:, 2]], 1),
        "centroid": np.stack([*centroid, np.hypot(*centroid)], 1),
    }


def shortcut(groups: dict[str, np.ndarray], lens: np.ndarray, names: tuple[str, ...] = ()) -> tuple[float, np.ndarray]:
    """AUC of lens against non-lens by the groups named, and the score of every image."""
    x = np.concatenate([groups[name] for name in names or groups], 1)
    model = HistGradientBoostingClassifier(max_iter=120, learning_rate=0.08, max_leaf_nodes=15, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    score = cross_val_predict(model, x, lens, cv=folds, method="predict_proba")[:, 1]
    return roc_auc(lens, score), score


def ablate(groups: dict[str, np.ndarray], kind: np.ndarray, score: np.ndarray) -> None:
    """Print the AUC of each group alone and without it, of each ring and colour, and against each class."""
    lens = kind == 0
    for name in groups:
        others = tuple(other for other in groups if other != name)
        alone, without = shortcut(groups, lens, (name,))[0], shortcut(groups, lens, others)[0]
        print(f"  {name:<11} alone {alone:.3f}, all but it {without:.3f}")
    steps = [f"{a}-{b}" for a, b in pairwise(EDGES)]
    columns = {"ring": groups["rings"], "colour 1": groups["colours"][:, : len(steps)]}
    columns |= {"colour 2": groups["colours"][:, len(steps) :]}
    for title, values in columns.items():
        single = [f"{step}: {roc_auc(lens, value):.2f}" for step, value in zip(steps, values.T, strict=True)]
        print(f"  {title} alone (above 0.5: higher in lenses): {', '.join(single)}")
    for number, name in enumerate(KINDS[1:], 1):
        rows = lens | (kind == number)
        if (kind == number).any():
            print(f"  lens against {name:<11} {roc_auc(lens[rows], score[rows]):.3f}")
    print(f"  channels: {', '.join(CHANNELS)}; colour 1 is blue - green, colour 2 green - red")


if __name__ == "__main__":
    main()
