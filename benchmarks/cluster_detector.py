"""ROC area of the detector of cluster lenses on simulated fields, against the length of the longest arc.

    python benchmarks/cluster_detector.py [--full]

Half of the fields are lenses; the others have the same galaxies, blue ones near the middle too, and no mass. The
detector is fitted to one half of them, and judged on the other. What a user would take instead is the longest
tangential candidate of each field, which needs no fit. The default is 32 fields of 256 pixels, ``--full`` 256 fields of
512 pixels, a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import pandas as pd
import torch

from mlensing.data.clusters import ClusterLensingDataset
from mlensing.evaluation.metrics import roc_auc
from mlensing.inference.clusters import ClusterDetector, find_candidates
from mlensing.inference.clusters.detector import ARC
from mlensing.simulate.clusters import simulate_clusters

SURVEY, SEED = "lsst", 42


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="256 fields of 512 pixels")
    count, size = (256, 512) if parser.parse_args().full else (32, 256)
    torch.set_num_threads(1)
    tables, label = drawn(count, size)
    known, asked = slice(0, count // 2), slice(count // 2, count)
    detector = ClusterDetector.fit(tables[known], label[known])
    scores = {
        "the detector": np.array([detector.probability(table) for table in tables[asked]]),
        "the longest arc": np.array([longest(table) for table in tables[asked]]),
    }
    for name, score in scores.items():
        print(f"{name}: ROC area {roc_auc(label[asked], score):.3f} on {count - count // 2} fields")
    print(f"CLUSTER_DETECTOR_AUC = {roc_auc(label[asked], scores['the detector']):.3f} (aim 0.900)")


def drawn(count: int, size: int) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Candidates of simulated fields, and their labels."""
    with tempfile.TemporaryDirectory() as folder:
        index = simulate_clusters(
            num_fields=count, survey=SURVEY, size=size, output_dir=folder, seed=SEED, maps=False, num_workers=1
        )
        fields = ClusterLensingDataset(index, tile=None)
        samples = [fields[k] for k in range(count)]
    return [find_candidates(sample) for sample in samples], np.array([float(s["label"]) for s in samples])


def longest(candidates: pd.DataFrame) -> float:
    """Length of the longest candidate that lies along a circle [arcsec]."""
    return float(candidates["length"].where(candidates["tangential"] > ARC, 0.0).max()) if len(candidates) else 0.0


if __name__ == "__main__":
    main()
