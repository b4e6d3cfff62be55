"""Minutes, disk and memory that a simulated set of 50,000 takes, from the marginal cost of a smaller one.

Sets of two sizes are written by the public function with two workers; the larger costs more by what its further images
cost, which leaves out what is done once. Processor time over the two cores says what an idle machine would take.
Memory is the peak of the resident set of the parent and of its largest worker.
Run: python benchmarks/simulate_set.py [--full]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlensing.simulate import simulate

CONFIG = Path(__file__).parents[1] / "configs" / "paper_synthetic.yaml"
WORKERS = 2
WHOLE = 50_000


def write(count: int) -> dict[str, float]:
    """Write one set into a folder that is then removed; runs in a process of its own, whose peaks are its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        simulate(str(CONFIG), num_samples=count, output_dir=folder, num_workers=WORKERS)
        wall = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    me, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "wall": wall,
        "processor": sum(usage.ru_utime + usage.ru_stime for usage in (me, workers)),
        "memory": (me.ru_maxrss + workers.ru_maxrss * WORKERS) / 1024,
        "disk": size / count,
    }


def measured(count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--count", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="write all 50,000 as the larger set")
    parser.add_argument("--count", type=int, help="write one set of this size and print its cost (used by itself)")
    options = parser.parse_args()
    if options.count:
        print(json.dumps(write(options.count)))
        return
    counts = (1000, WHOLE) if options.full else (1000, 3500)
    small, large = (measured(count) for count in counts)
    more = counts[1] - counts[0]
    wall = small["wall"] + (large["wall"] - small["wall"]) / more * (WHOLE - counts[0])
    processor = small["processor"] + (large["processor"] - small["processor"]) / more * (WHOLE - counts[0])
    for count, cost in zip(counts, (small, large), strict=True):
        spent = f"{cost['wall']:5.1f} s by the clock, {cost['processor']:5.1f} s of processors"
        print(f"{count:6d} with maps: {spent}, {cost['disk'] / 1024:.0f} KiB each, {cost['memory']:.0f} MiB of memory")
    print(f"{WHOLE} by the clock of this machine, as busy as it is: {wall / 60:.1f} minutes")
    print(f"SIMULATE_SET_MEMORY_RATIO = {large['memory'] / small['memory']:.3f} (aim 1.05)")
    print(f"SIMULATE_SET_MINUTES = {processor / WORKERS / 60:.1f} of {WORKERS} whole cores (aim 6)")


if __name__ == "__main__":
    main()
