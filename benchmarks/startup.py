"""Seconds until `mlensing --help` has answered, beside an empty Python and the import of torch.

Run: python benchmarks/startup.py [--full]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "mlensing --help": ["-m", "mlensing.cli", "--help"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the best of 25 instead of 5")
    tries = 25 if parser.parse_args().full else 5
    best = {name: min(seconds(arguments) for _ in range(tries)) for name, arguments in COMMANDS.items()}
    for name, value in best.items():
        print(f"{name:<16} {value:.2f} s (best of {tries})")
    print(f"STARTUP = {best['mlensing --help']:.2f} s (aim 0.5)")


if __name__ == "__main__":
    main()
