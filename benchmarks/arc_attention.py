"""What the polar bias of the Light Transformer's attention buys: validation AUC with it less that without.

    python benchmarks/arc_attention.py [--full]

Both networks learn from the same draws in the same order, turned the same way, and start from the same weights, the
bias aside. The aim is at least. The default only shows that it runs: its gain is within what chance does. ``--full`` is
the experiment: 16,384 draws of the paper's sky four times over, and three seeds, about forty minutes on one core.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mlensing.contract import ModelContract
from mlensing.data.augment import augment
from mlensing.data.normalise import Normaliser, measure_statistics
from mlensing.evaluation.metrics import roc_auc
from mlensing.models import build
from mlensing.simulate import Mixture, Simulator
from mlensing.simulate.real.sky import RealSky
from mlensing.simulate.simulator import BLOCK
from mlensing.training.describe import SOFTENING, new_contract, sky_fields
from mlensing.training.losses import weighted_bce
from mlensing.training.schedules import warmup_cosine

VALIDATION_SKY, BATCH = 1000, 128
"""Seed of the sky that validates, and images a step."""


class Size(NamedTuple):
    """How large an experiment is."""

    mixture: str
    draws: int
    validation: int
    epochs: int
    seeds: int
    options: dict[str, int]


QUICK = Size("configs/demo_sky.yaml", 1024, 512, 6, 1, {"dim": 48, "depth": 2, "heads": 4})
FULL = Size("configs/paper_synthetic.yaml", 16_384, 4096, 4, 3, {"dim": 128, "depth": 4, "heads": 4})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the experiment itself: many draws, several seeds")
    size = FULL if parser.parse_args().full else QUICK
    torch.set_num_threads(1)
    mixture = Mixture.load(size.mixture)
    contract = described(mixture)
    training = draw(mixture, contract, size.draws, seed=0)
    validation = draw(mixture, contract, size.validation, seed=VALIDATION_SKY)
    gains = []
    for seed in range(size.seeds):
        areas = []
        for net in twins(contract, size, seed):
            learn(net.train(), training, size.epochs, seed)
            areas.append(validated(net, validation))
        gains.append(areas[1] - areas[0])
        print(f"seed {seed}: AUC {areas[0]:.4f} without the bias, {areas[1]:.4f} with it", flush=True)
    if len(gains) > 1:
        print(f"gain {statistics.mean(gains):+.4f}, standard deviation over seeds {statistics.stdev(gains):.4f}")
    print(f"ARC_ATTENTION_AUC_GAIN = {statistics.mean(gains):.3f} (aim 0.000)")


def described(mixture: Mixture) -> ModelContract:
    """Bands, size and statistics of the sky that trains."""
    image = Simulator(mixture, seed=0).block(0)["image"]
    measured = measure_statistics(image, torch.zeros(len(image), dtype=torch.bool), SOFTENING)
    return new_contract(None, name="light_transformer", statistics=measured, **sky_fields(mixture, 0, RealSky()))


def draw(mixture: Mixture, contract: ModelContract, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Normalised images [N, C, H, W] in half precision, and labels [N], of the first blocks of a sky."""
    simulator, normaliser = Simulator(mixture, seed=seed), Normaliser(contract)
    images, labels, linear = [], [], torch.zeros(BLOCK, dtype=torch.bool)
    for number in range(-(-count // BLOCK)):
        block = simulator.block(number)
        images.append(normaliser(block["image"], linear).half())
        labels.append(block["label"])
    return torch.cat(images), torch.cat(labels)


def twins(contract: ModelContract, size: Size, seed: int) -> tuple[nn.Module, nn.Module]:
    """A network without the bias and one with it, otherwise of the same weights."""
    torch.manual_seed(seed)
    biased = build(contract.name, contract, **size.options)
    plain = build(contract.name, contract, arc_bias=False, **size.options)
    plain.load_state_dict({key: biased.state_dict()[key] for key in plain.state_dict()})
    return plain, biased


def learn(net: nn.Module, data: tuple[Tensor, Tensor], epochs: int, seed: int) -> None:
    """AdamW with warm-up and cosine on batches in an order, and turned to sides, that the seed alone decides."""
    image, label = data
    generator = torch.manual_seed(seed)  # of dropout too
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    total = epochs * (len(label) // BATCH)
    schedule = LambdaLR(optimiser, partial(warmup_cosine, total=total, warmup=0.1))
    for _ in range(epochs):
        for rows in torch.randperm(len(label), generator=generator)[: total // epochs * BATCH].split(BATCH):
            pixels, _ = augment(image[rows].float(), {}, generator, shift_px=0)
            with torch.autocast("cpu", torch.bfloat16):
                logit = net(pixels)
            loss = weighted_bce({"logit": logit}, {"label": label[rows]})
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def validated(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """ROC area of a trained network."""
    net.eval()
    with torch.inference_mode():
        logits = torch.cat([net(part.float()) for part in data[0].split(BATCH)])
    return roc_auc(data[1].numpy(), logits.sigmoid().numpy())


if __name__ == "__main__":
    main()
