"""What pretraining costs: images a second of MoCo v3 against supervised training of the same network, in one run.

    python benchmarks/pretrain.py [--full]

In units of one forward pass of the network over an image, a backward pass being two:

    supervised:  1 forward + 1 backward                                    = 1 + 2         = 3
    MoCo v3:     2 views x (student forward + backward + teacher forward)  = 2 (1 + 2 + 1) = 8

so an image of pretraining takes 8/3 = 2.67 times as long as one of training if nothing but passes cost time. Views,
perceptrons and the teacher's average come on top. Either is a whole step: ``training_step`` of ``Moco`` and of
``Finder``, backward, AdamW. Steps of the two take turns, and on a processor only its own time counts, so that what else
the machine does falls on neither; the figure is the median of the ratios over 8/3, of several networks the largest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mlensing.contract import ModelContract
from mlensing.data.normalise import measure_statistics
from mlensing.models import build
from mlensing.training.describe import SOFTENING
from mlensing.training.finder import Finder
from mlensing.training.learner import Learner
from mlensing.training.moco import Moco
from mlensing.training.run import quiet
from mlensing.training.views import room

SIZE, SHIFT, BATCH = 64, 4, 64
PASSES = 8 / 3
QUICK = {"resnet18": {"width": 32, "stem": "stride2"}}
FULL = {
    "resnet18": {"width": 64, "stem": "stride2"},
    "vit_s16": {"patch": 8},
    "light_transformer": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the published widths, and transformers too")
    parser.add_argument("--batches", type=int, default=5, help="of each (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)  # threads waiting for each other would drown the difference
    device = "cuda" if torch.cuda.is_available() else "cpu"
    worst = 0.0
    for name, options in (FULL if given.full else QUICK).items():
        ours, plain, ratio = compared(name, options, given.batches, device)
        print(f"{name} {options}: {ours:.1f} images/s of pretraining, {plain:.1f} of training, on {device};", end=" ")
        print(f"{ratio:.2f} times as long an image, passes alone imply {PASSES:.2f}", flush=True)
        worst = max(worst, ratio / PASSES)
    print(f"PRETRAIN_TIME_OVER_PASSES = {worst:.2f} (aim 1.15)")


def compared(name: str, options: dict[str, object], batches: int, device: str) -> tuple[float, float, float]:
    """Images a second of pretraining and of training, and the median ratio of their times."""
    steps = [stepper(learner, margin, device) for learner, margin in learners(name, options)]
    with quiet():  # there is no trainer to log to
        for step in steps:
            step()  # what a library sets up once is not counted
        times = [[step() for step in steps] for _ in range(batches)]
    ours, plain = (BATCH / statistics.median(column) for column in zip(*times, strict=True))
    return ours, plain, statistics.median(a / b for a, b in times)


def learners(name: str, options: dict[str, object]) -> list[tuple[Learner, int]]:
    """A pretraining and a training of the same network, and the margin of the images that either takes."""
    sample = torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    kinds = measure_statistics(sample, torch.zeros(BATCH, dtype=torch.bool), SOFTENING)
    contract = ModelContract(
        name=name, options=options, bands=("g", "r", "i"), input_size=SIZE, pixel_scale=(0.2, 0.2), statistics=kinds
    )
    moco = Moco(contract.model_copy(update={"task": "features"}), build(name, contract, **options))
    return [(moco, room(SIZE, SHIFT, 180.0)), (Finder(contract, build(name, contract, **options)), SHIFT)]


def stepper(learner: Learner, margin: int, device: str) -> Callable[[], float]:
    """A function that takes one optimiser step on a batch of its own, and returns its seconds."""
    learner.to(device).train()
    optimiser = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad])
    generator = torch.Generator().manual_seed(1)
    side, clock = SIZE + 2 * margin, time.process_time if device == "cpu" else time.perf_counter
    batch = {
        "image": torch.randn(BATCH, 3, side, side, generator=generator).to(device),
        "label": (torch.arange(BATCH, device=device) % 2).float(),
        "composite": torch.zeros(BATCH, dtype=torch.bool, device=device),
        "dx": torch.ones(BATCH, device=device), "dy": torch.ones(BATCH, device=device),
    }  # fmt: skip

    def step() -> float:
        start = clock()
        loss = learner.training_step(batch, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        float(loss.detach())  # waits for a GPU
        return clock() - start

    return step


if __name__ == "__main__":
    main()
