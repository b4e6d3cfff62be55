"""What the physics terms buy a classifier: AUC on systems it has never seen, with kappa, psi and Poisson and without.

    python benchmarks/physics_labels.py [--full]

A network learns from so many images of the paper's sky twice, from the same weights and batches: by labels alone, and
by labels and the maps of the lenses (``bce + 0.3 kappa + 0.03 psi + 0.1 poisson``). Validation AUC, and the losses of
the validation images, are told of both. The figure is the gain of AUC at the fewest images. The default only shows that
it runs: 512 images, one seed; ``--full`` takes 1,000, 5,000 and 20,000 images and three seeds, an hour on one core.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from maps import BF16, VALIDATION_SKY, draw, learned, said
from torch import Tensor, nn

from mlensing.data.normalise import Normaliser
from mlensing.evaluation.metrics import roc_auc
from mlensing.simulate import Mixture
from mlensing.training.losses import LOSSES, MAP_TERMS

MIXTURE, MODEL, OPTIONS = "configs/paper_synthetic.yaml", "resnet18", {"width": 16, "stem": "stride2"}
LABELS = {"bce": 1.0}
PHYSICS = {**LABELS, "kappa": 0.3, "psi": 0.03, "poisson": 0.1}
QUICK, QUICK_JUDGED = {512: 4}, 512
FULL, FULL_JUDGED, SEEDS = {1000: 40, 5000: 10, 20_000: 4}, 4096, 3
"""Epochs by number of images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself: three sizes, three seeds")
    parser.add_argument("--images", type=int, choices=FULL, help="with --full: of the three sizes this one alone")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--bf16", action="store_true", help=BF16)
    given = parser.parse_args()
    sizes, judged, seeds = (FULL, FULL_JUDGED, SEEDS) if given.full else (QUICK, QUICK_JUDGED, 1)
    chosen = range(seeds) if given.seed is None else range(given.seed, given.seed + 1)
    if given.full and given.images:
        sizes = {given.images: sizes[given.images]}
    torch.set_num_threads(1)
    mixture = Mixture.load(MIXTURE)
    training, held_out = draw(mixture, max(sizes), 0), draw(mixture, judged, VALIDATION_SKY)
    gains = {n: compared(training, held_out, n, epochs, chosen, given.bf16) for n, epochs in sizes.items()}
    print(f"PHYSICS_AUC_GAIN = {gains[min(gains)]:.3f} (aim 0.010)")


def compared(
    training: dict[str, Tensor], held_out: dict[str, Tensor], count: int, epochs: int, seeds: range, bf16: bool
) -> float:
    """Mean gain of AUC by the maps, and what is told of every training."""
    data, found = {key: value[:count] for key, value in training.items()}, []
    for seed in seeds:
        pair = []
        for name, terms in (("labels", LABELS), ("labels and maps", PHYSICS)):
            auc, losses = judge(learned(data, terms, MODEL, OPTIONS, epochs, seed, bf16=bf16), held_out, terms)
            told = ", ".join(f"{key} {value:.4f}" for key, value in losses.items())
            print(f"{count:,} images, seed {seed}, {name}: AUC {auc:.4f}; {told}", flush=True)
            pair.append(auc)
        found.append(pair)
    gain = [with_maps - without for without, with_maps in found]
    without, with_maps = (statistics.mean(column) for column in zip(*found, strict=True))
    spread = f" (standard deviation over seeds {statistics.stdev(gain):.4f})" if len(gain) > 1 else ""
    print(f"{count:,} images: AUC {without:.4f} by labels, {with_maps:.4f} with maps")
    print(f"    gain {statistics.mean(gain):.4f}{spread}")
    return statistics.mean(gain)


@torch.inference_mode()
def judge(
    trained: tuple[nn.Module, Normaliser], data: dict[str, Tensor], terms: dict[str, float]
) -> tuple[float, dict[str, float]]:
    """AUC and the mean of each loss of a network in portions of memory."""
    net, normaliser = trained
    net.eval()
    logits, sums = [], dict.fromkeys((name for name in ("bce", *MAP_TERMS) if name in terms), 0.0)
    for rows in torch.arange(len(data["label"])).split(256):
        batch = {key: value[rows] for key, value in data.items()}
        output = said(net, normaliser(batch["image"], torch.zeros(len(rows), dtype=torch.bool)), batch)
        logits.append(output["logit"])
        for name in sums:
            sums[name] += float(LOSSES[name](output, batch)) * len(rows) / len(data["label"])
    return roc_auc(data["label"], torch.cat(logits).float()), sums


if __name__ == "__main__":
    main()
