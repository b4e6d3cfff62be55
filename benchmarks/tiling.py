"""Tiled inference of a large image: time a megapixel against one pass over the whole, and the memory of either.

Memory is what the system cannot take back (anonymous pages, from /proc, so Linux only), above what a process holds
before; pixels and maps lie in memory maps on disk. Each measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlensing.inference.fields.receptive import run
from mlensing.inference.fields.tiling import write_tiled

TILE, OVERLAP, HALO = 512, 32, 8
AIM_TIME, AIM_MEMORY = 1.3, 400


def network() -> nn.Module:
    """Three convolutions that see eight pixels around each, and give one map of two bands."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 5, padding=2), nn.GELU(), nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 1, 3, padding=4, dilation=4)).eval()


class Watch(threading.Thread):
    """The most anonymous memory that this process has held [MiB]."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.going = 0.0, True

    def run(self) -> None:
        """Look until told to stop."""
        while self.going:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.01)


def anonymous() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure(way: str, size: int, folder: Path) -> None:
    """Print the seconds and the memory [MiB] of one way."""
    net = network()
    image = np.memmap(folder / "image", np.float32, "r", shape=(2, size, size))
    out = np.memmap(folder / f"{way}.maps", np.float32, "w+", shape=(1, size, size))
    with torch.inference_mode():
        net(torch.zeros(1, 2, TILE, TILE))  # what a library sets up once is not counted
    before, watch = anonymous(), Watch()
    watch.start()
    start = time.perf_counter()
    if way == "tiles":
        write_tiled(net, image, out, TILE, OVERLAP, halo=HALO)
    else:
        out[:] = next(iter(run(net, torch.from_numpy(np.array(image))[None]).values()))[0].numpy()
    spent = time.perf_counter() - start
    watch.going = False
    print(spent, watch.peak - before)


def child(way: str, size: int, folder: Path) -> tuple[float, float]:
    words = [sys.executable, __file__, "--way", way, "--size", str(size), "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def write_image(folder: Path, size: int) -> None:
    image = np.memmap(folder / "image", np.float32, "w+", shape=(2, size, size))
    generator = np.random.default_rng(0)
    for start in range(0, size, 256):
        rows = image[:, start : start + 256]
        rows[:] = generator.normal(size=rows.shape)
    image.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=1952, help="pixels a side, here a whole number of tiles (default: %(default)s)"
    )
    parser.add_argument("--full", action="store_true", help="also the memory at 10,000 x 10,000 pixels")
    parser.add_argument("--way", choices=("tiles", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.way:
        measure(chosen.way, chosen.size, chosen.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image(folder, chosen.size)
        found = {way: child(way, chosen.size, folder) for way in ("whole", "tiles")}
        whole, tiled = (np.fromfile(folder / f"{way}.maps", np.float32) for way in ("whole", "tiles"))
        print(f"{chosen.size} x {chosen.size} pixels, tiles of {TILE} that overlap by {OVERLAP}; one core")
        for way, (seconds, memory) in found.items():
            print(f"{way:6} {seconds / (chosen.size / 1000) ** 2:6.2f} s/Mpx {memory:8.0f} MiB")
        print(f"largest difference over the range: {np.abs(tiled - whole).max() / np.ptp(whole):.1e}")
        largest = found["tiles"][1]
        if chosen.full:
            write_image(folder, 10_000)
            seconds, largest = child("tiles", 10_000, folder)
            print(f"10,000 x 10,000 pixels in tiles: {seconds / 100:.2f} s/Mpx {largest:.0f} MiB")
    print(f"TILED_TIME_OVER_WHOLE = {found['tiles'][0] / found['whole'][0]:.2f} (aim {AIM_TIME})")
    print(f"TILED_MEMORY_MIB = {largest:.0f} (aim {AIM_MEMORY})")


if __name__ == "__main__":
    main()
