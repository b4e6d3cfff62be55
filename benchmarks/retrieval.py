"""Average precision of lenses ranked by likeness to five known ones, beside that of the network's own probability.

    python benchmarks/retrieval.py [--full]

The sky of ``benchmarks/active.py``: one simulated lens in a hundred images, seen by one member of the released
ensemble. Five lenses of another sky are the queries, drawn anew for each of twenty seeds: mean and standard deviation.
The probability is what a user of a trained finder would rank by; likeness needs no labels but those of the queries, and
of the same features. A random order has the share of lenses. The aim is what makes likeness worth while: half of what
the head makes of the features. ``--full`` has a sky five times as large.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from active import FULL, JUDGED, PREVALENCE, QUICK, seen

from mlensing.evaluation.metrics import pr_auc
from mlensing.inference.embeddings import unit_length

QUERIES, SEEDS = 5, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="20,480 images")
    count = FULL if parser.parse_args().full else QUICK
    torch.set_num_threads(1)
    sky, other = seen(count, PREVALENCE, 0), seen(JUDGED, 0.5, 1)
    centre, spread = sky.features.mean(0), sky.features.std(0).clip(1e-6)
    library, lenses = (
        unit_length((part - centre) / spread) for part in (sky.features, other.features[other.label == 1])
    )
    found = {"least": [], "mean": []}
    for seed in range(SEEDS):
        queries = lenses[np.random.default_rng(seed).choice(len(lenses), QUERIES, replace=False)]
        likeness = library @ queries.T
        found["least"].append(pr_auc(sky.label, likeness.max(1)))
        found["mean"].append(pr_auc(sky.label, likeness.mean(1)))
    probability = pr_auc(sky.label, sky.logit)
    print(f"{count:,} images, {int(sky.label.sum())} of them lenses: average precision")
    print(f"random order             {sky.label.mean():.3f}")
    for name, values in found.items():
        print(f"{name} distance {'':10} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")
    print(f"probability              {probability:.3f}")
    print(f"SIMILAR_AP_OVER_PROBABILITY = {np.mean(found['least']) / probability:.2f} (aim 0.5)")


if __name__ == "__main__":
    main()
