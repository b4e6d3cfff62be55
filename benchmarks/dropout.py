"""What dropout of the whole network says beyond dropout before the last layer, by member.

    python benchmarks/dropout.py [--checkpoint FOLDER or best.ckpt ...] [--mixture FILE] [--num_samples 128]
        [--passes 20]

Colour composites of a simulated sky are scored. Printed are the median deviation of the logit by head, the ratio of
full to head (16th, 50th and 84th percentile), the scatter of that ratio that comes of few passes alone, 1 / sqrt(2
(passes - 1)), the correlation of ranks, and the cost as a ratio of times.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from scipy.stats import spearmanr

from mlensing.inference.ensemble import RELEASED, Ensemble
from mlensing.inference.member import Dropout, Member
from mlensing.simulate.composites import SurveyComposites
from mlensing.simulate.mixture import Mixture
from mlensing.simulate.simulator import BLOCK, Simulator

SEED = 987654
"""Of a sky that no training takes."""


def sky(mixture: str, num_samples: int) -> torch.Tensor:
    """Composites [N, 3, S, S], whole blocks of them."""
    simulator = Simulator(Mixture.load(mixture), seed=SEED)
    compose, generator = SurveyComposites(simulator.surveys), torch.Generator().manual_seed(SEED)
    blocks = [simulator.block(number) for number in range(-(-num_samples // BLOCK))]
    return torch.cat([compose(block["image"], block, generator) for block in blocks])


def compare(member: Member, image: torch.Tensor, passes: int) -> float:
    """Print a row; the median ratio of deviations."""
    composite, start = torch.ones(len(image), dtype=torch.bool), time.perf_counter()
    head = member.score(image, composite).variance.sqrt().numpy()
    middle = time.perf_counter()
    full = member.score(image, composite, dropout=Dropout("full", passes)).variance.sqrt().numpy()
    cost = (time.perf_counter() - middle) / (middle - start)
    low, median, high = np.percentile(full / head, (16, 50, 84))
    ranks = spearmanr(head, full).statistic
    print(f"{member.key:24}{np.median(head):7.3f}   {median:.2f} ({low:.2f} .. {high:.2f}){ranks:9.2f}{cost:8.1f}")
    return float(median)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", nargs="+", help="finders, or an ensemble's folder (default: the released one)")
    parser.add_argument("--mixture", default="configs/release_sky.yaml")
    parser.add_argument("--num_samples", type=int, default=128)
    parser.add_argument("--passes", type=int, default=20)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if not (chosen.checkpoint or RELEASED.is_dir()):
        print("skipped: needs --checkpoint, or the released ensemble")
        return
    members = Ensemble.load(chosen.checkpoint or RELEASED, "cpu").members
    image = sky(chosen.mixture, chosen.num_samples)
    print(f"{len(image)} composites, {chosen.passes} passes; sampling alone scatters the ratio by "
          f"{1 / np.sqrt(2 * (chosen.passes - 1)):.2f}")  # fmt: skip
    print(f"{'member':24}{'head':>7}   {'full / head':22}{'ranks':>3}{'cost':>8}")
    ratios = [compare(member, image, chosen.passes) for member in members]
    print(f"FULL_OVER_HEAD_DEVIATION = {max(ratios, key=lambda ratio: abs(np.log(ratio))):.2f}")


if __name__ == "__main__":
    main()
