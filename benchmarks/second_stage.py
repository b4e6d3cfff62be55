"""What a fit says of images that are no lenses: the share of impostors with a delta_bic above 10.

    python benchmarks/second_stage.py [--full]

Simulated LSST images, half of them lenses, half of the classes that finders take for lenses, are fitted in one band
(63 pixels), and scored by the released finder in three. Told of each: ROC area of the finder, of delta_bic, and of the
sum of their ranks. A class of non-lens has a line of its own. The default fits 4 of each kind, ``--full`` 48, ten
minutes on one core.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from model import SEED, SKY
from numpy.typing import NDArray
from scipy.stats import rankdata

from mlensing.data.cutout import Cutout
from mlensing.evaluation.metrics import roc_auc
from mlensing.inference import Predictor
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.mixture import KIND_NAMES
from mlensing.verify import Comparison, compare
from mlensing.verify.exposure import Exposure, expose, stacked
from mlensing.verify.hypotheses import LENS
from mlensing.verify.psf import PsfChoice

IMPOSTORS = {"companions": 1, "alignment": 1, "compact_group": 1, "spiral": 1, "ring": 1, "edge_on": 1, "merger": 1}
CONVINCED = 10.0
"""delta_bic above which a lens is strongly preferred (Kass & Raftery 1995)."""
PART = 8
"""Images fitted at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="48 lenses and 48 others")
    count = 48 if parser.parse_args().full else 4
    torch.set_num_threads(1)
    lenses, others = drawn({"lens": 1}, count, SEED), drawn(IMPOSTORS, count, SEED + 1)
    gain, odds = (np.concatenate([judge(part) for part in (lenses, others)]) for judge in (delta_bic, finder_odds))
    label = np.repeat([1, 0], count)
    both = rankdata(gain) + rankdata(odds)
    for name, score in (("the released finder", odds), ("delta_bic", gain), ("the sum of their ranks", both)):
        print(f"ROC area of {name}: {roc_auc(label, score):.3f}")
    print(f"lenses with delta_bic above {CONVINCED:.0f}: {np.mean(gain[:count] > CONVINCED):.2f}")
    for kind in sorted(set(others["kind"].tolist())):
        chosen = gain[count:][others["kind"].numpy() == kind]
        print(f"    {KIND_NAMES[kind]}: {np.sum(chosen > CONVINCED)} of {len(chosen)}")
    print(f"MODEL_IMPOSTORS_ABOVE_TEN = {np.mean(gain[count:] > CONVINCED):.2f} (aim 0.10)")


def drawn(classes: dict[str, float], count: int, seed: int) -> dict[str, Any]:
    """The first images of a sky of these classes."""
    block = Simulator(Mixture.model_validate(SKY | {"classes": classes, "bands": ("g", "r", "i")}), seed=seed).block(0)
    return {key: value[:count] for key, value in block.items()}


def exposure(block: dict[str, Any], row: int) -> Exposure:
    """The reddest band of an image, as a fit takes it."""
    image = block["image"][row, -1:].numpy()
    cutout = Cutout(image, ("i",), "linear", np.zeros(image.shape[1:], bool), float(block["dx"][row]), survey="lsst")
    return expose(cutout, PsfChoice(), size=63, bands=None, where=row)


def delta_bic(block: dict[str, Any]) -> NDArray[np.float64]:
    """BIC of the best alternative less that of the lens."""
    exposures = [exposure(block, row) for row in range(len(block["image"]))]
    parts = [exposures[k : k + PART] for k in range(0, len(exposures), PART)]
    return np.concatenate([gained(compare(stacked(part, torch.device("cpu")))) for part in parts])


def gained(found: Comparison) -> NDArray[np.float64]:
    others = torch.stack([value for name, value in found.bic.items() if name != LENS]).amin(0)
    return (others - found.bic[LENS]).double().numpy()


def finder_odds(block: dict[str, Any]) -> NDArray[np.float64]:
    """Log-odds by the released ensemble."""
    predictor = Predictor.load()
    composite = torch.zeros(len(block["image"]), dtype=torch.bool)
    scores = predictor.score_pixels(block["image"], composite, block["dx"][:, None].expand(-1, 2))
    return predictor.ensemble.fused(scores)[0]


if __name__ == "__main__":
    main()
