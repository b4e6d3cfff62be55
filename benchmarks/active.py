"""Lenses found by labelling what ``mlensing next`` chooses, over those found in random order.

    python benchmarks/active.py [--full]

A simulated sky with one lens in a hundred images, as one member of the released ensemble sees it before its head; the
head is a logistic regression on labels alone, from three known lenses and thirty random images on. Each round
labels as many images as the budget says, chosen by each strategy from the scores of the present head, and fits the head
anew. Told are the lenses found and the AUC on other images (half of them lenses) after each round: the mean over seeds
of the first labels, with the standard deviation. The figure is the ratio of the lenses that ``mixed`` and ``random``
have found after the last round. The features know lenses from a training with labels, which flatters every strategy
but the random one; see ``benchmarks/retrieval.py`` for how much they know. ``--full`` has a pool five times as large.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple, get_args

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from mlensing.evaluation.acquisition import Pool, Strategy, acquire
from mlensing.evaluation.metrics import roc_auc
from mlensing.inference.embeddings import unit_length
from mlensing.inference.ensemble import Ensemble
from mlensing.inference.member import Member
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.simulator import BLOCK

MIXTURE, PREVALENCE = "configs/demo_sky.yaml", 0.01
QUICK, FULL, JUDGED = 4096, 20_480, 512
KNOWN_LENSES, KNOWN_OTHERS = 3, 30
ROUNDS, BUDGET, SEEDS = 5, 20, 5
DROPPED = 0.2
"""Share of features dropped before the head, from which the deviation of its logit follows, as in ``predict``."""
STRATEGIES = get_args(Strategy)


class Sky(NamedTuple):
    """Standardised features [N, F], labels [N], and the logit of the released network's own head [N]."""

    features: np.ndarray
    label: np.ndarray
    logit: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a pool of 20,480 images")
    count = FULL if parser.parse_args().full else QUICK
    torch.set_num_threads(1)
    pool, judged = seen(count, PREVALENCE, 0), seen(JUDGED, 0.5, 1)
    print(f"{count:,} images, {int(pool.label.sum())} of them lenses; {BUDGET} labels a round, {SEEDS} seeds")
    print(f"{'strategy':10} {'':9}" + "".join(f"{BUDGET * (r + 1):>15} labels" for r in range(ROUNDS)))
    found = {}
    for strategy in STRATEGIES:
        runs = np.array([learned(pool, judged, strategy, seed) for seed in range(SEEDS)])  # [seed, round, 2]
        for name, part, places in (("lenses", runs[..., 0], 1), ("AUC", runs[..., 1], 3)):
            cells = (f"{m:.{places}f} ± {s:.{places}f}" for m, s in zip(part.mean(0), part.std(0, ddof=1), strict=True))
            print(f"{strategy:10} {name:9}" + "".join(f"{cell:>22}" for cell in cells))
        found[strategy] = runs[:, -1, 0].mean()
    print(f"ACTIVE_LENSES_OVER_RANDOM = {found['mixed'] / max(found['random'], 1e-9):.1f} (aim 3)")


def seen(count: int, prevalence: float, seed: int) -> Sky:
    """A simulated sky as the first member of the released ensemble sees it."""
    mixture = Mixture.load(MIXTURE)
    others = {name: weight for name, weight in mixture.classes.items() if "lens" not in name}
    classes = {"lens": prevalence} | {n: (1 - prevalence) * w / sum(others.values()) for n, w in others.items()}
    simulator = Simulator(Mixture.model_validate(mixture.model_dump() | {"classes": classes}), seed=seed)
    member, linear = Ensemble.load(device="cpu").members[0], torch.zeros(BLOCK, dtype=torch.bool)
    parts = [described(member, simulator.block(number), linear) for number in range(count // BLOCK)]
    features, label, logit = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Sky(features, label, logit)


def described(member: Member, block: dict[str, torch.Tensor], linear: torch.Tensor) -> tuple[np.ndarray, ...]:
    scores = member.score(block["image"], linear)
    return scores.features.numpy(), block["label"].numpy(), scores.logit.numpy()


def learned(pool: Sky, judged: Sky, strategy: Strategy, seed: int) -> list[tuple[float, float]]:
    """Lenses found and AUC after each round of labels."""
    rng = np.random.default_rng(seed)
    mean, spread = pool.features.mean(0), pool.features.std(0).clip(1e-6)
    x, other = ((sky.features - mean) / spread for sky in (pool, judged))
    lenses = rng.choice(np.flatnonzero(judged.label == 1), KNOWN_LENSES, replace=False)  # of another sky
    labelled = rng.choice(len(x), KNOWN_OTHERS, replace=False)
    start, told = labelled, []
    for number in range(ROUNDS):
        head = fitted(x, pool.label, labelled, other[lenses])
        free = np.setdiff1d(np.arange(len(x)), labelled)
        logit, deviation = said(head, x[free])
        places = unit_length(x)
        chosen = acquire(Pool(logit, deviation, places[free], places[labelled]), BUDGET, strategy, seed + 100 * number)
        labelled = np.append(labelled, free[chosen])
        head = fitted(x, pool.label, labelled, other[lenses])
        apart = np.setdiff1d(np.arange(len(other)), lenses)
        auc = roc_auc(judged.label[apart], said(head, other[apart])[0])
        told.append((float(pool.label[np.setdiff1d(labelled, start)].sum()), auc))
    return told


def fitted(x: np.ndarray, label: np.ndarray, labelled: np.ndarray, lenses: np.ndarray) -> LogisticRegression:
    """A head on the labelled images and the known lenses."""
    images = np.concatenate([x[labelled], lenses])
    return LogisticRegression(C=0.01, max_iter=1000).fit(images, np.append(label[labelled], np.ones(len(lenses))))


def said(head: LogisticRegression, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N] and their deviation where features are dropped before the head (``inference.dropout``)."""
    deviation = np.sqrt(DROPPED / (1 - DROPPED) * np.square(x * head.coef_[0]).sum(1))
    return head.decision_function(x), deviation


if __name__ == "__main__":
    main()
