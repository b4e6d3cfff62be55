"""Cutouts a second and core of the simulator for whole mixtures: every class, neighbours, PSF, noise and maps.

Processor time on one thread, so that what else the machine does counts less; on a GPU, time by the clock.
Run: python benchmarks/simulate_mixture.py [--device cuda] [--full]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from mlensing.simulate import BLOCK, Mixture, Simulator

CONFIGS = Path(__file__).parents[1] / "configs"


def rate(config: str, device: str, blocks: int) -> float:
    """Cutouts a second: the median over blocks."""
    mixture = Mixture.load(CONFIGS / config)
    simulator = Simulator(mixture, seed=42, device=device)
    on_gpu = torch.device(device).type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    times = []
    for number in range(blocks + 2):
        start = clock()
        image = simulator.block(number, maps=True)["image"]
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)
        assert torch.isfinite(image).all()
    return BLOCK / statistics.median(times[2:])  # the first ones warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--full", action="store_true", help="five times as many blocks")
    options = parser.parse_args()
    blocks = 100 if options.full else 20
    torch.set_num_threads(1)
    rates = {name: rate(f"{name}.yaml", options.device, blocks) for name in ("release_sky", "paper_synthetic")}
    where = "second and core" if options.device == "cpu" else f"second on {options.device}"
    print(f"release_sky, eight surveys, with maps: {rates['release_sky']:.0f} a {where} (median of {blocks} blocks)")
    print(f"SIMULATE_MIXTURE_RATE = {rates['paper_synthetic']:.0f} a {where} (aim 300)")


if __name__ == "__main__":
    main()
